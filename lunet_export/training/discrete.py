"""Columns whose values repeat as those of no continuous variable do, and the noise that makes them continuous."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc, pdtrc

from lunet_export import noise
from lunet_export.data import Dataset
from lunet_export.errors import BadInputError

Array = NDArray[np.float64]

#: Largest probability that two rows agree in a variable which counts as continuous, as one does that is recorded in a
#: thousand equally frequent values.
AGREEMENT = 1e-3
_FALSE_ALARM = 1e-6  # probability that such a variable is listed nevertheless
_ROWS, _NUMBERS = 20_000, 4_000_000  # most rows, of which 2e8 pairs can be made, and most numbers to look at
_ROUNDING = 1e-12  # relative to the largest value: 0.1 + 0.2 and 0.3 are one value
_UNEVEN = 1e-3  # share of a step by which its multiples may be off: steps like 1/255 are rounded themselves
_LIMITS = 2  # most repeated values of a continuous variable: both ends of an instrument's range, or a zero
_DRAW = 7  # number of the draw of uniform noise
_MIXING = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio


@dataclass(frozen=True)
class Repeats:
    """This is a column whose values repeat.

    Attributes:
        column: Number of the column, from 0.
        rows: Number of rows that were looked at.
        distinct: Number of distinct values in them.
        value: Most frequent value.
        count: Number of rows with that value.
        step: Smallest difference between two values; None if one or two values repeat and the others are those of a
            continuous variable.
        even: Whether all values are whole steps apart.
    """

    column: int
    rows: int
    distinct: int
    value: float
    count: int
    step: float | None
    even: bool


def repeats_of(rows: Array) -> list[Repeats]:
    """Return the columns of rows (N, D) whose values repeat as a continuous variable's do not, without constant ones.

    N rows make N (N - 1) / 2 pairs. If two rows agree in a column with probability p <= 1/1000, the number of pairs
    that agree is about Poisson with mean p N (N - 1) / 2. A column is listed if a number as large as the one found has
    a probability below 1e-6 even for p = 1/1000. So rows that are rounded to four digits pass, however many they are.
    Pairs that agree in all columns are copies, which say nothing about a single column.
    """
    some = _some(rows)
    copies = _pairs(_keys(some).sum(axis=1, dtype=np.uint64)) if some.shape[1] > 1 else 0
    found = [_repeats(column, values, copies) for column, values in enumerate(some.T)]
    return [entry for entry in found if entry is not None]


def _some(rows: Array) -> Array:
    return rows[: min(_ROWS, max(1000, _NUMBERS // rows.shape[1]))]


def _repeats(column: int, values: Array, copies: int) -> Repeats | None:
    """Return what repeats in one column; `copies` pairs agree in all columns, which says nothing about this one."""
    largest = float(np.abs(values).max()) or 1.0
    ordered = np.sort(values / largest)  # in [-1, 1], where no difference overflows
    begins = np.concatenate([[0], 1 + np.flatnonzero(np.diff(ordered) > _ROUNDING)])
    found, counts = ordered[begins], np.diff(begins, append=len(ordered))
    if len(found) < 2 or not _agree_too_often(counts, copies):
        return None
    gaps, most = np.diff(found), int(counts.argmax())
    step = float(gaps.min())
    steps = np.round(gaps / step)
    even = bool((np.abs(gaps / step - steps) < _UNEVEN).all())
    step = float(gaps.sum() / steps.sum()) if even else step
    fine = not even or gaps.sum() > step / AGREEMENT
    alone = fine and not _agree_too_often(np.sort(counts)[:-_LIMITS])
    value = float(np.sort(values)[begins[most]])
    return Repeats(column, len(values), len(found), value, int(counts[most]), None if alone else step * largest, even)


def _agree_too_often(counts: NDArray[np.int64], copies: int = 0) -> bool:
    """Return whether more pairs agree than by chance, from the number of rows per value; `copies` do not count."""
    n, agreeing = int(counts.sum()), int((counts * (counts - 1) // 2).sum()) - copies
    expected = AGREEMENT * n * (n - 1) / 2
    return agreeing > expected and bool(pdtrc(agreeing - 1, expected) < _FALSE_ALARM)


def repeated_rows(rows: Array) -> int:
    """Return how many of rows (N, D) repeat an earlier one, if rows were copied; 0 if they agree by chance.

    Rounded rows agree by chance now and then. But two that agree in all columns except one still differ in that one
    more often than not. Rows were copied if, for each column, the pairs that agree in all others agree in it too, so
    often that a coin would do so with a probability below 1e-6: there must be at least 20 of them.
    """
    keys = _keys(_some(rows))
    whole = keys.sum(axis=1, dtype=np.uint64)
    agreeing = _pairs(whole)
    if bdtrc(agreeing - 1, agreeing, 0.5) >= _FALSE_ALARM:
        return 0
    if any(bdtrc(agreeing - 1, _pairs(whole - key), 0.5) >= _FALSE_ALARM for key in keys.T):
        return 0
    return len(whole) - len(np.unique(whole))


def _keys(rows: Array) -> NDArray[np.uint64]:
    """Return a hash of each number, (N, D), different per column; their sums over columns mod 2^64 tell rows apart."""
    odd = np.random.default_rng(0).integers(2**63, size=rows.shape[1], dtype=np.uint64) * 2 + 1
    keys = np.ascontiguousarray(rows + 0.0).view(np.uint64) * odd  # 0 and -0 are one number
    keys ^= keys >> np.uint64(32)
    keys *= _MIXING
    keys ^= keys >> np.uint64(29)
    return keys


def _pairs(keys: NDArray[np.uint64]) -> int:
    counts = np.unique(keys, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def dequantized(data: Dataset, seed: int) -> tuple[Dataset, list[Repeats]]:
    """Add noise to the columns whose values are steps apart; return the vectors, and what was found in these columns.

    A value v becomes uniform in [v - step / 2, v + step / 2), so that rounding the column of a sample to its nearest
    value gives the values back. The noise of row i depends on the seed and i only; rows are counted through the
    training, validation and test rows.

    Args:
        data: Vectors.
        seed: Seed of the noise, in [0, 2^64).

    Raises:
        BadInputError: if the data are grey levels, which get noise at every access anyway.
    """
    if data.preprocessing is not None:
        raise BadInputError(
            f"Expected vectors for `dequantize`; {data.name} holds grey levels, which always get noise. Leave it out."
        )
    found = [entry for entry in repeats_of(np.asarray(data.train, dtype=np.float64)) if entry.step is not None]
    width = np.zeros(data.dim)
    for entry in found:
        width[entry.column] = entry.step or 0.0
    splits: dict[str, Any] = {}
    begin = 0
    for name in ("train", "valid", "test"):
        rows = np.asarray(getattr(data, name), dtype=np.float64)
        uniform = noise.uniform(seed, range(begin, begin + len(rows)), data.dim, draw=_DRAW)
        splits[name] = rows + width * (uniform - 0.5)
        begin += len(rows)
    return replace(data, **splits), found
