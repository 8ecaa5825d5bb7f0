"""Progress of long work: a bar on a terminal or in a notebook, elsewhere a line at intervals."""

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

#: Environment variable with the seconds between two lines, and before the first one.
VARIABLE = "LUNET_LOG"

#: Seconds without the variable: the first line comes early, the later ones are rare enough for a log of hours. Work
#: that ends before the first line prints nothing.
_FIRST, _BETWEEN = 10.0, 30.0
_REFRESH = 0.2  # seconds between two pictures of a bar in a notebook


def note(text: str) -> None:
    """Write a line to stderr.

    It does not go through Rich, which would write nothing where `COLUMNS=0` is set.
    """
    sys.stderr.write(f"{one_line(text)}\n")
    sys.stderr.flush()


@contextmanager
def bar(total: float, text: str) -> Iterator[Progress]:
    """Yield a bar with one task: live on a terminal and in a notebook, else a line on stderr at intervals.

    Raises:
        BadInputError: if LUNET_LOG is not a number of seconds.
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
    """Return the seconds between two lines, from the variable; None if it is not set.

    Raises:
        BadInputError: if the variable is not a number of seconds.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise BadInputError(f"Expected seconds between two lines in {VARIABLE}, such as 30; got {text}.")
    return seconds


def log(say: Callable[[str], None], clock: Callable[[], float] = monotonic) -> "ProgressLog":
    """Return a `ProgressLog` with the intervals of the variable, or the default ones; it takes the same arguments.

    Raises:
        BadInputError: if the variable is not a number of seconds.
    """
    seconds = interval()
    return ProgressLog(_BETWEEN, say, clock, first=_FIRST) if seconds is None else ProgressLog(seconds, say, clock)


class _Seldom(Progress):
    """A bar that a subclass shows in its own way, at most once per interval.

    Args:
        seconds: Seconds between two updates of what is shown.
        first: Seconds before the first one.
        clock: Function that returns seconds since some fixed time.
    """

    def __init__(self, seconds: float, *, first: float, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(*_columns(), console=Console(stderr=True, quiet=True), disable=True, get_time=clock)
        self._seconds, self._next = seconds, clock() + first

    @abstractmethod
    def _show(self, task: Task) -> None:
        """Show the progress of a task."""

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
    """A bar that writes lines instead, at most one per interval.

    Args:
        seconds: Seconds between two lines.
        say: Function that writes a line.
        first: Seconds before the first line; None takes the seconds between two lines.
        clock: Function that returns seconds since some fixed time.
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
        counted = task.fields.get("counted", True)  # else the description says how much is done
        parts = [task.description, *([f"{task.completed:.0f} of {task.total or 0:.0f}"] if counted else [])]
        parts += [f"{task.elapsed or 0:.0f} s"]
        parts += [] if task.time_remaining is None else [f"{task.time_remaining:.0f} s to go"]
        self._write(", ".join(parts))


class NotebookBar(_Seldom):
    """A bar in the output of a notebook's cell, where its last state stays.

    IPython updates the bar that Rich renders; Rich's own live display would need ipywidgets.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        from IPython.display import display  # a notebook always has IPython

        super().__init__(_REFRESH, first=0.0, clock=clock)
        self._cell = display(self, display_id=True)

    def _show(self, task: Task) -> None:
        self._cell.update(self)

    def stop(self) -> None:
        """Show the last state."""
        self._cell.update(self)
