"""Contexts of a user's rows: the columns or the array that a conditional flow depends on."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lunet_export.columns import called, chosen, listed
from lunet_export.data.dataset import Contexts, split
from lunet_export.errors import DataError


def apart(
    context: Sequence[str],
    columns: Sequence[str],
    label: str | None,
    names: Sequence[str] | None,
    width: int,
    where: object,
) -> list[str]:
    """Return the columns of the rows, by name or by number: those that are asked for, or all that are nothing else.

    Args:
        context: Columns of the context, by name or by number counted from one.
        columns: Columns of the rows; empty for all others.
        label: Column of the classes.
        names: Names of all columns; None if the table has none.
        width: Number of all columns.
        where: File or name of the table, for sentences.

    Raises:
        DataError: if a column is missing or in both, or none is left for the rows.
    """
    of_context = chosen(context, names, width, where, "context_columns")
    others = {*of_context, *(chosen((label,), names, width, where) if label is not None else ())}
    places = chosen(columns, names, width, where) or [place for place in range(width) if place not in others]
    if both := [called(place, names) for place in places if place in of_context]:
        raise DataError(
            f"Expected each column of {where} in the rows or in the context; got {listed(both)} in both. Take it out "
            "of `columns` or of `context_columns`."
        )
    if not places:
        raise DataError(
            f"Expected columns beside those of the context in {where}; all {width} are taken. Name fewer in "
            "`context_columns`."
        )
    return [names[place] if names else str(place + 1) for place in places]


def contexts_of(values: NDArray[np.generic], names: Sequence[str] | None, where: object, rows: int) -> Contexts:
    """Return contexts, split as `arrays.dataset` splits the rows themselves.

    Args:
        values: Contexts (N, C), in the order of the rows.
        names: Names of the columns; None if they have none.
        where: File or name of the contexts, for sentences.
        rows: Number of rows N.

    Raises:
        DataError: if the contexts are not (N, C) finite numbers.
    """
    if values.ndim != 2 or values.dtype.kind not in "uif":
        raise DataError(
            f"Expected numbers of shape (N, C) as contexts in {where}; got {values.dtype} of shape {values.shape}. "
            "Give one row of C numbers for each row."
        )
    if len(values) != rows:
        raise DataError(f"Expected one context for each of the {rows} rows; got {len(values)} in {where}.")
    found = values.astype(np.float64)
    if not np.isfinite(found).all():
        row, column = np.argwhere(~np.isfinite(found))[0]
        raise DataError(
            f"Expected finite numbers in the context of {where}; row {row + 1}, {called(column, names)}, both counted "
            f"from one, is {found[row, column]}. Leave the row out, or fill it in."
        )
    n = max(1, rows // 10)
    return Contexts(None if names is None else tuple(names), *split(found, valid=n, test=n))
