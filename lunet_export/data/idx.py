"""MNIST and Fashion-MNIST from their IDX files (format: the "FILE FORMATS" part of MNIST's own page)."""

import gzip
import zlib
from dataclasses import replace
from io import BytesIO
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lunet_export.data.arrays import validate_expansion
from lunet_export.data.dataset import Dataset, Labels, split
from lunet_export.errors import DataError, UnreadableError
from lunet_export.files.reading import meant
from lunet_export.preprocessing import NAMED

#: Names, not addresses: addresses of such files change, and MNIST's own no longer serves them.
_FULL_NAMES = {
    "mnist": "the MNIST database of handwritten digits (LeCun, Cortes, Burges)",
    "fashion-mnist": "Fashion-MNIST (Zalando Research)",
}
#: Names of the classes by their numbers in the label files.
_CLASSES = {
    "mnist": tuple(str(digit) for digit in range(10)),
    "fashion-mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}
_VALIDATION_IMAGES = 5000
_IMAGE_MAGIC = 0x00000803  # unsigned bytes, three axes
_LABEL_MAGIC = 0x00000801  # unsigned bytes, one axis
_WORD = 4  # bytes of each number of a header


def load(name: str, data_dir: Path) -> Dataset:
    """Load 55000 training, 5000 validation (both from the official training set) and the official test images.

    Args:
        name: `mnist` or `fashion-mnist`.
        data_dir: Folder with the IDX files, gzipped or not, or with a folder called `name` that holds them. Missing or
            damaged label files raise an error only when labels are used.

    Raises:
        DataError: if a file of images is missing, truncated or not an IDX file of images.
    """
    official = read_images(_find(name, data_dir, "train-images-idx3-ubyte"))
    test = read_images(_find(name, data_dir, "t10k-images-idx3-ubyte"))
    train, valid, _ = split(official.reshape(len(official), -1), valid=_VALIDATION_IMAGES, test=0)
    shape = official.shape[1:]
    if test.shape[1:] != shape:
        raise DataError(f"Expected test images of {shape}; got {test.shape[1:]}. They are of different sets.")
    data = Dataset(name, train, valid, test.reshape(len(test), -1), NAMED["images"], image_shape=shape)
    try:
        return replace(data, labels=_labels(name, data_dir, len(official), len(test)))
    except DataError as error:
        return replace(data, why_unlabelled=str(error))


def _labels(name: str, data_dir: Path, official: int, test: int) -> Labels:
    found = []
    for stem, images in (("train-labels-idx1-ubyte", official), ("t10k-labels-idx1-ubyte", test)):
        path = _find(name, data_dir, stem)
        labels = read_labels(path)
        if len(labels) != images:
            raise DataError(
                f"Expected {images} labels in {path}, one per image; got {len(labels)}. They are of different sets."
            )
        found.append(labels.astype(np.int64))
    train, valid, _ = split(found[0], valid=_VALIDATION_IMAGES, test=0)
    return Labels(_CLASSES[name], train, valid, found[1])


def read_images(path: Path) -> NDArray[np.uint8]:
    """Read the images (N, height, width) of an IDX file, gzipped or not.

    Raises:
        DataError: if the file is truncated or not an IDX file of images.
        UnreadableError: if the operating system does not let the file be read.
    """
    return _read(path, "images", _IMAGE_MAGIC, axes=3)


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Read the labels (N,) of an IDX file, gzipped or not.

    Raises:
        DataError: if the file is truncated or not an IDX file of labels.
        UnreadableError: if the operating system does not let the file be read.
    """
    return _read(path, "labels", _LABEL_MAGIC, axes=1)


def _read(path: Path, what: str, expected_magic: int, *, axes: int) -> NDArray[np.uint8]:
    with UnreadableError.instead(path):
        if not path.is_file():
            raise DataError(f"Expected an IDX file of {what}; {path} does not exist.{meant(path)}")
        data, length = path.read_bytes(), _WORD * (1 + axes)
    if data[:2] == b"\x1f\x8b":
        try:
            data = _unpacked(data, length)
        except (EOFError, OSError, ValueError, zlib.error) as error:
            raise DataError(f"Expected a whole gzip file; {path} is damaged ({error}). Fetch it again.") from None
    header = np.frombuffer(data[:length].ljust(length, b"\0"), dtype=">u4")
    magic, *shape = (int(number) for number in header)
    if magic != expected_magic:
        raise DataError(f"Expected an IDX file of {what} (magic 0x{expected_magic:08x}); {path} begins 0x{magic:08x}.")
    expected, got = prod(shape), len(data) - length
    if expected != got:
        unit = "pixel bytes" if axes > 1 else what
        raise DataError(f"Expected {expected} {unit} in {path} by its header; got {got}. Fetch it again.")
    return np.frombuffer(data, dtype=np.uint8, offset=length).reshape(shape)


def _unpacked(data: bytes, length: int) -> bytes:
    """Return a gzip file's content, up to one byte more than its own header of `length` bytes claims.

    Raises:
        EOFError, OSError, ValueError, zlib.error: if the file is damaged, or claims a hundred times its size.
    """
    with gzip.GzipFile(fileobj=BytesIO(data)) as file:
        header = file.read(length)
        claimed = prod(int(number) for number in np.frombuffer(header.ljust(length, b"\0"), dtype=">u4")[1:])
        validate_expansion(claimed, len(data))
        return header + file.read(claimed + 1)  # reading to the end compares the checksum


def _find(name: str, data_dir: Path, stem: str) -> Path:
    for folder in (data_dir / name, data_dir):
        for path in (folder / stem, folder / f"{stem}.gz"):
            if path.is_file():
                return path
    raise DataError(
        f"Expected {stem} or {stem}.gz in {data_dir / name} or {data_dir}; found neither. "
        f"It is a file of {_FULL_NAMES[name]}: save it there, or point `data_dir` at it."
    )
