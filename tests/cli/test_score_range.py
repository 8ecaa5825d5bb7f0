"""`score` of rows far out, in float64: a mean is a number or a refusal, never an infinity, streamed or not."""

import json

import numpy as np
import pytest

from lunet_export import ExportedFlow
from lunet_export.export import ExportSettings, Provenance, export
from tests.cli.conftest import run
from tests.networks import network

_FAR = 8e307  # nats; three of them have no sum


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A folder in float64, and a row of log p = -8e307."""
    folder = tmp_path_factory.mktemp("range") / "wide"
    export(network(3, 3), folder, Provenance("wide"), ExportSettings(dtype="float64"))
    row = np.full((1, 3), 1e150)
    return folder, row * np.sqrt(_FAR / -ExportedFlow(folder, provider="cpu").log_prob(row)[0])


@pytest.mark.parametrize("options", [["--json"], [], ["--invalid", "nan", "--json"], ["-o", "{}/parts"]], ids=str)
def test_a_mean_that_is_no_double_is_refused(wide, tmp_path, options):
    folder, row = wide
    np.save(tmp_path / "far.npy", np.concatenate([row, row, row]))
    code, out, err = run("score", folder, tmp_path / "far.npy", *[part.format(tmp_path) for part in options])
    assert code == 2
    assert "Expected numbers in the range of float64; got larger ones" in " ".join(err.split())
    assert "inf" not in out
    assert "mean" not in out


def test_of_one_such_row_the_mean_is_its_own_and_errors_are_numbers(wide, tmp_path):
    folder, row = wide
    np.save(tmp_path / "far.npy", row)
    mean = json.loads(run("score", folder, tmp_path / "far.npy", "--json")[1])["mean"]
    assert mean["log_prob"] == pytest.approx(-_FAR, rel=1e-9)
    np.save(tmp_path / "far.npy", np.concatenate([row, row / 10, 0 * row]))
    code, out, _ = run("score", folder, tmp_path / "far.npy")
    error = float(out.partition("(standard error ")[2].partition(")")[0])
    bits = np.array([1, 0.01, 0]) * _FAR / np.log(2) / 3
    assert code == 0
    assert error == pytest.approx(bits.max() * np.std(bits / bits.max()) / np.sqrt(3), rel=1e-3)
