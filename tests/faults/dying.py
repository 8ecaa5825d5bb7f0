"""A death that is played: from the k-th operation on the file system nothing more is done, not even in `finally`.

The process lives on, so a test may look; and it takes milliseconds. What a kill inside a system call leaves, and what
other libraries write by themselves, the campaign shows (`interpose.c`).
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.link", "shutil.rmtree"}


class Killed(BaseException):
    """In place of SIGKILL."""


class Death:
    """When it comes, and which operations there were; without a number it never comes."""

    def __init__(self, root: Path, at: int | None, error: BaseException | None) -> None:
        self._root, self._at, self._error = str(root), at, error
        self.events: list[str] = []

    def look(self, event: str, arguments: tuple) -> None:
        """Raise where an operation is the one, or comes after it."""
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(flags, int) and flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR)
        else:
            path, changes = arguments[0], event in _CHANGES
        if not changes or not isinstance(path, str | bytes | os.PathLike) or not self._under(os.fsdecode(path)):
            return
        self.events.append(event)
        if self._at is None or len(self.events) < self._at:
            return
        if self._error is None:
            raise Killed
        if len(self.events) == self._at:
            raise self._error

    def _under(self, path: str) -> bool:
        return path.startswith(self._root)  # all paths of tests are absolute


_now: list[Death] = []


def _hook(event: str, arguments: tuple) -> None:
    if _now:
        _now[-1].look(event, arguments)


@contextmanager
def death(root: Path, at: int | None, error: BaseException | None = None) -> Iterator[Death]:
    """Play it inside of the block, at operations under `root`; or raise `error` there, once, and life goes on."""
    if not hasattr(sys, "_dying"):
        sys.addaudithook(_hook)  # for good: hooks cannot be taken away
        sys._dying = True
    one = Death(root, at, error)
    _now.append(one)
    try:
        yield one
    finally:
        _now.remove(one)
