"""The protocol of a source of rows on disk that are read a piece at a time, and the check that files stay the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from lunet_export.errors import DataError

Rows = NDArray[Any]

#: Suffixes of files that are read a piece at a time, and of those that are held whole.
SUFFIXES, HELD = (".npy", ".parquet", ".arrow", ".feather"), (".csv", ".npz")


class Source(Protocol):
    """Rows (N, D) on disk."""

    rows: int  # N
    width: int  # D
    held: bool  # whether all rows are in memory
    names: tuple[str, ...] | None  # names of the columns, if the file has them

    def read(self, first: int, count: int) -> Rows:
        """Return consecutive rows, (count, D): integers or floats as they are stored.

        Raises:
            DataError: if the file is no longer the one that was opened, so that no answers come from two files.
        """

    def identity(self) -> dict[str, Any]:
        """Return plain values by which the same data is recognised: files, sizes, times of change, columns."""


def stamp(path: Path) -> dict[str, Any]:
    """Return plain values by which a file is recognised, in another process too."""
    status = path.stat()
    return {"file": path.name, "bytes": status.st_size, "changed_ns": status.st_mtime_ns}


#: Inode, size and time of change, by which a file is recognised while it is read.
Seen = tuple[int, int, int]


def seen(path: Path) -> Seen:
    """Return the state of a file now."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def unchanged(path: Path, known: Seen) -> Iterator[None]:
    """Check that a file read in this block is still the one that was seen.

    Raises:
        DataError: if the file changed, even if it became malformed by that.
    """
    malformed = None
    try:
        yield
    except DataError as error:
        malformed = error
    try:
        same = seen(path) == known
    except FileNotFoundError:
        same = False
    if not same:
        raise DataError(f"Expected {path} to stay as it is while it is read; it changed meanwhile. Run it again.")
    if malformed:
        raise malformed
