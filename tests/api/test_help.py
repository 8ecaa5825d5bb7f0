"""What `help` shows in Python: a front page, functions that fit on a screen, examples that run."""

import doctest
import pydoc
import re
import textwrap

import numpy as np
import pytest

import lunet_export
from tests.api.conftest import OPTIONS, rows

FUNCTIONS = ("train", "load", "save", "convert", "export", "check")  # in the order in which examples need files
LINES, COLUMNS = 55, 120  # of a screen


def shown(name: str) -> list[str]:
    """The lines of `help`, as a terminal breaks them."""
    text = pydoc.plain(pydoc.render_doc(getattr(lunet_export, name)))
    return [part for line in text.splitlines() for part in textwrap.wrap(line, COLUMNS) or [""]]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_fits_on_a_screen(name):
    assert len(shown(name)) <= LINES


@pytest.mark.slow  # it trains and exports
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # of zuko about PyTorch
def test_the_examples_run(tmp_path, monkeypatch):
    pytest.importorskip("zuko", reason="zuko is not installed: pip install lunet-export[peers]")
    monkeypatch.chdir(tmp_path)
    names, ran = {"lunet_export": lunet_export, "np": np}, []
    runner = doctest.DocTestRunner(verbose=False)
    for name in FUNCTIONS:
        (test,) = doctest.DocTestFinder(recurse=False).find(getattr(lunet_export, name), name, globs=names)
        runner.run(test, out=ran.append)
        names.update(test.globs)
        assert test.examples, name
    assert runner.summarize(verbose=False).failed == 0, "".join(ran)


def test_the_front_page_names_everything():
    words = set(re.findall(r"\w+", lunet_export.__doc__))
    assert set(lunet_export.__all__) - words == {"__version__"}


@pytest.mark.slow  # it trains and exports
def test_the_front_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savetxt("table.csv", rows(), delimiter=",", header="a,b", comments="")
    train = lunet_export.train
    monkeypatch.setattr(lunet_export, "train", lambda *given: train(*given, progress=False, **OPTIONS))
    block, _, _ = lunet_export.__doc__.partition("\n\n    train ")
    names: dict = {}
    exec(textwrap.dedent(block.partition("\n")[2]), names)
    assert (names["x"].shape, names["log_prob"].shape, names["z"].shape) == ((1000, 2), (1000,), (1000, 2))
    names["flow"].close()
