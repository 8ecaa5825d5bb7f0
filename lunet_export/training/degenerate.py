"""Rows whose likelihood has no bound: a model that concentrates on them gains without limit."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lunet_export.data import Contexts, Dataset
from lunet_export.data.numbering import UNNAMED, line_without, line_without_copies
from lunet_export.errors import DataError
from lunet_export.training.discrete import Repeats, repeated_rows, repeats_of
from lunet_export.training.gaussian import CONSTANT, standardised

#: Ratio of a direction's variance to its columns' below which it counts as 0. Rounding leaves about 1e-15.
_NO_VARIANCE = 1e-10
_MOST_LEVELS = 2**16  # most grey levels of an image
_NO_BOUND = "the likelihood has no bound there, and bits/dim may come out far too low"


def validate_full_rank(data: Dataset) -> None:
    """Raise if the training rows fill fewer than D dimensions, so that max E log p(x) is infinite.

    Only vectors are checked: dequantized rows have the variance of their noise in every direction.

    Raises:
        DataError: if a column is constant, follows from others, or is an index without a name; or if there are no more
            rows than columns.
    """
    if data.preprocessing is not None:
        return
    _validate_no_index(data)
    rows = np.asarray(data.train, dtype=np.float64)
    spread = rows.std(axis=0)
    if len(constant := np.flatnonzero(spread <= CONSTANT * np.abs(rows).max(axis=0))):
        raise DataError(
            f"Expected columns that vary; {data.column(constant[0])} of {data.name} is constant, so that its density "
            f"has no bound.{_or_levels(data)} {_leave_out(data, constant[0])}"
        )
    width = data.dim + (data.contexts.dim if data.contexts else 0)
    if len(rows) <= width:
        raise DataError(
            f"Expected more training rows than columns; {data.name} has {len(rows)} for {width}, so that a "
            "plane passes through all of them, whose density has no bound. Give more rows."
        )
    standard = (rows - rows.mean(axis=0)) / spread
    _validate_independent(standard, data)
    if data.contexts:
        _validate_free(standard, data, data.contexts)


def _validate_no_index(data: Dataset) -> None:
    if _is_unnamed_index(0, data):
        raise DataError(
            f"Expected columns of measurements; column 1 of {data.name} has no name and numbers the rows, as pandas "
            f"writes its index. Leave it out: {_without_index(data)}"
        )


def _without_index(data: Dataset) -> str:
    """How to write rows that pandas has numbered."""
    if data.file is None:
        return f"give df.drop(columns={(data.columns or ('',))[0]!r})"
    line, writes = line_without(data, 0), "to_csv" if data.file.suffix == ".csv" else "to_parquet"
    return f"write the file by df.{writes}({str(data.file)!r}, index=False){f', or run {line}' if line else ''}"


def _is_unnamed_index(column: int, data: Dataset) -> bool:
    names = data.columns or ()
    return column in data.numbering and names[column : column + 1] in [(name,) for name in UNNAMED]


def _validate_independent(standard: NDArray[np.float64], data: Dataset) -> None:
    variances, directions = np.linalg.eigh(standard.T @ standard / len(standard))
    if variances[0] < _NO_VARIANCE:
        involved = np.argsort(-np.abs(directions[:, 0]), kind="stable")
        others = [data.column(column) for column in involved[1:4] if abs(directions[column, 0]) > 1e-3]
        raise DataError(
            f"Expected columns none of which follows from others; {data.column(involved[0])} of {data.name} is a "
            f"linear function of {', '.join(others)}, so that the density has no bound. {_leave_out(data, involved[0])}"
        )


def _validate_free(standard: NDArray[np.float64], data: Dataset, contexts: Contexts) -> None:
    """Raise if a direction of the rows follows from the contexts."""
    seen = standardised(contexts).seen(contexts.train)
    left = standard - seen @ np.linalg.lstsq(seen, standard, rcond=None)[0]
    variances, directions = np.linalg.eigh(left.T @ left / len(left))
    if variances[0] < _NO_VARIANCE:
        column = int(np.abs(directions[:, 0]).argmax())
        raise DataError(
            f"Expected columns that do not follow from their context; {data.column(column)} of {data.name} is a linear "
            f"function of the context and the other columns, so that its density given them has no bound. "
            f"{_leave_out(data, column)}"
        )


def _leave_out(data: Dataset, column: int) -> str:
    line = line_without(data, column)
    return f"Leave it out{_colon(line)}"


def _or_levels(data: Dataset) -> str:
    """Return what to do about grey levels that came as vectors; empty if the rows are not such."""
    splits = (data.train, data.valid, data.test)
    low, high = min(rows.min() for rows in splits), max(rows.max() for rows in splits)
    if low < 0 or not 0 < high < _MOST_LEVELS or any((rows != np.floor(rows)).any() for rows in splits):
        return ""
    return f" If the rows are images of grey levels, give `levels={int(high) + 1}` instead."


def warnings_of(data: Dataset) -> tuple[str, ...]:
    """Return what may spoil training on these rows, one sentence each: values and rows that repeat, and row numbers.

    Where a value repeats, a density may rise without bound, and its likelihood with it. Such rows are no error: whether
    a network rises there depends on its size and on how it is trained. Only vectors are checked, as in
    `validate_full_rank`.
    """
    of_context = _of_constant_contexts(data)
    if data.preprocessing is not None:
        return tuple(of_context)
    rows = np.asarray(data.train, dtype=np.float64)
    repeats = repeats_of(rows)
    found = [
        f"{data.column(column)} of {data.name} numbers the rows of its file, and is learnt like any other column. "
        f"{_leave_out(data, column)}"
        for column in data.numbering
        if not _is_unnamed_index(column, data)
    ]
    found += _of_steps([entry for entry in repeats if entry.step is not None], data)
    found += _of_values([entry for entry in repeats if entry.step is None], data)
    found += _of_copies(repeated_rows(rows), data)
    return (*found, *of_context)


def _of_constant_contexts(data: Dataset) -> list[str]:
    if data.contexts is None:
        return []
    train = data.contexts.train
    constant = np.flatnonzero(train.std(axis=0) <= CONSTANT * np.abs(train).max(axis=0))
    return [
        f"{data.contexts.column(int(column))} of the context of {data.name} is constant in the training rows: a model "
        "cannot learn what it does. Leave it out of the context."
        for column in constant
    ]


def _of_steps(repeats: Sequence[Repeats], data: Dataset) -> list[str]:
    if not repeats:
        return []
    first = repeats[0]
    steps = f"in steps of {first.step:.6g}" if first.even else f"{first.step:.6g} or more apart"
    return [
        f"{data.column(first.column)} of {data.name} takes {first.distinct} values in {first.rows} rows, {steps}"
        f"{_and_others(repeats)}: {_NO_BOUND}. Give `dequantize=True`, which adds uniform noise as wide as a step, or "
        f"leave {'them' if len(repeats) > 1 else 'it'} out.{_or_levels(data) if len(repeats) == data.dim else ''}"
    ]


def _of_values(repeats: Sequence[Repeats], data: Dataset) -> list[str]:
    return [
        f"{data.column(entry.column)} of {data.name} is {entry.value:.6g} in {entry.count} of {entry.rows} rows, and "
        f"varies freely in the others: {_NO_BOUND}. Train on the others alone. Or leave the column out"
        f"{_colon(line_without(data, entry.column))}"
        for entry in repeats
    ]


def _of_copies(copies: int, data: Dataset) -> list[str]:
    if not copies:
        return []
    return [
        f"{copies} training rows of {data.name} repeat others in all columns: {_NO_BOUND}, and validation and test "
        f"rows may be copies too. Leave copies out{_colon(line_without_copies(data))}"
    ]


def _colon(line: str) -> str:
    return f": {line}" if line else "."


def _and_others(repeats: Sequence[Repeats]) -> str:
    others = len(repeats) - 1
    return f", and {others} more column{'s repeat their' if others > 1 else ' repeats its'} values" if others else ""
