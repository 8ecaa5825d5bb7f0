"""Rounding errors of the numbers on their way through a layer; without errors, the way is the float64 reference."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: Sizes of errors in units of roundoff, computed only where they are asked for.
Size = Callable[[], Array]


def of_elementwise(value: Array) -> Array:
    """Return the size of the error of an elementwise function with that value, in units: 4 max(1, |value|)."""
    return 4 * np.maximum(1.0, np.abs(value))


class Errors:
    """These errors are all 0. `lunet_export.checks.rounding` has those of a runtime of finite precision.

    A layer states its mathematics once and hands every intermediate result to one of these methods, with the size of
    the error that rounding makes there. Sizes are in units of the dtype's roundoff.
    """

    #: Whether no error is added anywhere.
    exact: bool = True
    #: Sizes (D,) of what an implementation may leave out of the rows and add later; errors are made of them too.
    left_out: Array | float = 0.0

    def value(self, value: Array, size: Size | None = None) -> Array:
        """Return the value with an error of that size; without a size, with that of an elementwise function."""
        del size
        return value

    def product(
        self,
        value: Array,
        size: Size,
        *,
        constant: Array | float = 0.0,
        through: Array | None = None,
        count: int = 1,
    ) -> Array:
        """Return the value of a matrix product or a solve with the error of one.

        Args:
            value: Computed value (N, K).
            size: Size of the error of the product before it goes `through` a matrix.
            constant: Part of the value that is no product, such as a bias: truncation does not shrink it.
            through: Matrix (K, K) that propagates the error; None where it stays as it is.
            count: Number of products one after another.
        """
        del size, constant, through, count
        return value

    def leave_out(self, size: Array) -> None:
        """Record that an implementation may leave so much more out of the rows."""

    def nearby(self, x: Array, size: Size | None = None) -> Array:
        """Return points within a few rounding errors of x, at which a slope is taken that may jump.

        Errors are of the given size; without one, of that of an elementwise function.
        """
        del size
        return x

    def took(self, sides: NDArray[np.generic]) -> None:
        """Record on which sides of the places where a form changes, such as in which bins, numbers are, (N, C)."""

    def across(self, x: Array) -> Array:
        """Return x for a slope that jumps only at 0: its sign is reversed where 0 is within a few rounding errors."""
        return x


EXACT = Errors()
