"""What rounding does to the numbers on their way through a layer; with none of it, the way is the float64 reference."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: Sizes of errors in units of roundoff, made where they are asked for only.
Size = Callable[[], Array]


def of_elementwise(value: Array) -> Array:
    """The size of the error of an elementwise function of that value, in units, for every number: 4 max(1, |value|)."""
    return 4 * np.maximum(1.0, np.abs(value))


class Errors:
    """Errors of no size. `lunet_export.checks.rounding` has those of a runtime of finite precision.

    A layer states its mathematics once and hands every intermediate result to one of these methods, with the size of
    the error that rounding makes there. Sizes are in units of the dtype's roundoff.
    """

    #: Nothing is added anywhere.
    exact: bool = True
    #: What an implementation may have left out of the rows, to add it later: sizes (D,) of which errors are made too.
    left_out: Array | float = 0.0

    def value(self, value: Array, size: Size | None = None) -> Array:
        """The value with an error of that size; without a size, with that of an elementwise function."""
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
        """The value of a matrix product or a solve with the error of one.

        Args:
            value: What was computed, (N, K).
            size: Of the error of the product before it goes `through` a matrix.
            constant: The part of the value that is no product, such as a bias: truncation does not shrink it.
            through: The matrix (K, K) that carries the error on; None where it stays as it is.
            count: Products in a row.
        """
        del size, constant, through, count
        return value

    def leave_out(self, size: Array) -> None:
        """An implementation may leave so much more out of the rows."""

    def nearby(self, x: Array) -> Array:
        """Points within a few rounding errors of x: where the slope of a layer is taken, which may jump."""
        return x

    def across(self, x: Array) -> Array:
        """The same for a slope that jumps at 0 and nowhere else: x, with its sign turned where 0 is within reach."""
        return x


EXACT = Errors()
