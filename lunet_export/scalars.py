"""Single numbers from a caller, checked in one place: whole ones and real ones.

Python takes True for 1, and NumPy an array of one number for a number; here neither passes. Whole numbers may be of any
type that says so (`operator.index`), including NumPy's, and come back as Python's, which never overflow.
"""

import math
import operator
from numbers import Real
from typing import SupportsIndex

from lunet_export.errors import BadInputError, brief


def whole(value: SupportsIndex, wanted: str, *, least: int, most: int | None = None, advice: str = "") -> int:
    """Return a whole number in [least, most].

    Args:
        value: Number that the caller gave.
        wanted: Expected value, for the sentence: "a seed in [0, 2^64)".
        least: Smallest number that passes.
        most: Largest number that passes; None: there is none.
        advice: Sentence that says what to do.

    Raises:
        BadInputError: if it is not such a number, as True, 3.0 and "3" are not.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        raise _refused(wanted, repr(value) if number is None else number, advice)
    return number


def real(value: float | Real, wanted: str, *, least: float, advice: str = "") -> float:
    """Return a finite number of at least `least`; the arguments are those of `whole`.

    Raises:
        BadInputError: if it is not such a number, as NaN, None, "1" and True are not.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _refused(wanted, repr(value), advice)
    try:
        number = float(value)
    except OverflowError:  # an integer beyond float64
        number = math.inf
    if not least <= number < math.inf:
        raise _refused(wanted, value, advice)
    return number


def _refused(wanted: str, got: object, advice: str) -> BadInputError:
    return BadInputError(f"Expected {wanted}; got {brief(got)}. {advice}".rstrip())
