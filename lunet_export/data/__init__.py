"""Data sets: toy densities, digits, MNIST and Fashion-MNIST, and any array file."""

from collections.abc import Sequence
from pathlib import Path

from lunet_export.columns import Columns
from lunet_export.data import arrays, digits, idx, tables, toy
from lunet_export.data.dataset import Contexts, Dataset, Labels, Part
from lunet_export.data.own import columns_for
from lunet_export.errors import DataError, did_you_mean

__all__ = ["NAMES", "Contexts", "Dataset", "Labels", "Part", "load"]

#: The built-in data sets.
NAMES = (*toy.DENSITIES, "digits", "mnist", "fashion-mnist")


def load(
    name: str,
    *,
    data_dir: Path = Path("data"),
    levels: int | None = None,
    columns: Sequence[str] = (),
    label: str | None = None,
    context: Sequence[str] = (),
    model: Columns | None = None,
) -> Dataset:
    """Load a data set by its name, or the user's rows from a file.

    Args:
        name: Name of a built-in set, or path of a .npy, .npz, .csv, .parquet, .arrow or .feather file, or of a folder
            of Parquet or Arrow files.
        data_dir: Folder of the MNIST files.
        levels: Number of grey levels of a file of integers.
        columns: Columns to train on, in this order, by name or by number counted from one; empty takes all.
        label: Column that holds the classes, as words or whole numbers; it is not part of the rows.
        context: Columns that a conditional flow depends on, which are not part of the rows.
        model: Columns of the model that will use the rows. Without `columns`, the file's columns are found by these
            names.

    Raises:
        DataError: if there is no such set or file, its content is not valid, or `levels`, `columns`, `label` or
            `context` is given for a built-in set.
        MissingPackageError: if `digits` is asked for and scikit-learn is not installed.
    """
    if levels is not None and name in NAMES:
        raise DataError(f"Expected no `levels` for {name}: only a file of integers has them. Leave it out.")
    if (columns or label) and name in NAMES:
        raise DataError(f"Expected neither `columns` nor `label` for {name}: only a file has them. Leave them out.")
    if context and name in NAMES:
        raise DataError(f"Expected no `context_columns` for {name}: only a file has them. Leave them out.")
    if name in toy.DENSITIES:
        return toy.load(name)
    if name == "digits":
        return digits.load()
    if name in ("mnist", "fashion-mnist"):
        return idx.load(name, data_dir)
    path = Path(name)
    read = arrays.load if path.suffix in arrays.SUFFIXES else tables.load
    if path.suffix in (*arrays.SUFFIXES, *tables.SUFFIXES) or path.is_dir():
        if model is None:
            return read(path, levels=levels, columns=columns, label=label, context=context)
        taken = columns_for(model, path, columns)
        return read(path, levels=levels, columns=taken, label=label, context=context).of_columns(model)
    raise DataError(
        f"Expected a data set ({', '.join(NAMES)}) or a file of {', '.join((*arrays.SUFFIXES, *tables.SUFFIXES))}; got "
        f"{name}.{did_you_mean(name, NAMES)}"
    )
