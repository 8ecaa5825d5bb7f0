"""Rows in files that are read a piece at a time: .npy, Parquet, Arrow; and in small ones that are held whole."""

import errno
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lunet_export.data import arrays, idx, npy
from lunet_export.data.finished import Recorded, recorded_parts, refuse_altered, refuse_other_files
from lunet_export.data.record_batches import batch_rows
from lunet_export.errors import DataError, MissingPackageError, brief
from lunet_export.installation import install_extra

Rows = NDArray[Any]

SUFFIXES = (".npy", ".parquet", ".arrow", ".feather")
#: The columns of scores, which are numbers as rows are, and none.
SCORES = ("log_prob", "bits_per_dim")
_HELD = 4096  # rows of Parquet that are decoded at once
_FETCHED = 65536  # bytes


class Source(Protocol):
    """Rows (N, D) on disk."""

    rows: int  # N
    width: int  # D
    held: bool  # all rows are in memory
    names: tuple[str, ...] | None  # of the columns, where the file tells them

    def read(self, first: int, count: int) -> Rows:
        """Some consecutive rows, (count, D): integers or floats as they are stored.

        Raises:
            DataError: The file is no longer the one that was opened: no answers come from two of them.
        """

    def identity(self) -> dict[str, Any]:
        """Plain values by which the same data is known again: files, sizes, times of change, columns."""


def arrow(name: str) -> Any:  # noqa: ANN401
    """A module of pyarrow.

    Raises:
        MissingPackageError: It is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise MissingPackageError(
            f"Expected pyarrow for Parquet and Arrow; it is not installed. Run: {install_extra('scale')}"
        ) from None


def native_file(path: Path, mode: str = "rb") -> Any:  # noqa: ANN401
    """A file of pyarrow's own. By its bytes: pyarrow itself takes only names that are UTF-8, and those of text."""
    return arrow("pyarrow").OSFile(os.fsencode(path), mode)


def open_source(path: Path, columns: Sequence[str] = (), *, hold: bool = False) -> Source:
    """The rows of a .npy, .parquet, .arrow or .feather file, or of a folder of files of one kind, by their names.

    Args:
        path: The file or folder.
        hold: Read the whole file into memory: .npy in any layout, .npz, .csv or IDX images.
        columns: Of Parquet and Arrow, those that make a row, in this order: numbers, or one list of D numbers. Without
            them, the only list that there is, else all columns.

    Raises:
        DataError: It is missing, malformed, smaller than it claims, an unfinished run or one with other parts than it
            wrote, or holds no rows of numbers but, say, the scores of some.
        MissingPackageError: Parquet or Arrow, and no pyarrow.
    """
    if hold:
        return ArraySource(path, columns)
    if not path.exists():
        raise DataError(f"Expected rows in {path}; it does not exist. Give a file of {', '.join(SUFFIXES)}.")
    if not path.is_file() and not path.is_dir():  # a pipe or a device may have no end, and no place to go back to
        raise DataError(f"Expected rows in a file; {path} is none. Save them first.")
    if path.suffix == ".npy":
        if columns:
            raise DataError(f"Expected no --columns for {path}: .npy has none. Leave it out.")
        return NpySource(path)
    files, opener, parts = _tables(path)
    return ArrowSource(files, columns, opener, parts)


def table_names(path: Path) -> list[str]:
    """Return the names of the columns of a table, or of a folder of tables of one schema.

    Raises:
        DataError: It cannot be read, see `open_source`.
    """
    files, opener, _ = _tables(path)
    with _readable(files[0]):
        return list(opener(files[0]).schema.names)


def read_words(path: Path, column: str) -> list[object]:
    """Read one column of a table, or of a folder of them, whole: what it holds of every row.

    Raises:
        DataError: It cannot be read, see `open_source`.
    """
    files, opener, _ = _tables(path)
    found: list[object] = []
    for file in files:
        with _readable(file):
            opened = opener(file)
            for piece in range(len(opened.sizes())):
                for batch in opened.rows(piece, [column]):
                    found += batch.column(column).to_pylist()
    return found


