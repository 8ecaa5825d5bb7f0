"""Progress of the commands where stderr is no terminal."""

import re

import numpy as np
import pytest

from lunet_cli import output
from lunet_export import data
from lunet_export.api import progress
from tests.cli.conftest import run


def test_growth_tells_how_far_it_has_come(tmp_path, monkeypatch):
    np.save(tmp_path / "plane.npy", np.random.default_rng(0).standard_normal((60, 2)))
    arguments = ("train", tmp_path / "plane.npy", "-o", tmp_path / "m.pt", "--blocks", 4, "--epochs", 1, "--force")
    monkeypatch.delenv("LUNET_LOG", raising=False)
    monkeypatch.setattr(progress, "_FIRST", 0.0)  # a first line at once; the next one comes after an hour
    monkeypatch.setattr(progress, "_BETWEEN", 3600.0)
    code, out, err = run(*arguments)
    (line,) = [line for line in err.splitlines() if line.startswith("plane: ")]
    begin = r"plane: 0 % of the search for a start, \d+ s(, \d+ s to go)?"
    assert (code, re.fullmatch(begin, line) is not None) == (0, True)
    assert "search" not in out
    monkeypatch.setenv("LUNET_LOG", "0")
    lines = [line for line in run(*arguments)[2].splitlines() if line.startswith("plane: ")]
    grown = [int(line.split()[1]) for line in lines if "% of the search" in line]
    assert grown == sorted(grown)
    assert ({0, 25, 50, 75, 100} <= {*grown}, len(grown) > 200) == (True, True)
    assert [line.split(", ")[1] for line in lines if "% of the search" not in line][-1] == "1 of 1"  # and then epochs


def test_commands_are_quiet_where_they_take_no_time(tmp_path, monkeypatch):
    np.save(tmp_path / "few.npy", data.load("two-moons").train[:200])
    quick = ("--epochs", 2, "--init", "bend", "--optimizer", "adam", "--force")
    arguments = ("train", tmp_path / "few.npy", "-o", tmp_path / "m.pt", *quick)
    monkeypatch.delenv("LUNET_LOG", raising=False)
    assert " of 2, " not in run(*arguments)[2]
    monkeypatch.setenv("LUNET_LOG", "0")
    lines = run(*arguments)[2].splitlines()
    assert any(line.startswith("few: ") and ", 2 of 2, " in line for line in lines)
    assert any(
        "stage" in line or "check" in line for line in run(tmp_path / "m.pt", "-o", tmp_path / "m")[2].splitlines()
    )


@pytest.mark.parametrize("text", ["often", "-1", "nan", "inf"])
def test_no_number_of_seconds_is_refused(text, model, tmp_path, monkeypatch):
    monkeypatch.setenv("LUNET_LOG", text)
    code, _, err = run(model, "-o", tmp_path / "f")
    assert (code, f"Expected seconds between two lines in LUNET_LOG, such as 30; got {text}." in err) == (2, True)


def test_tables_are_not_filled_with_spaces(capsys):
    output.pairs([("short", "x"), ("long", "x" * 90)])
    output.table(["name", "1", ""], [("a", "1", ""), ("b", "2", "y" * 90)])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [line.rstrip() for line in lines]
    assert len(lines) == 5
