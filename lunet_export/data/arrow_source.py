"""Rows in tables of Parquet and Arrow, one file or a folder of them, read a piece at a time."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lunet_export.columns import chosen
from lunet_export.data.arrow_files import (
    OPENERS,
    Opened,
    Opener,
    lists,
    numbers,
    readable,
    validate_not_scores,
    width,
)
from lunet_export.data.finished import Recorded, recorded_parts, validate_files, validate_part
from lunet_export.data.source import HELD, SUFFIXES, Rows, Source, seen, stamp, unchanged
from lunet_export.errors import DataError


class ArrowSource(Source):
    """Tables read in pieces: row groups of Parquet, record batches of Arrow.

    Only one file is open and one batch in memory.

    A read continues where the last one ended, so a large piece needs no more memory. A read of earlier rows starts
    again at the beginning of their piece.

    Args:
        files: Paths in the order of their rows.
        columns: Columns that make a row, by name or by number counted from one, as in `open_source`.
        opener: Function that opens files of their kind.
        parts: Records of a finished run by file name; each file is compared with its record when it is first read.
    """

    held = False

    def __init__(
        self,
        files: Sequence[Path],
        columns: Sequence[str],
        opener: Opener,
        parts: Mapping[str, Recorded] | None = None,
    ) -> None:
        self._files, self._opener, self._parts = files, opener, parts
        self._seen = {path: seen(path) for path in files}
        self._whole: set[Path] = set()  # files that were found to be as the run wrote them
        self._pieces: list[tuple[Path, int]] = []
        self._ends: list[int] = []  # number behind the last row of each piece
        schema = None
        for path in files:
            schema = self._list(path, schema)
        self.rows = self._ends[-1] if self._ends else 0
        if schema is None or not self.rows:
            raise DataError(f"Expected rows in {files[0]}; it has none.")
        self._columns: list[str] = []
        with readable(files[0]):  # names may be malformed text
            names = schema.names
            taken = [names[place] for place in chosen(columns, names, len(names), files[0])]
            self._columns += taken or lists(schema) or names
        if not columns:
            validate_not_scores(self._columns, files[0])
        self.width = width(schema, self._columns, files[0])
        self.names = tuple(self._columns) if self.width == len(self._columns) else None
        self._file: tuple[Path, Opened] | None = None
        self._piece = -1  # number of the piece that is read
        self._ahead: Iterator[Any] = iter(())  # the rest of that piece
        self._held: Any = None  # a record batch, and the number of its first row
        self._first = 0

    def read(self, first: int, count: int) -> Rows:
        parts, here = [], first
        while here < first + count:
            path, _ = self._pieces[bisect_right(self._ends, here)]
            with unchanged(path, self._seen[path]), readable(path):
                self._hold(here)
                begin, stop = here - self._first, min(first + count - self._first, self._held.num_rows)
                parts.append(numbers(self._held.slice(begin, stop - begin), self._columns, self.width))
            here = self._first + stop
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def identity(self) -> dict[str, Any]:
        known = [self._known(path) for path in self._files]
        return {"files": known, "rows": self.rows, "width": self.width, "columns": self._columns}

    def _known(self, path: Path) -> dict[str, Any]:
        """Return values by which a file is recognised: for a part of a run its hash, since it may be made again."""
        return stamp(path) if self._parts is None else {"file": path.name, "sha256": self._parts[path.name].sha256}

    def _list(self, path: Path, schema: Any) -> Any:  # noqa: ANN401
        """Note a file's pieces and return its schema, which must be that of the files before."""
        with readable(path):
            file = self._opener(path)
            sizes = file.sizes()
            if min(sizes, default=0) < 0:
                raise ValueError(f"it claims {min(sizes)} rows")
        if self._parts is not None and sum(sizes) != self._parts[path.name].rows:
            raise DataError(
                f"Expected {self._parts[path.name].rows} rows in {path}, as its run wrote it; got {sum(sizes)}. "
                "Make it again with `resume=True`."
            )
        if schema is not None and not schema.equals(file.schema):
            raise DataError(f"Expected files of one schema; that of {path} differs from that of {self._files[0]}.")
        for number, rows in enumerate(sizes):
            self._pieces.append((path, number))
            self._ends.append(rows + (self._ends[-1] if self._ends else 0))
        return file.schema

    def _hold(self, row: int) -> None:
        """Hold the record batch with this row."""
        number = bisect_right(self._ends, row)
        if self._piece != number or row < self._first:
            path, within = self._pieces[number]
            if self._file is None or self._file[0] != path:
                self._validate_part(path)
                self._file = (path, self._opener(path))
            self._piece, self._ahead, self._held = number, self._file[1].rows(within, self._columns), None
            self._first = self._ends[number - 1] if number else 0
        while self._held is None or row >= self._first + self._held.num_rows:
            batch = next(self._ahead, None)
            if batch is None:
                self._piece = -1
                raise ValueError(f"row {row} is missing")
            batch.validate()  # a slice of columns shorter than claimed would crash the process
            self._first += 0 if self._held is None else self._held.num_rows
            self._held = batch

    def _validate_part(self, path: Path) -> None:
        """Check a part of a run once, just before its rows are taken: all parts are too much to read twice."""
        if self._parts is not None and path not in self._whole:
            validate_part(path, self._parts[path.name])
            self._whole.add(path)


