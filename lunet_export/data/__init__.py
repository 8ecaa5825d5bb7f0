"""Data sets: toy densities, digits, MNIST and Fashion-MNIST, and any array file."""

from pathlib import Path

from lunet_export.data import arrays, digits, idx, toy
from lunet_export.data.dataset import Dataset, Labels
from lunet_export.errors import DataError, did_you_mean

__all__ = ["NAMES", "Dataset", "Labels", "load"]

NAMES = (*toy.DENSITIES, "digits", "mnist", "fashion-mnist")


def load(name: str, *, data_dir: Path = Path("data"), levels: int | None = None) -> Dataset:
    """The data set of that name, or the user's array in that file.

    Raises:
        DataError: No such set or file, its content is not what it should be, or `levels` for a set that has a name.
        MissingPackageError: `digits` without scikit-learn.
    """
    if levels is not None and name in NAMES:
        raise DataError(f"Expected no --levels for {name}: they are those of a file of integers. Leave it out.")
    if name in toy.DENSITIES:
        return toy.load(name)
    if name == "digits":
        return digits.load()
    if name in ("mnist", "fashion-mnist"):
        return idx.load(name, data_dir)
    path = Path(name)
    if path.suffix in arrays.SUFFIXES:
        return arrays.load(path, levels=levels)
    raise DataError(
        f"Expected a data set ({', '.join(NAMES)}) or a .npy, .npz or .csv file; got {name}.{did_you_mean(name, NAMES)}"
    )
