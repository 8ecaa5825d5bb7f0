"""MNIST and Fashion-MNIST from their IDX files (format: the "FILE FORMATS" part of MNIST's own page)."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lunet_export.data.dataset import Dataset, split
from lunet_export.errors import DataError
from lunet_export.preprocessing import NAMED

_PUBLISHED = {
    "mnist": "yann.lecun.com/exdb/mnist",
    "fashion-mnist": "github.com/zalandoresearch/fashion-mnist",
}
_VALIDATION_IMAGES = 5000
_IMAGE_MAGIC = 0x00000803  # unsigned bytes, three axes
_HEADER_BYTES = 16


def load(name: str, data_dir: Path) -> Dataset:
    """55000 training, 5000 validation (both from the official training set) and the official test images.

    Args:
        name: `mnist` or `fashion-mnist`.
        data_dir: Holds the IDX files, gzipped or not, itself or in a folder called `name`.

    Raises:
        DataError: A file is missing, truncated or not an IDX file of images.
    """
    official = read_images(_find(name, data_dir, "train-images-idx3-ubyte"))
    test = read_images(_find(name, data_dir, "t10k-images-idx3-ubyte"))
    train, valid, _ = split(official.reshape(len(official), -1), valid=_VALIDATION_IMAGES, test=0)
    shape = official.shape[1:]
    if test.shape[1:] != shape:
        raise DataError(f"Expected test images of {shape}; got {test.shape[1:]}. The files are of different sets.")
    return Dataset(name, train, valid, test.reshape(len(test), -1), NAMED["images"], image_shape=shape)


def read_images(path: Path) -> NDArray[np.uint8]:
    """Images (N, height, width) of an IDX file, gzipped or not.

    Raises:
        DataError: The file is truncated or not an IDX file of images.
    """
    if not path.is_file():
        raise DataError(f"Expected an IDX file of images; {path} does not exist.")
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"Expected a whole gzip file; {path} is damaged ({error}). Fetch it again.") from None
    header = np.frombuffer(data[:_HEADER_BYTES].ljust(_HEADER_BYTES, b"\0"), dtype=">u4")
    magic, *shape = (int(number) for number in header)
    if magic != _IMAGE_MAGIC:
        raise DataError(f"Expected an IDX file of images (magic 0x{_IMAGE_MAGIC:08x}); {path} begins 0x{magic:08x}.")
    n, height, width = shape
    expected, got = n * height * width, len(data) - _HEADER_BYTES
    if expected != got:
        raise DataError(f"Expected {expected} pixel bytes in {path} by its header; got {got}. Fetch it again.")
    return np.frombuffer(data, dtype=np.uint8, offset=_HEADER_BYTES).reshape(n, height, width)


def _find(name: str, data_dir: Path, stem: str) -> Path:
    for folder in (data_dir / name, data_dir):
        for path in (folder / stem, folder / f"{stem}.gz"):
            if path.is_file():
                return path
    raise DataError(
        f"Expected {stem} or {stem}.gz in {data_dir / name} or {data_dir}; found neither. "
        f"It is published at {_PUBLISHED[name]}; save it there, or point --data-dir at it."
    )
