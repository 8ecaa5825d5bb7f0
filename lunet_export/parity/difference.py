"""How far two answers are apart, where the worst place is, and whether that is allowed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks.rounding import sizes

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Difference:
    """One output of one check; it passes with a `ratio` up to 1.

    The worst place is the one with the largest share of its own row's tolerance. The largest difference of all may lie
    in another row, whose tolerance is another.
    """

    output: str
    absolute: float  # largest |got - expected| of all
    relative: float | None  # the same over the largest |expected|; None where no more than 0 is expected
    ratio: float  # largest |got - expected| / tolerance: how near the worst place comes to failing
    worst: float  # |got - expected| at the worst place
    row: int  # the worst place, and what is there
    column: int
    expected: float
    got: float
    tolerance: float
    rows: int  # how many rows were compared
    absolute_row: int = -1  # where the largest difference is, and what is allowed there
    absolute_tolerance: float = 0.0
    no_digits: tuple[int, ...] = ()  # rows whose tolerance is larger than their largest number, or one nat

    @property
    def passed(self) -> bool:
        """Every number is within its row's tolerance; NaN never is."""
        return self.ratio <= 1.0


def compare(
    output: str, *, expected: Floats, got: Floats, tolerance: Floats, numbers: NDArray[np.intp] | None = None
) -> Difference:
    """Compare (N, D) or (N,) arrays with one absolute tolerance per row, (N,).

    Places where both are the same infinity or number differ by 0; a NaN or a wrong shape makes the ratio infinite.

    Args:
        output: What is compared.
        expected: Right answers, (N, D) or (N,).
        got: Answers to judge, of the same shape.
        tolerance: Allowed absolute difference of each row, (N,).
        numbers: Number that each row is called by, (N,); by default its place.
    """
    expected = np.asarray(expected, dtype=np.float64)
    if got.shape != expected.shape:
        nan = float("nan")
        return Difference(output, np.inf, np.inf, np.inf, np.inf, -1, -1, nan, nan, 0.0, len(expected))
    if not len(expected):
        return Difference(output, 0.0, None, 0.0, 0.0, -1, -1, 0.0, 0.0, 0.0, 0)
    numbers = np.arange(len(expected)) if numbers is None else numbers
    wanted, have = expected.reshape(len(expected), -1), np.asarray(got, dtype=np.float64).reshape(len(expected), -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = np.where(wanted == have, 0.0, np.abs(have - wanted))
        gap = np.where(np.isnan(gap), np.inf, gap)
        ratio = np.where(gap == 0, 0.0, gap / tolerance[:, None])
    row, column = (int(i) for i in np.unravel_index(np.argmax(ratio), ratio.shape))
    largest, largest_row = float(np.abs(wanted).max()), int(gap.max(axis=1).argmax())
    return Difference(
        output=output,
        absolute=float(gap.max()),
        relative=float(gap.max()) / largest if largest else None,
        tolerance=float(tolerance[row]),
        ratio=float(ratio[row, column]),
        worst=float(gap[row, column]),
        row=int(numbers[row]),
        column=column,
        expected=float(wanted[row, column]),
        got=float(have[row, column]),
        rows=len(expected),
        absolute_row=int(numbers[largest_row]),
        absolute_tolerance=float(tolerance[largest_row]),
        no_digits=tuple(numbers[tolerance > sizes(expected)].tolist()),
    )
