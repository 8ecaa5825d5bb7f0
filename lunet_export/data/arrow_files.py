"""A file of Parquet or Arrow, read by pyarrow: how to open it, its schema, and its batches as rows of numbers."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lunet_export.columns import called
from lunet_export.data.record_batches import batch_rows
from lunet_export.data.source import Rows
from lunet_export.errors import DataError, MissingPackageError, brief
from lunet_export.installation import install_extra

#: The columns of scores, which are numbers like rows, but not rows.
SCORES = ("log_prob", "bits_per_dim")
_HELD = 4096  # rows of Parquet decoded at once
_FETCHED = 65536  # bytes of each column read at once


def arrow(name: str) -> Any:  # noqa: ANN401
    """Return a module of pyarrow.

    Raises:
        MissingPackageError: if pyarrow is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise MissingPackageError(
            f"Expected pyarrow for Parquet and Arrow; it is not installed. Run: {install_extra('scale')}"
        ) from None


def native_file(path: Path, mode: str = "rb") -> Any:  # noqa: ANN401
    """Open a file for pyarrow by the bytes of its name, because pyarrow takes names as text only if they are UTF-8."""
    return arrow("pyarrow").OSFile(os.fsencode(path), mode)


class Opened(Protocol):
    """A file of Parquet or Arrow."""

    schema: Any

    def sizes(self) -> list[int]:
        """Return the number of rows of each piece."""

    def rows(self, piece: int, columns: Sequence[str]) -> Iterator[Any]:
        """Return a piece as record batches, one after the other."""


class _Parquet:
    def __init__(self, path: Path) -> None:
        # Whole row groups would be read ahead otherwise.
        self._file = arrow("pyarrow.parquet").ParquetFile(native_file(path), pre_buffer=False, buffer_size=_FETCHED)
        self.schema = self._file.schema_arrow

    def sizes(self) -> list[int]:
        return [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]

    def rows(self, piece: int, columns: Sequence[str]) -> Iterator[Any]:
        return self._file.iter_batches(batch_size=_HELD, row_groups=[piece], columns=columns)


class _Ipc:
    """An Arrow file that is read, not mapped: the system kills a process whose mapped file is cut short.

    A record batch is held whole.
    """

    def __init__(self, path: Path) -> None:
        self._sizes = batch_rows(path)
        self._file = arrow("pyarrow.ipc").open_file(native_file(path))
        self.schema = self._file.schema
        for number, rows in enumerate(self._sizes):
            if rows == 0:  # it would never be read, so damage would go unnoticed
                self._file.get_batch(number)

    def sizes(self) -> list[int]:
        return self._sizes

    def rows(self, piece: int, columns: Sequence[str]) -> Iterator[Any]:
        del columns
        yield self._file.get_batch(piece)


Opener = Callable[[Path], Opened]

#: Openers by suffix. Feather is Arrow's file format by another name.
OPENERS: dict[str, Opener] = {".parquet": _Parquet, ".arrow": _Ipc, ".feather": _Ipc}


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn pyarrow's errors about a file into errors of one sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError, arrow("pyarrow").ArrowException) as error:
        if isinstance(error, OSError) and error.errno == errno.EMFILE:
            raise
        raise DataError(f"Expected a readable {path.suffix} file; {path} is not: {brief(error, 200)}.") from None


def validate_not_scores(columns: Sequence[str], path: Path) -> None:
    """Raise an error if a table, read without a choice of columns, holds scores instead of rows.

    Raises:
        DataError: if the table has the columns of scores.
    """
    if set(SCORES) <= set(columns):
        raise DataError(
            f"Expected rows in {path}; it holds scores of some ({', '.join(SCORES)}). Give the rows themselves, or "
            "choose columns with `columns`."
        )


def width(schema: Any, columns: Sequence[str], path: Path) -> int:  # noqa: ANN401
    """Return the number of numbers per row, D.

    Raises:
        DataError: if the columns are neither numbers nor one list of numbers.
    """
    types = arrow("pyarrow.types")
    kinds = [schema.field(name).type for name in columns]
    if len(kinds) == 1 and types.is_fixed_size_list(kinds[0]) and _is_number(kinds[0].value_type):
        return int(kinds[0].list_size)
    for name, kind in zip(columns, kinds, strict=True):
        if not _is_number(kind):
            raise DataError(
                f"Expected numbers, or one list of the same length in every row, in {path}; "
                f"{called(schema.names.index(name), schema.names)} is {kind}. Choose with `columns`."
            )
    return len(columns)


def lists(schema: Any) -> list[str]:  # noqa: ANN401
    """Return a list with the name of the column of lists; an empty list if there is none, or more than one."""
    types = arrow("pyarrow.types")
    found = [name for name in schema.names if types.is_fixed_size_list(schema.field(name).type)]
    return found if len(found) == 1 else []


def _is_number(kind: Any) -> bool:  # noqa: ANN401
    types = arrow("pyarrow.types")
    return bool(types.is_integer(kind) or types.is_floating(kind))


def numbers(table: Any, columns: Sequence[str], width: int) -> Rows:  # noqa: ANN401
    """Return the numbers (N, D) of a table or record batch; a missing float is NaN.

    Raises:
        ValueError: if anything else is missing.
    """
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
