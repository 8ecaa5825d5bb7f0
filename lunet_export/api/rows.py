"""The data set of whatever a user has: the one place that tells what it is."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from numpy.typing import ArrayLike

from lunet_export import data as datasets
from lunet_export.data import Dataset, arrays
from lunet_export.errors import DataError, brief
from lunet_export.runtime.rows import as_array

_NAME = "rows"  # of rows that came without one


def dataset_of(
    data: "ArrayLike | Dataset | str | os.PathLike[str]",
    *,
    data_dir: Path,
    levels: int | None,
    columns: Sequence[str | int],
    label: str | int | None,
) -> Dataset:
    """Return the data set of an array, a path or a name, or the data set itself.

    Args:
        data: Rows (N, D) or images, a `Dataset`, or what `lunet_export.data.load` takes.
        data_dir: Folder of the MNIST files.
        levels: Number of grey levels of integers; None takes 256.
        columns: Columns of a file that make a row, by name or by number counted from one; none takes all.
        label: Column of a file that holds the classes.

    Raises:
        DataError: if rows are malformed, or a choice is given that the data do not have.
        BadInputError: if no array can be made of the rows.
    """
    match data:
        case str() | os.PathLike():
            called = None if label is None else str(label)
            return datasets.load(
                os.fspath(data), data_dir=data_dir, levels=levels, columns=[*map(str, columns)], label=called
            )
        case _ if columns or label is not None:
            raise DataError("Expected neither columns nor label with rows in memory: they are those of a file.")
        case Dataset():
            if levels is not None:
                raise DataError(f"Expected no levels with a Dataset, which has its own; got {levels}. Leave it out.")
            return data
        case _:
            rows = as_array(data, _NAME)
            if not rows.ndim:
                raise DataError(f"Expected rows (N, D), images, a Dataset, a path or a name; got {brief(data)}.")
            arrays.refuse_no_numbers(rows, _NAME)
            made = arrays.dataset(Path(_NAME), rows, None, levels=levels, grey=rows.dtype.kind in "ui")
            return replace(made, file=None)