def _tables(path: Path) -> "tuple[list[Path], Opener, Mapping[str, Recorded] | None]":
    """Return the files of a table or of a folder of tables, what opens them, and what a finished run says of them."""
    if not path.is_dir():
        if path.suffix not in _OPENERS:
            raise DataError(f"Expected a file of {', '.join(SUFFIXES)}; got {path}. Convert it.")
        return [path], _OPENERS[path.suffix], None
    parts = recorded_parts(path)
    # Names that begin so are no data to other readers of such folders either: what is half-written, what is beside.
    files = sorted(file for file in path.iterdir() if not file.name.startswith((".", "_")))
    files = [file for file in files if file.is_file()]
    kinds = {file.suffix for file in files} & set(_OPENERS)
    if len(kinds) != 1:
        found = f"those of {' and '.join(sorted(kinds))}" if kinds else "none"
        raise DataError(f"Expected files of Parquet, or of Arrow, in the folder {path}; there are {found}.")
    (suffix,) = kinds
    files = [file for file in files if file.suffix == suffix]
    if parts is not None:
        refuse_other_files(path, files, parts)
    return files, _OPENERS[suffix], parts


def _stamp(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {"file": path.name, "bytes": status.st_size, "changed_ns": status.st_mtime_ns}


#: By which a file is known again while it is read.
Seen = tuple[int, int, int]


def _seen(path: Path) -> Seen:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def _unchanged(path: Path, seen: Seen) -> Iterator[None]:
    """What is read of a file in this block is of the one that was seen.

    Raises:
        DataError: It is another now. That is also said of one that is malformed since.
    """
    malformed = None
    try:
        yield
    except DataError as error:
        malformed = error
    try:
        same = _seen(path) == seen
    except FileNotFoundError:
        same = False
    if not same:
        raise DataError(f"Expected {path} to stay as it is while it is read; it changed meanwhile. Run it anew.")
    if malformed:
        raise malformed


class ArraySource(Source):
    """A file that is held whole, rows of D numbers or images of as many; of one axis, rows of a number each."""

    held = True
    names = None

    def __init__(self, path: Path, columns: Sequence[str] = ()) -> None:
        if path.suffix == ".gz" or "ubyte" in path.name:
            if columns:
                raise DataError(f"Expected no --columns for {path}: images have none. Leave it out.")
            found: Rows = idx.read_images(path)
        else:
            found = arrays.read(path, columns)
        self.shape, self._identity = found.shape, {"files": [_stamp(path)], "dtype": str(found.dtype)}
        self._identity |= {"columns": list(columns)} if columns else {}
        self._rows = found.reshape(len(found), -1)
        self.rows, self.width = self._rows.shape

    def read(self, first: int, count: int) -> Rows:
        return self._rows[first : first + count]

    def identity(self) -> dict[str, Any]:
        return {**self._identity, "rows": self.rows, "width": self.width}


class NpySource(Source):
    """A .npy file, (N, D) or images (N, ...), read by position: pages of it are not kept in this process."""

    held = False
    names = None

    def __init__(self, path: Path) -> None:
        self._path, self._seen = path, _seen(path)
        try:
            with path.open("rb") as file:
                header = npy.read_header(file)
        except npy.MALFORMED as error:
            raise DataError(f"Expected a readable .npy file; {path} is not: {npy.said(error)}.") from None
        shape, fortran, dtype, self._begin = header.shape, header.fortran, header.dtype, header.begin
        if fortran or dtype.kind not in "uif" or len(shape) < 2 or min(shape) < 1:
            raise DataError(
                f"Expected rows of integers or floats in C order in {path}; got {str(dtype)[:80]} of shape {shape}"
                f"{' in Fortran order' if fortran else ''}. Save numpy.ascontiguousarray of them."
            )
        self.rows, self.width, self._dtype = shape[0], int(np.prod(shape[1:], dtype=object)), dtype
        needed, there = self._begin + self.rows * self.width * dtype.itemsize, path.stat().st_size
        if there < needed:
            raise DataError(f"Expected {needed} bytes in {path}, as its header says; got {there}. It is cut short.")

    def read(self, first: int, count: int) -> Rows:
        with _unchanged(self._path, self._seen):
            with self._path.open("rb") as file:
                file.seek(self._begin + first * self.width * self._dtype.itemsize)
                numbers = np.fromfile(file, dtype=self._dtype, count=count * self.width)
            if len(numbers) != count * self.width:
                raise DataError(f"Expected {count} rows from row {first} of {self._path}; it is cut short.")
        return numbers.reshape(count, self.width)

    def identity(self) -> dict[str, Any]:
        return {"files": [_stamp(self._path)], "rows": self.rows, "width": self.width, "dtype": str(self._dtype)}


class ArrowSource(Source):
    """Tables in pieces: row groups of Parquet, record batches of Arrow. One file is open, and some rows of it are held.

    Rows are read on from where the last read ended, so memory does not grow with the pieces; going back reads a piece
    from its beginning.

    Args:
        files: In the order of their rows.
        columns: Of a row; as in `open_source`.
        opener: Of files of their kind.
        parts: Of a finished run, what it says of each file; they are held against it when they are first read.
    """

    held = False

    def __init__(
        self,
        files: Sequence[Path],
        columns: Sequence[str],
        opener: "Opener",
        parts: Mapping[str, Recorded] | None = None,
    ) -> None:
        self._files, self._opener, self._parts = files, opener, parts
        self._seen = {path: _seen(path) for path in files}
        self._whole: set[Path] = set()  # files that are as the run wrote them
        self._pieces: list[tuple[Path, int]] = []
        self._ends: list[int] = []  # of the rows of each piece
        schema = None
        for path in files:
            schema = self._list(path, schema)
        self.rows = self._ends[-1] if self._ends else 0
        if schema is None or not self.rows:
            raise DataError(f"Expected rows in {files[0]}; it has none.")
        self._columns: list[str] = []
        with _readable(files[0]):  # names may be no text
            self._columns += columns or _lists(schema) or schema.names
        if not columns:
            _refuse_scores(self._columns, files[0])
        self.width = _width(schema, self._columns, files[0])
        self.names = tuple(self._columns) if self.width == len(self._columns) else None
        self._file: tuple[Path, Opened] | None = None
        self._piece = -1  # that is being read
        self._ahead: Iterator[Any] = iter(())  # what is left of that piece
        self._held: Any = None  # a record batch, and the number of its first row
        self._first = 0

    def read(self, first: int, count: int) -> Rows:
        parts, here = [], first
        while here < first + count:
            path, _ = self._pieces[bisect_right(self._ends, here)]
            with _unchanged(path, self._seen[path]), _readable(path):
                self._hold(here)
                begin, stop = here - self._first, min(first + count - self._first, self._held.num_rows)
                parts.append(_numbers(self._held.slice(begin, stop - begin), self._columns, self.width))
            here = self._first + stop
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def identity(self) -> dict[str, Any]:
        known = [self._known(path) for path in self._files]
        return {"files": known, "rows": self.rows, "width": self.width, "columns": self._columns}

    def _known(self, path: Path) -> dict[str, Any]:
        """By what a file is known again: of a run, by what it holds, for a part may be made again."""
        return _stamp(path) if self._parts is None else {"file": path.name, "sha256": self._parts[path.name].sha256}

    def _list(self, path: Path, schema: Any) -> Any:  # noqa: ANN401
        """Take note of a file's pieces; its schema, which must be that of the files before."""
        with _readable(path):
            file = self._opener(path)
            sizes = file.sizes()
            if min(sizes, default=0) < 0:
                raise ValueError(f"it claims {min(sizes)} rows")
        if self._parts is not None and sum(sizes) != self._parts[path.name].rows:
            raise DataError(
                f"Expected {self._parts[path.name].rows} rows in {path}, as its run wrote it; got {sum(sizes)}. "
                "Make it again by --resume."
            )
        if schema is not None and not schema.equals(file.schema):
            raise DataError(f"Expected files of one schema; {path} has another than {self._files[0]}.")
        for number, rows in enumerate(sizes):
            self._pieces.append((path, number))
            self._ends.append(rows + (self._ends[-1] if self._ends else 0))
        return file.schema

    def _hold(self, row: int) -> None:
        """Hold the rows among which this one is."""
        number = bisect_right(self._ends, row)
        if self._piece != number or row < self._first:
            path, within = self._pieces[number]
            if self._file is None or self._file[0] != path:
                self._refuse_altered(path)
                self._file = (path, self._opener(path))
            self._piece, self._ahead, self._held = number, self._file[1].rows(within, self._columns), None
            self._first = self._ends[number - 1] if number else 0
        while self._held is None or row >= self._first + self._held.num_rows:
            batch = next(self._ahead, None)
            if batch is None:
                self._piece = -1
                raise ValueError(f"row {row} is missing")
            batch.validate()  # or a slice of columns that are shorter than it says would end the process
            self._first += 0 if self._held is None else self._held.num_rows
            self._held = batch

    def _refuse_altered(self, path: Path) -> None:
        """Of a run's part, once, just before its rows are taken: all parts before work are too much to read twice."""
        if self._parts is not None and path not in self._whole:
            refuse_altered(path, self._parts[path.name])
            self._whole.add(path)


class Opened(Protocol):
    """A file of Parquet or Arrow."""

    schema: Any

    def sizes(self) -> list[int]:
        """Rows of each of its pieces."""

    def rows(self, piece: int, columns: Sequence[str]) -> Iterator[Any]:
        """A piece as record batches, one after the other."""


class _Parquet:
    def __init__(self, path: Path) -> None:
        # Whole row groups are not fetched beforehand: of each column, so much at a time.
        self._file = arrow("pyarrow.parquet").ParquetFile(native_file(path), pre_buffer=False, buffer_size=_FETCHED)
        self.schema = self._file.schema_arrow

    def sizes(self) -> list[int]:
        return [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]

    def rows(self, piece: int, columns: Sequence[str]) -> Iterator[Any]:
        return self._file.iter_batches(batch_size=_HELD, row_groups=[piece], columns=columns)


class _Ipc:
    """Read, not mapped: of a mapped file that is cut short meanwhile the system ends this process without a word.

    A record batch is held whole.
    """

    def __init__(self, path: Path) -> None:
        self._sizes = batch_rows(path)
        self._file = arrow("pyarrow.ipc").open_file(native_file(path))
        self.schema = self._file.schema
        for number, rows in enumerate(self._sizes):
            if rows == 0:  # nobody would read it, and see that it is damaged
                self._file.get_batch(number)

    def sizes(self) -> list[int]:
        return self._sizes

    def rows(self, piece: int, columns: Sequence[str]) -> Iterator[Any]:
        del columns
        yield self._file.get_batch(piece)


Opener = Callable[[Path], Opened]

#: By suffix. Feather is Arrow's file format by another name.
_OPENERS: dict[str, Opener] = {".parquet": _Parquet, ".arrow": _Ipc, ".feather": _Ipc}


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What pyarrow says of a file, as a sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError, arrow("pyarrow").ArrowException) as error:
        if isinstance(error, OSError) and error.errno == errno.EMFILE:
            raise
        raise DataError(f"Expected a readable {path.suffix} file; {path} is not: {brief(error, 200)}.") from None


