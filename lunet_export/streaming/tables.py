"""Tables of results as files: Parquet, Arrow, .npy or .csv, written piece after piece."""

import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.files import whole_file
from lunet_export.streaming.sources import arrow

#: Columns by name: (N,), or (N, D) for a list of D numbers a row; text of one width in all tables of a file.
Table = Mapping[str, NDArray[Any]]
FORMATS = ("parquet", "arrow", "npy")
_HEADINGS = {"log_prob": "log_prob_nats"}  # of a .csv, where they are not the columns' names


class Writer(ABC):
    """A file under construction."""

    @abstractmethod
    def append(self, table: Table) -> None:
        """More rows, of the same columns."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left."""


@contextmanager
def writer(path: Path, rows: int) -> Iterator[Writer]:
    """A file of `rows` rows in all, by the suffix of `path`; it appears whole at the end, or not at all."""
    makers: dict[str, Callable[[Path, int], Writer]] = {
        ".parquet": _ParquetWriter,
        ".arrow": _ArrowWriter,
        ".npy": _NpyWriter,
        ".csv": _CsvWriter,
    }
    with whole_file(path) as temporary:
        made = makers[path.suffix](temporary, rows)
        try:
            yield made
        finally:
            made.close()


class _ArrowTables(Writer):
    def __init__(self, path: Path, rows: int) -> None:
        del rows
        self._path, self._inner = path, None
        arrow("pyarrow")  # a missing package is said before work

    def append(self, table: Table) -> None:
        made = arrow("pyarrow").table({name: _column(values) for name, values in table.items()})
        self._inner = self._inner or self._open(made.schema)
        self._inner.write_table(made)  # type: ignore[attr-defined]

    def close(self) -> None:
        """Write what is left."""
        if self._inner:
            self._inner.close()

    def _open(self, schema: Any) -> Any:  # noqa: ANN401
        raise NotImplementedError


class _ParquetWriter(_ArrowTables):
    def _open(self, schema: Any) -> Any:  # noqa: ANN401
        text = [name for name in schema.names if not _is_numeric(schema.field(name).type)]
        return arrow("pyarrow.parquet").ParquetWriter(self._path, schema, use_dictionary=text)  # numbers hardly repeat


class _ArrowWriter(_ArrowTables):
    def _open(self, schema: Any) -> Any:  # noqa: ANN401
        return arrow("pyarrow.ipc").new_file(str(self._path), schema)


class _NpyWriter(Writer):
    """One column as a plain array, several as records."""

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
        block.tofile(self._file)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _CsvWriter(Writer):
    def __init__(self, path: Path, rows: int) -> None:
        del rows
        self._file, self._first = path.open("w", encoding="utf-8", newline=""), 0

    def append(self, table: Table) -> None:
        self._file.write(csv_text(table, self._first))
        self._first += len(next(iter(table.values())))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def csv_text(table: Table, first: int) -> str:
    """Rows as comma-separated lines with their numbers from `first` on, under a header where that is 0."""
    text = StringIO()
    lines = csv.writer(text, lineterminator="\n")
    if first == 0:
        lines.writerow(["row", *(_HEADINGS.get(name, name) for name in table)])
    cells = (
        [f"{one:.6f}" for one in values.tolist()] if values.dtype.kind == "f" else values for values in table.values()
    )
    lines.writerows([first + row, *line] for row, line in enumerate(zip(*cells, strict=True)))
    return text.getvalue()


def _is_numeric(kind: Any) -> bool:  # noqa: ANN401
    types = arrow("pyarrow.types")
    return bool(types.is_floating(kind) or types.is_integer(kind) or types.is_fixed_size_list(kind))


def _column(values: NDArray[Any]) -> Any:  # noqa: ANN401
    pa = arrow("pyarrow")
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).ravel()), values.shape[1])
