"""What `train` says of the rows before it trains on them, and the noise that it adds where it is asked."""

import json

import numpy as np
import pytest

from lunet_export import checkpoint
from tests.cli.conftest import run

QUICK = ("--blocks", 2, "--epochs", 2, "--init", "bend", "--optimizer", "adam")


@pytest.fixture
def counts(tmp_path):
    """A file whose third column holds counts."""
    rng = np.random.default_rng(0)
    path = tmp_path / "mine.csv"
    rows = np.column_stack([rng.standard_normal((300, 2)), rng.poisson(4, 300)])
    np.savetxt(path, rows, fmt="%.9g", delimiter=",", header="a,b,visits", comments="")
    return path


def warnings(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("lunet-export: warning: column ")]


def test_warnings_come_first_and_lie_in_the_document(counts, tmp_path):
    arguments = ("train", counts, "-o", tmp_path / "m.pt", *QUICK, "--json")
    code, out, err = run(*arguments)
    (warning,) = warnings(err)
    assert (code, "column 3 (visits) of mine takes" in warning) == (0, True)
    assert json.loads(out)["warnings"][0] == warning.removeprefix("lunet-export: warning: ")
    assert run(*arguments[:-1], "--force")[2].startswith(warning)


def test_the_option_that_is_told_cures(counts, tmp_path):
    option = run("train", counts, "-o", tmp_path / "m.pt", *QUICK)[2].partition("Give ")[2].partition(",")[0]
    arguments = ("train", counts, "-o", tmp_path / "n.pt", *QUICK, option)
    code, out, err = run(*arguments, "--json")
    assert (code, warnings(err), "column" in str(json.loads(out).get("warnings"))) == (0, [], False)
    assert err.startswith("dequantized mine: noise of width 1 in column 3 (visits)\n")
    plain, noisy = (checkpoint.read(tmp_path / name).training["data"] for name in ("m.pt", "n.pt"))
    assert plain != noisy
    assert run(*arguments, "--resume")[0] == 0  # the same noise
    code, _, err = run(*arguments[:-1], "--resume")
    assert (code, "differs: data" in err) == (2, True)


def test_noise_where_none_is_needed_changes_nothing(tmp_path):
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).standard_normal((60, 2)))
    for name, more in (("m.pt", ()), ("n.pt", ("--dequantize",))):
        code, _, err = run("train", tmp_path / "mine.npy", "-o", tmp_path / name, *QUICK, *more)
        assert (code, err.startswith("no column of mine needs noise\n")) == (0, bool(more))
    one, other = (checkpoint.read(tmp_path / name).weights.digest() for name in ("m.pt", "n.pt"))
    assert one == other
    code, _, err = run("train", "digits", "-o", tmp_path / "d.pt", "--dequantize")
    assert (code, "Expected vectors for --dequantize; digits holds grey levels" in err) == (2, True)


def test_an_index_without_a_name_is_refused_before_any_work(counts, tmp_path):
    lines = counts.read_text().splitlines()
    numbered = [f"{number - 1 if number else ''},{line}" for number, line in enumerate(lines)]
    counts.write_text("\n".join(numbered))
    code, _, err = run("train", counts, "-o", tmp_path / "m.pt", *QUICK, "--dequantize")
    assert (code, "Expected columns of measurements; column 1 of mine has no name and numbers the rows" in err) == (
        2,
        True,
    )
    assert not (tmp_path / "m.pt").exists()