def _refuse_scores(columns: Sequence[str], path: Path) -> None:
    """Raise where a table would be taken for rows as a whole that is what a density made of rows.

    Raises:
        DataError: It is.
    """
    if set(SCORES) <= set(columns):
        raise DataError(
            f"Expected rows in {path}; it holds scores of some ({', '.join(SCORES)}). Give the rows themselves, or "
            "choose columns with --columns."
        )


def _width(schema: Any, columns: Sequence[str], path: Path) -> int:  # noqa: ANN401
    """Numbers a row.

    Raises:
        DataError: A column is missing, or the columns are neither numbers nor one list of numbers.
    """
    types = arrow("pyarrow.types")
    missing = [name for name in columns if name not in schema.names]
    if missing:
        raise DataError(f"Expected a column {missing[0]} in {path}; it has {', '.join(schema.names)[:200]}.")
    kinds = [schema.field(name).type for name in columns]
    if len(kinds) == 1 and types.is_fixed_size_list(kinds[0]) and _is_number(kinds[0].value_type):
        return int(kinds[0].list_size)
    for name, kind in zip(columns, kinds, strict=True):
        if not _is_number(kind):
            raise DataError(
                f"Expected numbers, or one list of as many in every row, in {path}; column {name} is {kind}. "
                "Choose with --columns."
            )
    return len(columns)


