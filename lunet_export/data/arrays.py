"""Rows from a user's .npy, .npz or .csv file."""

import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np

from lunet_export.columns import called, chosen
from lunet_export.data import npy
from lunet_export.data.classes import labels_of
from lunet_export.data.contexts import apart, contexts_of
from lunet_export.data.csv_file import read_csv, read_names, read_words
from lunet_export.data.dataset import Dataset, Rows, split
from lunet_export.data.numbering import numbering
from lunet_export.errors import DataError, UnreadableError
from lunet_export.files.reading import meant
from lunet_export.preprocessing import Logit

SUFFIXES = (".npy", ".npz", ".csv")
_IMAGE_MARGIN = 1e-5
_UNPACKED, _MOST_TIMES = 2**28, 100  # a packed file may become so many bytes, or so many times its size
#: Errors of NumPy and zipfile for bytes that are not such a file.
_MALFORMED = (*npy.MALFORMED, UserWarning, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read(path: Path, columns: Sequence[str] = ()) -> Rows:
    """Read the array in a file: .npy; .npz with one array, or one called `x`; .csv with or without a header line.

    Args:
        path: Path of the file.
        columns: Columns to take, in this order, by name or by number counted from one; empty takes all.

    Raises:
        DataError: if the file is missing, empty, malformed, of another type, or holds no numbers, or a column is
            missing.
        UnreadableError: if the operating system does not let the file be read.
    """
    with _reading(path):
        rows = read_csv(path, columns) if path.suffix == ".csv" else _READERS[path.suffix](path)
    validate_numbers(rows, path)
    if columns and path.suffix != ".csv":
        if rows.ndim != 2:
            raise DataError(f"Expected rows (N, D) to take `columns` of; {path} has shape {rows.shape}. Leave it out.")
        return rows[:, chosen(columns, None, rows.shape[1], path)]
    return rows


def names_in(path: Path) -> tuple[str, ...] | None:
    """Return the names of the columns of a .csv; None if it has no header, and for every other file.

    Raises:
        DataError, UnreadableError: as `read` does.
    """
    with _reading(path):
        return read_names(path) if path.suffix == ".csv" else None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn errors about a file that is read in this block into a sentence.

    Raises:
        DataError, UnreadableError: as `read` does.
    """
    with UnreadableError.instead(path):
        if not path.is_file():
            raise DataError(f"Expected a file of rows; {path} does not exist.{meant(path) or ' Check its name.'}")
    if path.suffix not in SUFFIXES:
        raise DataError(f"Expected a .npy, .npz or .csv file; got {path}. Convert it with NumPy.")
    try:
        with UnreadableError.instead(path), warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # NumPy warns of an empty .csv
            yield
    except _MALFORMED as error:
        raise DataError(
            f"Expected a readable {path.suffix} file of numbers; {path} is not: {npy.said(error)}."
        ) from None


def validate_numbers(rows: object, where: object) -> None:
    """Raise an error if rows are not an array of numbers; `where` is the file, or the name of the rows.

    Raises:
        DataError: if the rows are not an array, not numbers, or empty.
    """
    if not isinstance(rows, np.ndarray) or rows.ndim == 0:
        raise DataError(f"Expected an array of rows in {where}; got {type(rows).__name__}. Save it with numpy.save.")
    if rows.dtype.kind not in "uif":
        raise DataError(f"Expected integers or floats in {where}; got {str(rows.dtype)[:80]}. Save numbers only.")
    if rows.size == 0:
        raise DataError(f"Expected rows in {where}; got an empty array of shape {rows.shape}.")


def _read_npz(path: Path) -> Rows:
    with zipfile.ZipFile(BytesIO(path.read_bytes())) as archive:
        infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if "x" not in infos and len(infos) != 1:
            found = ", ".join(infos)[:200].encode("ascii", "replace").decode()
            raise DataError(f"Expected one array in {path}, or one called x; got {found or 'none'}.")
        info = infos["x"] if "x" in infos else next(iter(infos.values()))
        validate_expansion(info.file_size, info.compress_size)
        with archive.open(info) as file:
            return _read_npy(file, info.file_size)


def _read_npy(file: IO[bytes], size: int) -> Rows:
    """Return the array of a file of `size` bytes. No memory is reserved for numbers that the file does not hold."""
    header = npy.read_header(file)
    if header.dtype.hasobject:
        raise ValueError("it holds Python objects, not numbers")
    if header.begin + header.bytes > size:
        raise ValueError(f"its header claims {header.bytes} bytes of numbers; there are {size - header.begin}")
    data = bytearray(header.bytes)
    if file.readinto(data) != len(data):  # type: ignore[attr-defined]
        raise ValueError("it is cut short")
    while file.read(2**16):  # read to the end, where a zip file's checksum is compared
        pass
    found = np.frombuffer(data, dtype=header.dtype)
    return found.reshape(header.shape, order="F" if header.fortran else "C")


def _read_npy_file(path: Path) -> Rows:
    with path.open("rb") as file:
        return _read_npy(file, path.stat().st_size)


def validate_expansion(unpacked: int, packed: int) -> None:
    """Raise an error if a file unpacks to more than a hundred times its size.

    Compression of numbers never saves that much.

    Raises:
        ValueError: if the file unpacks to more than a hundred times its size.
    """
    if unpacked > max(_UNPACKED, _MOST_TIMES * packed):
        raise ValueError(f"it would unpack to {unpacked / 1e6:.0f} MB from {packed / 1e6:.3f} MB")


_READERS = {
    ".npy": _read_npy_file,
    ".npz": _read_npz,
}


def load(
    path: Path,
    *,
    levels: int | None,
    columns: Sequence[str] = (),
    label: str | None = None,
    context: Sequence[str] = (),
) -> Dataset:
    """Read the rows of a user's file and split them, see `dataset`.

    Raises:
        DataError: as `read` and `dataset` do.
    """
    names = names_in(path)
    if context:
        return _conditional(path, names, context, levels=levels, columns=columns, label=label)
    if label is not None:
        return _labelled(path, names, label, levels=levels, columns=columns)
    array = read(path, columns)
    if names and columns:
        names = tuple(names[place] for place in chosen(columns, names, len(names), path))
    return dataset(path, array, names, levels=levels, grey=array.dtype.kind in "ui" and path.suffix != ".csv")


def _labelled(
    path: Path, names: tuple[str, ...] | None, label: str, *, levels: int | None, columns: Sequence[str]
) -> Dataset:
    """Read rows and the column of their classes, which is not part of the rows."""
    if path.suffix == ".csv":
        with _reading(path):
            values: Sequence[object] = read_words(path, label)
        width = len(names) if names else read(path).shape[1]
    else:
        values = read(path, (label,))[:, 0].tolist()
        width = read(path).shape[1]
    (left_out,) = chosen((label,), names, width, path)
    places = chosen(columns, names, width, path) or [place for place in range(width) if place != left_out]
    taken = [names[place] if names else str(place + 1) for place in places]
    return replace(load(path, levels=levels, columns=taken), labels=labels_of(values, path, label))


def _conditional(
    path: Path,
    names: tuple[str, ...] | None,
    context: Sequence[str],
    *,
    levels: int | None,
    columns: Sequence[str],
    label: str | None,
) -> Dataset:
    """Read rows and the columns of their contexts, which are not part of the rows."""
    width = len(names) if names else read(path).shape[-1]
    taken = apart(context, columns, label, names, width, path)
    values = read(path, context)
    found = load(path, levels=levels, columns=taken, label=label)
    of_context = tuple(names[place] for place in chosen(context, names, width, path)) if names else None
    return replace(found, contexts=contexts_of(values, of_context, path, len(values)), file=None)


def dataset(path: Path, array: Rows, names: tuple[str, ...] | None, *, levels: int | None, grey: bool) -> Dataset:
    """Split a user's array into 80 % training, 10 % validation and 10 % test rows.

    Integers are images: (N, height, width), (N, height, width, channels) or flat, with grey levels 0 .. levels - 1
    (`levels` is 256 by default). Floats are vectors (N, D) and get no pre-processing. Numbers of tables are vectors
    too, unless `levels` is given.

    Args:
        path: Path of the file that holds the rows.
        array: Rows as they are in the file.
        names: Names of the columns; None if the file has none.
        levels: Number of grey levels; None takes 256 for images.
        grey: Whether integers are grey levels if `levels` is None.

    Raises:
        DataError: if the array has the wrong number of axes, NaN or infinity, grey levels out of range, or too few
            rows.
    """
    discrete = levels is not None or grey
    if array.ndim < 2 or (not discrete and array.ndim != 2) or array.ndim > 4:
        raise DataError(f"Expected rows (N, D) or images (N, height, width); {path} has shape {array.shape}.")
    rows = array.reshape(len(array), -1)
    names = names if names and len(names) == rows.shape[1] else None
    if array.ndim == 4 and array.shape[3] not in (1, 3, 4):
        raise DataError(f"Expected images with 1, 3 or 4 channels last; {path} has shape {array.shape}. Transpose it.")
    n = max(1, len(rows) // 10)
    name, shape = path.stem, tuple(map(int, array.shape[1:])) if array.ndim > 2 else None
    if not np.isfinite(rows).all():
        bad = np.argwhere(~np.isfinite(rows))[0]
        place = f"row {bad[0] + 1}, {called(bad[1], names)}, both counted from one,"
        raise DataError(f"Expected finite numbers in {path}; {place} is {rows[tuple(bad)]}.")
    if not discrete:
        return _vectors(path, rows, names)
    levels = 256 if levels is None else levels
    if levels < 2:
        raise DataError(f"Expected at least 2 grey levels; got `levels={levels}`.")
    low, high = rows.min(), rows.max()
    if low < 0 or high >= levels or (rows != np.floor(rows)).any():
        raise DataError(
            f"Expected grey levels 0 .. {levels - 1} in {path}; got {low} .. {high}. Give `levels`, or save floats."
        )
    images = rows.astype(np.uint8 if levels <= 256 else np.int64)
    return Dataset(name, *split(images, valid=n, test=n), Logit(levels, _IMAGE_MARGIN), shape, public=False)


def _vectors(path: Path, rows: Rows, names: tuple[str, ...] | None) -> Dataset:
    n = max(1, len(rows) // 10)
    return Dataset(
        path.stem,
        *split(rows.astype(np.float64), valid=n, test=n),
        public=False,
        columns=names,
        numbering=numbering(rows, names),
        file=path,
    )
