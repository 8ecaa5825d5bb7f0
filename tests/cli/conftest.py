"""What the tests of the commands share: how to run one, and a small model with its export."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lunet_cli.failures import UNEXPECTED
from lunet_cli.main import app
from lunet_export import checkpoint
from lunet_export.preprocessing import NAMED
from lunet_export.torch_layers import Flow
from tests.networks import network

SMALL = network(16, 3, preprocessing=NAMED["digits"])


def run(*arguments) -> "tuple[int, str, str]":
    """Exit code, stdout, stderr. An error that is not ours fails the test here, so no defect can hide."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code != UNEXPECTED, result.stderr
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    """A model file and its exported folder, made once by the command line."""
    folder = tmp_path_factory.mktemp("originals")
    path = folder / "small.pt"
    checkpoint.write(path, Flow.of(SMALL), image_shape=(4, 4), training={"dataset": "demo"}, examples=None)
    assert run(path, "-o", folder / "small")[0] == 0
    return folder


@pytest.fixture
def model(originals, tmp_path):
    return Path(shutil.copy(originals / "small.pt", tmp_path))


@pytest.fixture
def ready(originals, tmp_path):
    return Path(shutil.copytree(originals / "small", tmp_path / "small"))