def _lists(schema: Any) -> list[str]:  # noqa: ANN401
    """The only column of lists, if there is one."""
    types = arrow("pyarrow.types")
    found = [name for name in schema.names if types.is_fixed_size_list(schema.field(name).type)]
    return found if len(found) == 1 else []


def _is_number(kind: Any) -> bool:  # noqa: ANN401
    types = arrow("pyarrow.types")
    return bool(types.is_integer(kind) or types.is_floating(kind))


def _numbers(table: Any, columns: Sequence[str], width: int) -> Rows:  # noqa: ANN401
    """(N, D) of a table or record batch; a missing float is NaN. Raises ValueError where anything else is missing."""
    types, found = arrow("pyarrow.types"), []
    for name in columns:
        column = table.column(name)
        column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
        column.validate()  # a damaged file may claim more numbers than there are bytes
        listed = types.is_fixed_size_list(column.type)
        values = column.flatten() if listed else column
        if (listed and column.null_count) or (
            values.null_count and not arrow("pyarrow.types").is_floating(values.type)
        ):
            raise ValueError(f"a number is missing in column {name}")
        numbers = np.asarray(values.to_numpy(zero_copy_only=False))
        if listed:
            return numbers.reshape(-1, width)
        found.append(numbers)
    return np.stack(found, axis=1)
