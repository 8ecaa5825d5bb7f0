"""`check` and `bench` with the very file of an export, read without what the export was given."""

import shlex

import pytest
import torch

import lunet_export
from lunet_export.errors import BadInputError
from tests.cli.conftest import run
from tests.networks import network
from tests.test_checkpoint import authors_state, saved

STATS = {"latent_mean": torch.zeros(16), "latent_covariance": 2 * torch.eye(16)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The authors' files in a folder with a space in its name, and an export of every way to read them."""
    found = tmp_path_factory.mktemp("authors files")
    best = saved(authors_state(network(16, 3)), found / "best.pth")
    saved(STATS, found / "best_stats.pth")
    stats = ["--latent-stats", found / "best_stats.pth"]
    for name, options in WAYS.items():
        given = [*(["--preprocess", "paper"] if "p" in options else []), *(stats if "s" in options else [])]
        assert run(best, "-o", found / name, *given)[0] == 0
    return found


WAYS = {"plain": "", "paper": "p", "folded": "s", "both": "ps"}


def of(folder, ways):
    options = ["--preprocess", "paper"] if "p" in ways else []
    return [*options, *(["--latent-stats", str(folder / "best_stats.pth")] if "s" in ways else [])]


@pytest.mark.parametrize("given", ["", "p", "s"])
@pytest.mark.parametrize("name", WAYS)
def test_the_options_of_the_export_are_named_in_a_line_that_can_be_pasted(folder, name, given):
    best, out = folder / "best.pth", folder / name
    code, _, err = run("check", out, "--model", best, *of(folder, given))
    if WAYS[name] == given:
        assert code == 0
        return
    assert code == 2
    *_, sentence = err.strip().splitlines()
    begin = f"lunet-export: Expected the model that {name} was exported from; {best} is the very file, but the export"
    assert sentence.startswith(begin)
    assert ("neither --preprocess nor --latent-stats" in sentence) == (name == "plain")
    program, *pasted = shlex.split(sentence.partition("Run: ")[2])
    assert (program, pasted) == ("lunet-export", ["check", str(out), "--model", str(best), *of(folder, WAYS[name])])
    assert run(*pasted)[0] == 0


def test_bench_names_them_too(folder):
    code, _, err = run("bench", folder / "paper", "--model", folder / "best.pth")
    assert code == 2
    assert f"Run: {shlex.join(['lunet-export', 'bench', str(folder / 'paper')])} --model" in err


def test_python_names_them_too(folder):
    with pytest.raises(BadInputError, match=r"the very file, but the export was given `preprocess='paper'`\. Run: "):
        lunet_export.check(folder / "paper", model=folder / "best.pth", provider="cpu")


def test_other_statistics_than_those_of_the_export_are_told(folder, tmp_path):
    other = saved({**STATS, "latent_mean": torch.ones(16)}, tmp_path / "other.pth")
    code, _, err = run("check", folder / "folded", "--model", folder / "best.pth", "--latent-stats", other)
    assert code == 2
    assert "its latent statistics are another file than other.pth: best_stats.pth of SHA-256" in err


@pytest.mark.parametrize("name", ["plain", "both"])
def test_another_file_is_another_model(folder, tmp_path, name):
    other = saved(authors_state(network(16, 3, seed=9)), tmp_path / "best.pth")
    code, _, err = run("check", folder / name, "--model", other)
    assert (code, err) == (
        2,
        f"lunet-export: Expected the model that {name} was exported from; {other} is another one. "
        "Give the file from which it was exported.\n",
    )
