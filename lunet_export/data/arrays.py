"""A user's own rows: .npy, .npz or .csv."""

import zipfile
from pathlib import Path

import numpy as np

from lunet_export.data.dataset import Dataset, Rows, split
from lunet_export.errors import DataError
from lunet_export.preprocessing import Logit

SUFFIXES = (".npy", ".npz", ".csv")
_IMAGE_MARGIN = 1e-5


def read(path: Path) -> Rows:
    """The array in a file: .npy; .npz with one array, or one called `x`; .csv with or without a header line.

    Raises:
        DataError: The file is missing, empty, malformed, of another type, or holds no numbers.
    """
    if not path.is_file():
        raise DataError(f"Expected a file of rows; {path} does not exist. Give a .npy, .npz or .csv file.")
    try:
        rows = _READERS[path.suffix](path)
    except KeyError:
        raise DataError(f"Expected a .npy, .npz or .csv file; got {path}. Convert it with NumPy.") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"Expected a readable {path.suffix} file of numbers; {path} is not: {reason}.") from None
    if rows.dtype.kind not in "uif":
        raise DataError(f"Expected integers or floats in {path}; got {rows.dtype}. Save numbers only.")
    if rows.size == 0:
        raise DataError(f"Expected rows in {path}; got an empty array of shape {rows.shape}.")
    return rows


def _read_npz(path: Path) -> Rows:
    with np.load(path, allow_pickle=False) as archive:
        names = archive.files
        if "x" not in names and len(names) != 1:
            raise DataError(f"Expected one array in {path}, or one called x; got {', '.join(names) or 'none'}.")
        return np.asarray(archive["x" if "x" in names else names[0]])


def _read_csv(path: Path) -> Rows:
    with path.open(encoding="utf-8") as file:
        first = file.readline()
    try:
        [float(field) for field in first.split(",")]
        header = 0
    except ValueError:
        header = 1
    return np.loadtxt(path, delimiter=",", skiprows=header, ndmin=2)


_READERS = {
    ".npy": lambda path: np.load(path, allow_pickle=False),
    ".npz": _read_npz,
    ".csv": _read_csv,
}


def load(path: Path, *, levels: int | None) -> Dataset:
    """80 % training, 10 % validation, 10 % test rows of a user's array.

    Integers are images: (N, height, width), (N, height, width, channels) or flat, with grey levels 0 .. levels - 1
    (256 when not given). Floats are vectors (N, D) and get no pre-processing.

    Raises:
        DataError: What `read` raises; wrong number of axes; NaN; grey levels out of range; too few rows.
    """
    array = read(path)
    discrete = array.dtype.kind in "ui" or levels is not None
    if array.ndim < 2 or (not discrete and array.ndim != 2) or array.ndim > 4:
        raise DataError(f"Expected rows (N, D) or images (N, height, width); {path} has shape {array.shape}.")
    rows = array.reshape(len(array), -1)
    n = max(1, len(rows) // 10)
    name, shape = path.stem, tuple(map(int, array.shape[1:])) if array.ndim > 2 else None
    if not np.isfinite(rows).all():
        bad = np.argwhere(~np.isfinite(rows))[0]
        raise DataError(f"Expected finite numbers in {path}; row {bad[0]}, column {bad[1]} is {rows[tuple(bad)]}.")
    if not discrete:
        return Dataset(name, *split(rows.astype(np.float64), valid=n, test=n), public=False)
    levels = levels or 256
    low, high = rows.min(), rows.max()
    if low < 0 or high >= levels or (rows != np.floor(rows)).any():
        raise DataError(
            f"Expected grey levels 0 .. {levels - 1} in {path}; got {low} .. {high}. Give --levels, or save floats."
        )
    grey = rows.astype(np.uint8 if levels <= 256 else np.int64)
    return Dataset(name, *split(grey, valid=n, test=n), Logit(levels, _IMAGE_MARGIN), shape, public=False)
