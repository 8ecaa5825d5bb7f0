"""Progress of what takes a while: a bar on a terminal or in a notebook, plain lines now and then elsewhere."""

import math
import os
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from lunet_export.errors import BadInputError, one_line

#: Seconds between two lines, and before the first one.
VARIABLE = "LUNET_LOG"

#: Without it: soon enough to show that something happens, then seldom enough for a log of hours; what is done earlier
#: says nothing.
_FIRST, _BETWEEN = 10.0, 30.0
_REFRESH = 0.2  # seconds between two pictures of a bar in a notebook


def note(text: str) -> None:
    """Write a line to stderr.

    No library that measures a terminal writes it: where it takes `COLUMNS=0` at its word, nothing would be said.
    """
    sys.stderr.write(f"{one_line(text)}\n")
    sys.stderr.flush()


@contextmanager
def bar(total: float, text: str) -> Iterator[Progress]:
    """Yield a bar with one task: live on a terminal and in a notebook, else a line on stderr now and then.

    Raises:
        BadInputError: if LUNET_LOG is no number of seconds.
    """
    with _bar() as found:
        found.add_task(text, total=total)
        yield found


def _bar() -> Progress:
    if sys.stderr.isatty():
        return Progress(*_columns(), console=Console(stderr=True), transient=True)
    return NotebookBar() if Console(stderr=True).is_jupyter else log(note)


def _columns() -> list[ProgressColumn]:
    gone, to_go = TextColumn("gone,"), TextColumn("to go")
    description = TextColumn("{task.description}", markup=False)
    return [description, BarColumn(), TimeElapsedColumn(), gone, TimeRemainingColumn(), to_go]


def interval() -> float | None:
    """Return the seconds between two lines, as the variable has them; None where it is not set.

    Raises:
        BadInputError: if the variable is no number of seconds.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise BadInputError(f"Expected {VARIABLE} of seconds between two lines, as 30; got {text}.")
    return seconds


def log(say: Callable[[str], None], clock: Callable[[], float] = monotonic) -> "ProgressLog":
    """Return lines at the intervals of the variable, or at the usual ones; arguments as of `ProgressLog`.

    Raises:
        BadInputError: if the variable is no number of seconds.
    """
    seconds = interval()
    return ProgressLog(_BETWEEN, say, clock, first=_FIRST) if seconds is None else ProgressLog(seconds, say, clock)


class _Seldom(Progress):
    """A bar that is not drawn, but shown by a subclass at most every so many seconds.

    Args:
        seconds: Seconds between two times.
        first: Seconds before the first time.
        clock: Seconds from any start on.
    """

    def __init__(self, seconds: float, *, first: float, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(*_columns(), console=Console(stderr=True, quiet=True), disable=True, get_time=clock)
        self._seconds, self._next = seconds, clock() + first

    @abstractmethod
    def _show(self, task: Task) -> None:
        """Show how far a task has come."""

    def update(self, task_id: TaskID, **fields: object) -> None:
        """Change a task, as any bar does."""
        given: dict[str, Any] = fields
        super().update(task_id, **given)
        self._shown(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Advance a task, as any bar does."""
        super().advance(task_id, advance)
        self._shown(task_id)

    def _shown(self, task_id: TaskID) -> None:
        now = self.get_time()
        if now >= self._next:
            self._next = now + self._seconds
            self._show(self._tasks[task_id])


class ProgressLog(_Seldom):
    """A bar that writes no bar, but a line of its task at most every so many seconds.

    Args:
        seconds: Seconds between two lines.
        say: Function that writes a line.
        first: Seconds before the first line; None takes those between two.
        clock: Seconds from any start on.
    """

    def __init__(
        self,
        seconds: float,
        say: Callable[[str], None],
        clock: Callable[[], float] = monotonic,
        *,
        first: float | None = None,
    ) -> None:
        super().__init__(seconds, first=seconds if first is None else first, clock=clock)
        self._write = say

    def _show(self, task: Task) -> None:
        counted = task.fields.get("counted", True)  # else its description says how much is done
        parts = [task.description, *([f"{task.completed:.0f} of {task.total or 0:.0f}"] if counted else [])]
        parts += [f"{task.elapsed or 0:.0f} s"]
        parts += [] if task.time_remaining is None else [f"{task.time_remaining:.0f} s to go"]
        self._write(", ".join(parts))


class NotebookBar(_Seldom):
    """A bar in the output of a notebook's cell, which stays there as it was last.

    IPython replaces the bar as Rich renders it; Rich's own live display would need ipywidgets.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        from IPython.display import display  # where there is a notebook, there is IPython

        super().__init__(_REFRESH, first=0.0, clock=clock)
        self._cell = display(self, display_id=True)

    def _show(self, task: Task) -> None:
        self._cell.update(self)

    def stop(self) -> None:
        """Show the last state."""
        self._cell.update(self)
