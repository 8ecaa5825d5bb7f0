"""A tiny run in the plane, trained by the command and by Python."""

from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

import lunet_export
from lunet_cli.main import app
from tests.conftest import once

#: Small enough for a second, by Adam without growth.
OPTIONS = {"epochs": 2, "blocks": 3, "init": "bend", "optimizer": "adam", "batch_size": 64, "fallback": False}


def command(*arguments: object) -> str:
    """What a command prints; it must succeed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def rows(n: int = 300) -> np.ndarray:
    """Two lobes in the plane, (n, 2)."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 2)) * 0.5 + rng.choice([-1.0, 1.0], (n, 1))


@pytest.fixture(scope="session")
def both(tmp_path_factory) -> SimpleNamespace:
    """Folders with `rows.npy`, and with a model and its export by the commands and by Python."""

    def fill(folder):
        np.save(folder / "rows.npy", rows())
        plain = {name: value for name, value in OPTIONS.items() if name != "fallback"}
        typed = [part for name, value in plain.items() for part in (f"--{name.replace('_', '-')}", value)]
        command("train", folder / "rows.npy", "-o", folder / "command.pt", "--no-fallback", *typed)
        command("export", folder / "command.pt", "-o", folder / "command" / "lobes")
        model = lunet_export.train(str(folder / "rows.npy"), folder / "python.pt", **OPTIONS)
        lunet_export.export(model, folder / "python" / "lobes", provider="cpu").close()

    folder = once(tmp_path_factory, "api-both", fill)
    return SimpleNamespace(folder=folder, rows=folder / "rows.npy", model=folder / "python.pt")
