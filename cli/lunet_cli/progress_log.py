"""Progress where nobody looks at a terminal: plain lines now and then, if they are asked for."""

import math
import os
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID

from lunet_export.errors import BadInputError

#: Seconds between two lines. Without it a command is quiet where stderr is no terminal.
VARIABLE = "LUNET_LOG"


def interval() -> float | None:
    """Seconds between two lines; None where none are wanted.

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


class ProgressLog(Progress):
    """A bar that writes no bar, but a line of its task at most every so many seconds.

    Args:
        seconds: Between two lines.
        clock: Seconds from any start on.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(console=Console(stderr=True, quiet=True), disable=True, get_time=clock)
        self._seconds, self._said = seconds, clock()

    def update(self, task_id: TaskID, **fields: Any) -> None:  # noqa: ANN401
        """As of any bar."""
        super().update(task_id, **fields)
        self._say(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """As of any bar."""
        super().advance(task_id, advance)
        self._say(task_id)

    def _say(self, task_id: TaskID) -> None:
        now = self.get_time()
        if now - self._said < self._seconds:
            return
        self._said, task = now, self._tasks[task_id]
        parts = [task.description, f"{task.completed:.0f} of {task.total or 0:.0f}", f"{task.elapsed or 0:.0f} s"]
        parts += [] if task.time_remaining is None else [f"{task.time_remaining:.0f} s to go"]
        say(", ".join(parts))


def say(line: str) -> None:
    """A line to stderr, at once."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