def table_names(path: Path) -> tuple[str, ...]:
    """Return the names of the columns of a table, or of a folder of tables of one schema.

    Raises:
        DataError: if the table cannot be read, see `open_source`.
    """
    return tuple(_schema(path).names)


def is_of_lists(path: Path) -> bool:
    """Return whether a table, or a folder of them, has one column of lists, which is then taken for its rows.

    Raises:
        DataError: if the table cannot be read, see `open_source`.
    """
    return bool(lists(_schema(path)))


def _schema(path: Path) -> Any:  # noqa: ANN401
    files, opener, _ = tables_in(path)
    with readable(files[0]):
        schema = opener(files[0]).schema
        _ = schema.names  # raises an error if they are malformed text
        return schema


def read_words(path: Path, column: str) -> list[object]:
    """Read one whole column of a table, or of a folder of them: one value per row.

    Raises:
        DataError: if the table cannot be read, see `open_source`.
    """
    files, opener, _ = tables_in(path)
    found: list[object] = []
    for file in files:
        with readable(file):
            opened = opener(file)
            for piece in range(len(opened.sizes())):
                for batch in opened.rows(piece, [column]):
                    found += batch.column(column).to_pylist()
    return found


def tables_in(path: Path) -> tuple[list[Path], Opener, Mapping[str, Recorded] | None]:
    """Return the files of a table or of a folder of tables, their opener, and the records of a finished run.

    Raises:
        DataError: if the files are not of one kind, or are not those of their run.
    """
    if not path.is_dir():
        if path.suffix not in OPENERS:
            raise DataError(f"Expected a file of {', '.join((*SUFFIXES, *HELD))}; got {path}. Convert it.")
        return [path], OPENERS[path.suffix], None
    parts = recorded_parts(path)
    # Other readers of such folders skip these names too: half-written files and records.
    files = sorted(file for file in path.iterdir() if not file.name.startswith((".", "_")))
    files = [file for file in files if file.is_file()]
    kinds = {file.suffix for file in files} & set(OPENERS)
    if len(kinds) != 1:
        found = " and ".join(sorted(kinds)) if kinds else "none"
        raise DataError(f"Expected files of one kind, Parquet or Arrow, in the folder {path}; got {found}.")
    (suffix,) = kinds
    files = [file for file in files if file.suffix == suffix]
    if parts is not None:
        validate_files(path, files, parts)
    return files, OPENERS[suffix], parts
