"""Rows in files that are read a piece at a time: .npy, Parquet, Arrow."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import DataError, MissingPackageError

Rows = NDArray[Any]

SUFFIXES = (".npy", ".parquet", ".arrow", ".feather")
_VERSIONS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Source(Protocol):
    """Rows (N, D) on disk."""

    rows: int  # N
    width: int  # D

    def read(self, first: int, count: int) -> Rows:
        """Some consecutive rows, (count, D): integers or floats as they are stored."""

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
            "Expected pyarrow for Parquet and Arrow; it is not installed. Run: pip install 'lunet-export[scale]'"
        ) from None


def open_source(path: Path, columns: Sequence[str] = ()) -> Source:
    """The rows of a .npy, .parquet, .arrow or .feather file, or of a folder of Parquet files by their names.

    Args:
        path: The file or folder.
        columns: Of Parquet and Arrow, those that make a row, in this order: numbers, or one list of D numbers. Without
            them, the only list that there is, else all columns.

    Raises:
        DataError: It is missing, malformed, smaller than it claims, or holds no rows of numbers.
        MissingPackageError: Parquet or Arrow, and no pyarrow.
    """
    if not path.exists():
        raise DataError(f"Expected rows in {path}; it does not exist. Give a file of {', '.join(SUFFIXES)}.")
    if path.suffix == ".npy":
        if columns:
            raise DataError(f"Expected no --columns for {path}: .npy has none. Leave it out.")
        return NpySource(path)
    if path.is_dir():
        # Names that begin so are no data to other readers of such folders either: what is half-written, what is beside.
        files = sorted(file for file in path.glob("*.parquet") if not file.name.startswith((".", "_")))
        if not files:
            raise DataError(f"Expected Parquet files in the folder {path}; there are none.")
        return ArrowSource(files, columns, _parquet)
    if path.suffix not in SUFFIXES:
        raise DataError(f"Expected a file of {', '.join(SUFFIXES)}; got {path}. Convert it.")
    return ArrowSource([path], columns, _parquet if path.suffix == ".parquet" else _ipc)


def _stamp(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {"file": path.name, "bytes": status.st_size, "changed_ns": status.st_mtime_ns}


class NpySource:
    """A .npy file, (N, D) or images (N, ...), read by position: pages of it are not kept in this process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                version = np.lib.format.read_magic(file)
                shape, fortran, dtype = _VERSIONS[version](file)
                self._begin = file.tell()
        except (ValueError, KeyError, EOFError, OSError) as error:
            raise DataError(f"Expected a readable .npy file; {path} is not: {str(error).splitlines()[0]}.") from None
        if fortran or dtype.kind not in "uif" or len(shape) < 2 or min(shape) < 1:
            raise DataError(
                f"Expected rows of integers or floats in C order in {path}; got {dtype} of shape {shape}"
                f"{' in Fortran order' if fortran else ''}. Save numpy.ascontiguousarray of them."
            )
        self.rows, self.width, self._dtype = shape[0], int(np.prod(shape[1:], dtype=object)), dtype
        needed, there = self._begin + self.rows * self.width * dtype.itemsize, path.stat().st_size
        if there < needed:
            raise DataError(f"Expected {needed} bytes in {path}, as its header says; got {there}. It is cut short.")

    def read(self, first: int, count: int) -> Rows:
        """As `Source.read`."""
        with self._path.open("rb") as file:
            file.seek(self._begin + first * self.width * self._dtype.itemsize)
            numbers = np.fromfile(file, dtype=self._dtype, count=count * self.width)
        if len(numbers) != count * self.width:
            raise DataError(f"Expected {count} rows from row {first} of {self._path}; the file was cut meanwhile.")
        return numbers.reshape(count, self.width)

    def identity(self) -> dict[str, Any]:
        """As `Source.identity`."""
        return {"files": [_stamp(self._path)], "rows": self.rows, "width": self.width, "dtype": str(self._dtype)}


Piece = tuple[int, Callable[[], Any]]  # rows, and what reads them as a table


class ArrowSource:
    """Tables in pieces: row groups of Parquet, record batches of Arrow. The last piece is kept."""

    def __init__(self, files: Sequence[Path], columns: Sequence[str], pieces: Callable[..., list[Piece]]) -> None:
        self._files = files
        self._last: tuple[int, Rows | None] = (-1, None)
        schemas = {str(_schema(path, pieces)) for path in files}
        if len(schemas) != 1:
            raise DataError(f"Expected files of one schema; those beside {files[0]} have {len(schemas)}.")
        schema = _schema(files[0], pieces)
        self._columns = list(columns) or _lists(schema) or list(schema.names)
        self.width = _width(schema, self._columns, files[0])
        self._pieces = [piece for path in files for piece in pieces(path, self._columns)]
        self._ends = np.cumsum([rows for rows, _ in self._pieces]).tolist()
        self.rows = self._ends[-1] if self._ends else 0
        if not self.rows:
            raise DataError(f"Expected rows in {files[0]}; it has none.")

    def read(self, first: int, count: int) -> Rows:
        """As `Source.read`."""
        parts, here = [], first
        while here < first + count:
            number = bisect_right(self._ends, here)
            rows, _ = self._pieces[number]
            begin = self._ends[number] - rows
            stop = min(self._ends[number], first + count)
            parts.append(self._piece(number)[here - begin : stop - begin])
            here = stop
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _piece(self, number: int) -> Rows:
        known, rows = self._last
        if known != number or rows is None:
            _, read = self._pieces[number]
            try:
                rows = _numbers(read(), self._columns, self.width)
            except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
                raise DataError(f"Expected readable rows in {self._files[0]}; {str(error).splitlines()[0]}.") from None
            self._last = (number, rows)
        return rows

    def identity(self) -> dict[str, Any]:
        """As `Source.identity`."""
        return {"files": [*map(_stamp, self._files)], "rows": self.rows, "width": self.width, "columns": self._columns}


def _schema(path: Path, pieces: Callable[..., list[Piece]]) -> Any:  # noqa: ANN401
    try:
        if pieces is _parquet:
            return arrow("pyarrow.parquet").read_schema(path)
        return arrow("pyarrow.ipc").open_file(arrow("pyarrow").OSFile(str(path))).schema
    except (OSError, ValueError) as error:
        raise DataError(
            f"Expected a readable {path.suffix} file; {path} is not: {str(error).splitlines()[0]}."
        ) from None


def _parquet(path: Path, columns: Sequence[str]) -> list[Piece]:
    file = arrow("pyarrow.parquet").ParquetFile(path)
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    return [(rows, partial(file.read_row_group, group, columns=columns)) for group, rows in enumerate(sizes)]


def _ipc(path: Path, columns: Sequence[str]) -> list[Piece]:
    del columns
    file = arrow("pyarrow.ipc").open_file(arrow("pyarrow").OSFile(str(path)))
    numbers = range(file.num_record_batches)
    return [(file.get_batch(number).num_rows, partial(file.get_batch, number)) for number in numbers]


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
