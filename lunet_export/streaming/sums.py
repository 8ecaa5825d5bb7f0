"""Sums without rounding: the same however the numbers are split, and whoever adds them."""

import numpy as np
from numpy.typing import NDArray

_BITS = 26  # bits of a number that are added at once: 2^27 such integers have an exact sum in float64


def exact_sum(values: NDArray[np.float64]) -> list[float]:
    """Return a few doubles whose exact sum is that of the values, (N,) finite with N up to 2^27.

    `math.fsum` of them is the sum of all values, rounded once; so is `fsum` of the doubles of several pieces together.
    Bits of the same weight are added as integers, those of the largest first.

    Raises:
        OverflowError: if the sum does not fit into a double.
    """
    found: list[float] = []
    rest = np.asarray(values, dtype=np.float64)
    with np.errstate(over="ignore"):
        while rest.any():
            _, exponent = np.frexp(np.abs(rest).max())
            unit = max(np.ldexp(1.0, int(exponent) - _BITS), 5e-324)
            whole = np.trunc(rest / unit)
            found.append(float(whole.sum() * unit))
            if not np.isfinite(found[-1]):
                raise OverflowError(f"the sum of {len(values)} numbers does not fit into a double")
            rest = rest - whole * unit
    return found
