"""Reading a folder that an export may replace at the same time: what was read is of one export, or is read again."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lunet_export.errors import ArtifactError

Read = TypeVar("Read")
Stamp = tuple[tuple[int, ...] | None, ...]

_TRIES = 10  # exports in a row that may fall into readings in a row
_PAUSE = 0.02  # seconds, where there is nothing for a moment: not every system exchanges two folders in one step


def settled(folder: Path, manifest: str, read: Callable[[], Read]) -> Read:
    """What `read` gives of a folder whose files are held against a manifest.

    An export takes the place of the one before in one step, but a reader opens one file after another: it meets a
    manifest of before and graphs of after, or a folder that is being removed. Where the folder or its manifest is
    another than at the beginning, the refusal says nothing of the files, and they are read again.

    Raises:
        ArtifactError: As `read` does, of a folder that nobody replaced meanwhile.
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
    except (OSError, RuntimeError):  # links in a circle were a RuntimeError before Python 3.13
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
