"""Lines of progress where stderr is no terminal."""

import numpy as np
import pytest

from lunet_cli import output
from lunet_cli.progress_log import ProgressLog
from lunet_export import data
from tests.cli.conftest import run


def test_a_line_comes_at_most_so_often():
    now, lines = [0.0], []
    with ProgressLog(30, lines.append, lambda: now[0]) as bar:
        bar.add_task("training on digits", total=60)
        for second in range(100):
            now[0] = float(second)
            bar.update(bar.task_ids[0], completed=second / 2, description="digits: 2.500 bits/dim")
    assert lines == [
        "digits: 2.500 bits/dim, 15 of 60, 30 s, 90 s to go",
        "digits: 2.500 bits/dim, 30 of 60, 60 s, 60 s to go",
        "digits: 2.500 bits/dim, 45 of 60, 90 s, 30 s to go",
    ]


def test_commands_are_quiet_unless_they_are_asked(tmp_path, monkeypatch):
    np.save(tmp_path / "few.npy", data.load("two-moons").train[:200])
    quick = ("--epochs", 2, "--init", "bend", "--optimizer", "adam", "--force")
    arguments = ("train", tmp_path / "few.npy", "-o", tmp_path / "m.pt", *quick)
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
    assert (code, f"Expected LUNET_LOG of seconds between two lines, as 30; got {text}." in err) == (2, True)


def test_tables_are_not_filled_with_spaces(capsys):
    output.pairs([("short", "x"), ("long", "x" * 90)])
    output.table(["name", "1", ""], [("a", "1", ""), ("b", "2", "y" * 90)])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [line.rstrip() for line in lines]
    assert len(lines) == 5
