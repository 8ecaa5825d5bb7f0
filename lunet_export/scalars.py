"""Single numbers that a caller gives, looked at in one place: whole ones and real ones.

Python takes True for 1, and NumPy's arithmetic an array of one number for a number; here neither passes. Whole numbers
may be of any type that says it is one (`operator.index`), NumPy's too, and come back as Python's, which never wrap.
"""

import math
import operator
from numbers import Real
from typing import SupportsIndex

from lunet_export.errors import BadInputError, brief


def whole(value: SupportsIndex, wanted: str, *, least: int, most: int | None = None, advice: str = "") -> int:
    """A whole number in [least, most].

    Args:
        value: What the caller gave.
        wanted: What is expected, for the sentence: "a seed in [0, 2^64)".
        least: The smallest that passes.
        most: The largest; None: there is none.
        advice: What to do, a sentence.

    Raises:
        BadInputError: It is none: True, 3.0 and "3" are not.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        raise _refused(wanted, repr(value) if number is None else number, advice)
    return number


def real(value: float | Real, wanted: str, *, least: float, advice: str = "") -> float:
    """A finite number of at least `least`; arguments as of `whole`.

    Raises:
        BadInputError: It is none: NaN, None, "1" and True are not.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _refused(wanted, repr(value), advice)
    try:
        number = float(value)
    except OverflowError:  # an integer beyond all doubles
        number = math.inf
    if not least <= number < math.inf:
        raise _refused(wanted, value, advice)
    return number


def _refused(wanted: str, got: object, advice: str) -> BadInputError:
    return BadInputError(f"Expected {wanted}; got {brief(got)}. {advice}".rstrip())
