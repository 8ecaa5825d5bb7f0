"""Tables of results as files: Parquet, Arrow, .npy or .csv, written piece by piece."""

import csv
import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.columns import Names, numbered
from lunet_export.data.arrow_files import arrow, native_file
from lunet_export.files import whole_file

#: Columns by name: (N,), or (N, D) for a list of D numbers per row; text of one width in all tables of a file.
Table = Mapping[str, NDArray[Any]]
FORMATS = ("parquet", "arrow", "npy")
_HEADINGS = {"log_prob": "log_prob_nats"}  # headings of a .csv that differ from the columns' names


class Writer(ABC):
    """A file under construction."""

    @abstractmethod
    def append(self, table: Table) -> None:
        """Append rows of the same columns."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left."""


@contextmanager
def writer(path: Path, rows: int, x_names: Names | None = None) -> Iterator[Writer]:
    """Yield a writer of a file of `rows` rows, by the suffix of `path`; the file appears whole at the end, or never.

    Args:
        path: Path of the file.
        rows: Number of rows that there will be.
        x_names: Names of the columns of x, which then are columns of their own, except in .npy.
    """
    with whole_file(path) as temporary:
        if path.suffix == ".npy":
            inner: Writer = _NpyWriter(temporary, rows)
        elif path.suffix == ".csv":
            inner = _CsvWriter(temporary, x_names)
        else:
            inner = {".parquet": _ParquetWriter, ".arrow": _ArrowWriter}[path.suffix](temporary, x_names)
        made = _Naming(inner, path)
        try:
            yield made
        finally:
            made.close()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an error of the system in this block the name of `path`, since an error of a write does not say which file.

    Raises:
        OSError: with the file's name, and the system's reason if a library had put it into its own words.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        number = error.errno or errno.EIO
        raise OSError(number, os.strerror(number) if error.errno else str(error), str(path)) from None


class _Naming(Writer):
    """A writer whose errors have the name of its file."""

    def __init__(self, inner: Writer, path: Path) -> None:
        self._inner, self._path = inner, path

    def append(self, table: Table) -> None:
        with naming(self._path):
            self._inner.append(table)

    def close(self) -> None:
        with naming(self._path):
            self._inner.close()


class _ArrowTables(Writer):
    def __init__(self, path: Path, x_names: Names | None) -> None:
        arrow("pyarrow")  # a missing package is reported before the work
        self._path, self._x_names = path, x_names
        self._file: Any = None
        self._inner: Any = None

    def append(self, table: Table) -> None:
        table = with_names(table, self._x_names) if self._x_names else table
        made = arrow("pyarrow").table({name: _column(values) for name, values in table.items()})
        if self._inner is None:
            self._file = native_file(self._path, "wb")
            self._inner = self._open(self._file, made.schema)
        self._inner.write_table(made)

    def close(self) -> None:
        """Write what is left."""
        try:
            if self._inner:
                self._inner.close()
        finally:
            if self._file:
                self._file.close()

    def _open(self, file: Any, schema: Any) -> Any:  # noqa: ANN401
        raise NotImplementedError


class _ParquetWriter(_ArrowTables):
    def _open(self, file: Any, schema: Any) -> Any:  # noqa: ANN401
        text = [name for name in schema.names if not _is_numeric(schema.field(name).type)]
        return arrow("pyarrow.parquet").ParquetWriter(file, schema, use_dictionary=text)  # numbers seldom repeat


class _ArrowWriter(_ArrowTables):
    def _open(self, file: Any, schema: Any) -> Any:  # noqa: ANN401
        return arrow("pyarrow.ipc").new_file(file, schema)


class _NpyWriter(Writer):
    """A writer of one column as a plain array, or of several as records."""

    def __init__(self, path: Path, rows: int) -> None:
        self._file, self._rows, self._begun = path.open("wb"), rows, False

    def append(self, table: Table) -> None:
        if len(table) == 1:
            (values,) = table.values()
            shape, block = (self._rows, *values.shape[1:]), np.ascontiguousarray(values)
        else:
            kinds = [(name, values.dtype, values.shape[1:]) for name, values in table.items()]
            block = np.empty(len(next(iter(table.values()))), dtype=kinds)
            for name, values in table.items():
                block[name] = values
            shape = (self._rows,)
        if not self._begun:
            header = {"descr": np.lib.format.dtype_to_descr(block.dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(self._file, header)
            self._begun = True
        # `tofile` reports how many numbers it wrote, without an errno that would tell of a full disk.
        self._file.write(block.reshape(-1).view(np.uint8).data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _CsvWriter(Writer):
    def __init__(self, path: Path, x_names: Names | None) -> None:
        self._file, self._first = path.open("w", encoding="utf-8", newline=""), 0
        self._x_names = x_names

    def append(self, table: Table) -> None:
        self._file.write(csv_text(table, self._first, self._x_names))
        self._first += len(next(iter(table.values())))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def csv_text(table: Table, first: int, x_names: Names | None = None) -> str:
    """Return rows as comma-separated lines, under a header if `first` is 0.

    Results begin with the row's number, counted from `first`. Samples do not, so that what reads rows can read them.
    """
    if "x" in table:
        return _samples_text(with_names(table, x_names or numbered(table["x"].shape[1])), with_header=first == 0)
    text = StringIO()
    lines = csv.writer(text, lineterminator="\n")
    columns = dict(_plain_columns(table))
    if first == 0:
        lines.writerow(["row", *(_HEADINGS.get(name, name) for name in columns)])
    cells = (
        [f"{one:.6f}" for one in values.tolist()] if values.dtype.kind == "f" else values for values in columns.values()
    )
    lines.writerows([first + row, *line] for row, line in enumerate(zip(*cells, strict=True)))
    return text.getvalue()


def _samples_text(table: Table, *, with_header: bool) -> str:
    """Return samples as lines, in as many digits as tell their numbers apart."""
    text = StringIO()
    lines = csv.writer(text, lineterminator="\n")
    if with_header:
        lines.writerow(table)
    lines.writerows(zip(*(values.astype(str) for values in table.values()), strict=True))
    return text.getvalue()


def with_names(table: Table, x_names: Names) -> Table:
    """Return samples with one column per name in the place of x, before the other columns.

    Another column with one of these names gets an underscore behind its own.
    """
    found = dict(zip(x_names, table["x"].T, strict=True))
    for name, values in table.items():
        if name != "x":
            free = name
            while free in found:
                free += "_"
            found[free] = values
    return found


def _plain_columns(table: Table) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield columns of one value per row: a list of D numbers x becomes x_0, x_1, .."""
    for name, values in table.items():
        if values.ndim == 1:
            yield name, values
        else:
            yield from ((f"{name}_{number}", of_place) for number, of_place in enumerate(values.T))


def _is_numeric(kind: Any) -> bool:  # noqa: ANN401
    types = arrow("pyarrow.types")
    return bool(types.is_floating(kind) or types.is_integer(kind) or types.is_fixed_size_list(kind))


def _column(values: NDArray[Any]) -> Any:  # noqa: ANN401
    pa = arrow("pyarrow")
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).ravel()), values.shape[1])
