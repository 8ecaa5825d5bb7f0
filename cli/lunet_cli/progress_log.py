"""Progress where nobody looks at a terminal: plain lines now and then."""

import math
import os
from collections.abc import Callable
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID

from lunet_export.errors import BadInputError

#: Seconds between two lines, and before the first one.
VARIABLE = "LUNET_LOG"

#: Without it: soon enough to show that something happens, then seldom enough for a log of hours; a command that is done
#: earlier says nothing.
_FIRST, _BETWEEN = 10.0, 30.0


def interval() -> float | None:
    """Seconds between two lines, as the variable has them; None where it is not set.

    Raises:
        BadInputError: The variable is no number of seconds.
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
    """Lines at the intervals of the variable, or at the usual ones; arguments as of `ProgressLog`.

    Raises:
        BadInputError: The variable is no number of seconds.
    """
    seconds = interval()
    return ProgressLog(_BETWEEN, say, clock, first=_FIRST) if seconds is None else ProgressLog(seconds, say, clock)


class ProgressLog(Progress):
    """A bar that writes no bar, but a line of its task at most every so many seconds.

    Args:
        seconds: Between two lines.
        say: Writes a line.
        first: Seconds before the first line. Default: as between two.
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
        super().__init__(console=Console(stderr=True, quiet=True), disable=True, get_time=clock)
        self._seconds, self._write = seconds, say
        self._next = clock() + (seconds if first is None else first)

    def update(self, task_id: TaskID, **fields: object) -> None:
        """As of any bar."""
        given: dict[str, Any] = fields
        super().update(task_id, **given)
        self._say(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """As of any bar."""
        super().advance(task_id, advance)
        self._say(task_id)

    def _say(self, task_id: TaskID) -> None:
        now = self.get_time()
        if now < self._next:
            return
        self._next, task = now + self._seconds, self._tasks[task_id]
        counted = task.fields.get("counted", True)  # else its description says how much is done
        parts = [task.description, *([f"{task.completed:.0f} of {task.total or 0:.0f}"] if counted else [])]
        parts += [f"{task.elapsed or 0:.0f} s"]
        parts += [] if task.time_remaining is None else [f"{task.time_remaining:.0f} s to go"]
        self._write(", ".join(parts))
