"""Progress: lines where stderr is no terminal, and a bar in a notebook."""

import builtins
import re
import sys
from io import StringIO
from types import ModuleType

import pytest

import lunet_export
from lunet_export.api import progress
from lunet_export.api.progress import ProgressLog
from lunet_export.errors import BadInputError
from tests.api.conftest import OPTIONS, rows

FIRST = progress._FIRST  # before a fixture makes it longer


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


def test_the_first_line_comes_sooner():
    now, lines = [0.0], []
    with ProgressLog(30, lines.append, lambda: now[0], first=10) as bar:
        bar.add_task("training on digits", total=60)
        for second in range(80):
            now[0] = float(second)
            bar.advance(bar.task_ids[0])
    assert [line.split(", ")[2] for line in lines] == ["10 s", "40 s", "70 s"]


def test_without_a_terminal_lines_come_by_themselves(monkeypatch):
    monkeypatch.delenv("LUNET_LOG", raising=False)
    monkeypatch.setattr(progress, "_FIRST", FIRST)
    now, lines = [0.0], []

    def told(until: int) -> list[str]:
        """The seconds at which lines come; one second after another."""
        now[0], lines[:] = 0.0, []
        with progress.log(lines.append, lambda: now[0]) as bar:
            bar.add_task("training on digits", total=until)
            for second in range(until):
                now[0] = float(second)
                bar.advance(bar.task_ids[0])
        return [line.split(", ")[2] for line in lines]

    assert told(80) == ["10 s", "40 s", "70 s"]
    monkeypatch.setenv("LUNET_LOG", "7")
    assert told(20) == ["7 s", "14 s"]


def plain(text):
    """Text without its colours."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


class Cell:
    """The output of a notebook's cell: what IPython is given to show."""

    def __init__(self):
        self.shown = []

    def display(self, thing, *, display_id):
        assert display_id is True
        self.shown.append(self.text(thing))
        return self

    def update(self, thing):
        self.shown.append(self.text(thing))

    @staticmethod
    def text(thing):
        return plain(thing._repr_mimebundle_((), ())["text/plain"])


@pytest.fixture
def notebook(monkeypatch):
    """A kernel of Jupyter, as Rich knows one."""
    cell, ipython = Cell(), ModuleType("IPython.display")
    ipython.display = cell.display
    monkeypatch.setitem(sys.modules, "IPython.display", ipython)
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setattr("rich._console", None)  # which is kept as it was made
    monkeypatch.setattr(builtins, "get_ipython", lambda: shell, raising=False)
    return cell


def test_a_notebook_has_a_bar_that_is_replaced_at_most_so_often(notebook):
    now = [0.0]
    with progress.NotebookBar(lambda: now[0]) as bar:
        bar.add_task("training on digits", total=60)
        for step in range(61):
            now[0] = step / 30  # two seconds of work
            bar.update(bar.task_ids[0], completed=step)
    assert 10 <= len(notebook.shown) <= 13
    assert "100%" not in notebook.shown[1]
    assert re.search(r"training on digits ━+ 0:00:02 gone, 0:00:00 to go", notebook.shown[-1])


def test_python_shows_the_bar_in_a_notebook_and_is_quiet_if_asked(notebook, capfd):
    lunet_export.train(rows(), **OPTIONS)
    assert "rows: " in notebook.shown[-1]
    assert "bits/dim ━" in notebook.shown[-1]
    told = len(notebook.shown)
    lunet_export.train(rows(), progress=False, **OPTIONS)
    assert len(notebook.shown) == told
    assert capfd.readouterr() == ("", "")


def test_python_writes_lines_where_there_is_neither(monkeypatch, capfd):
    seen = []
    monkeypatch.setenv("LUNET_LOG", "0")
    lunet_export.train(rows(), on_epoch=seen.append, **OPTIONS)
    out, err = capfd.readouterr()
    assert (out, ", 2 of 2, " in err, len(seen)) == ("", True, 2)
    lunet_export.train(rows(), progress=False, **OPTIONS)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("LUNET_LOG", "often")
    with pytest.raises(BadInputError, match="Expected seconds between two lines in LUNET_LOG"):
        lunet_export.train(rows(), **OPTIONS)


def test_a_terminal_has_the_bar_of_the_command(monkeypatch):
    class Terminal(StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    lunet_export.train(rows(), **OPTIONS)
    shown = plain(sys.stderr.getvalue())
    assert "epoch   2   train" in shown
    assert "gone," in shown
