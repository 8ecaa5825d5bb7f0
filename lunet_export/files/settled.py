"""Reading of a folder that an export may replace at the same time: all that is returned belongs to one export."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lunet_export.errors import ArtifactError

Read = TypeVar("Read")
Stamp = tuple[tuple[int, ...] | None, ...]

_TRIES = 10  # number of consecutive readings that exports may interrupt
_PAUSE = 0.02  # seconds to wait for a folder: not every system exchanges two folders in one step


def settled(folder: Path, manifest: str, read: Callable[[], Read]) -> Read:
    """Return what `read` gives for a folder whose files are checked against a manifest.

    An export replaces the one before in one step, but a reader opens one file after another: it may see an old manifest
    and new graphs, or a folder that is being removed. If the folder or its manifest differs from the beginning, an
    error says nothing about the files, and they are read again.

    Raises:
        ArtifactError: if `read` raises it for a folder that nobody replaced meanwhile.
    """
    for _ in range(_TRIES):
        before = _stamp(folder, manifest)
        try:
            return read()
        except ArtifactError:
            after = _stamp(folder, manifest)
            if after == before:
                raise
            if None in after:
                time.sleep(_PAUSE)
    return read()


def _stamp(folder: Path, manifest: str) -> Stamp:
    return _of(folder), _of(folder / manifest)


def _of(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except (OSError, RuntimeError):  # a circle of links raised RuntimeError before Python 3.13
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
