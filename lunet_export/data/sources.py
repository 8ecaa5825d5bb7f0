"""Rows in files that are read a piece at a time (.npy, Parquet, Arrow), and in small files that are held whole."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lunet_export.data import arrays, idx, npy
from lunet_export.data.arrow_source import ArrowSource, tables_in
from lunet_export.data.source import HELD, SUFFIXES, Rows, Source, seen, stamp, unchanged
from lunet_export.errors import DataError
from lunet_export.files.reading import meant

__all__ = ["SUFFIXES", "ArraySource", "NpySource", "Source", "open_source"]


def open_source(path: Path, columns: Sequence[str] = (), *, hold: bool = False) -> Source:
    """Open the rows of a .npy, .parquet, .arrow or .feather file, or of a folder of files of one kind, sorted by name.

    A .csv or .npz file is held whole.

    Args:
        path: Path of the file or folder.
        hold: Whether to read the whole file into memory: .npy in any layout, .npz, .csv or IDX images.
        columns: Columns to read, in this order, by name or by number counted from one: columns of numbers, or, in
            Parquet and Arrow, one column of lists of D numbers. Empty takes the only column of lists, or else all
            columns.

    Raises:
        DataError: if the source is missing, malformed or smaller than it claims; if it is an unfinished run, or its
            parts are not those that the run wrote; or if it holds no rows of numbers but, for example, scores.
        MissingPackageError: if the source is Parquet or Arrow, and pyarrow is not installed.
    """
    if hold or (path.suffix in HELD and path.is_file()):
        return ArraySource(path, columns)
    if not path.exists():
        cure = meant(path) or f" Give a file of {', '.join((*SUFFIXES, *HELD))}."
        raise DataError(f"Expected rows in {path}; it does not exist.{cure}")
    if not path.is_file() and not path.is_dir():  # a pipe may have no end, and cannot be read twice
        raise DataError(f"Expected rows in a file; {path} is a pipe or a device. Save them first.")
    if path.suffix == ".npy":
        if columns:
            raise DataError(f"Expected no `columns` for {path}: .npy has none. Leave it out.")
        return NpySource(path)
    files, opener, parts = tables_in(path)
    return ArrowSource(files, columns, opener, parts)


class ArraySource(Source):
    """A file that is held whole: rows of D numbers, images of D numbers, or one axis, as rows of one number each."""

    held = True
    names = None

    def __init__(self, path: Path, columns: Sequence[str] = ()) -> None:
        if path.suffix == ".gz" or "ubyte" in path.name:
            if columns:
                raise DataError(f"Expected no `columns` for {path}: images have none. Leave it out.")
            found: Rows = idx.read_images(path)
        else:
            found = arrays.read(path, columns)
        self.shape, self._identity = found.shape, {"files": [stamp(path)], "dtype": str(found.dtype)}
        self._identity |= {"columns": list(columns)} if columns else {}
        self._rows = found.reshape(len(found), -1)
        self.rows, self.width = self._rows.shape

    def read(self, first: int, count: int) -> Rows:
        return self._rows[first : first + count]

    def identity(self) -> dict[str, Any]:
        return {**self._identity, "rows": self.rows, "width": self.width}


class NpySource(Source):
    """A .npy file, (N, D) or images (N, ...), read by position: its pages are not kept in this process."""

    held = False
    names = None

    def __init__(self, path: Path) -> None:
        self._path, self._seen = path, seen(path)
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
        with unchanged(self._path, self._seen):
            with self._path.open("rb") as file:
                file.seek(self._begin + first * self.width * self._dtype.itemsize)
                numbers = np.fromfile(file, dtype=self._dtype, count=count * self.width)
            if len(numbers) != count * self.width:
                raise DataError(f"Expected {count} rows from row {first} of {self._path}; it is cut short.")
        return numbers.reshape(count, self.width)

    def identity(self) -> dict[str, Any]:
        return {"files": [stamp(self._path)], "rows": self.rows, "width": self.width, "dtype": str(self._dtype)}
