"""The predicted error of x -> z -> x in a runtime of finite precision: an estimate from above, and no certificate.

To first order an error e at a place of the network becomes P e in x, with P the inverse of the Jacobian up to there.
The places are those where the rounding model puts errors, and the sizes e are its own, one set for x -> z and one
for z -> x (`Layer.round_trip`), each moved to what enters or what leaves its layer. For an LU layer
a = L (U h) + b, an activation h = f(a), and the logit in front they are
    product      |L| (|U| |h|) + |b|           solves       |L| |y| + |a| + |b|, and |L| |U| |h|
    activation   4 max(1, |h|) / f'(a)         its inverse  4 max(1, |a|) + |h| / f'(a)
    logit        4 max(1, |h|) / logit'(x)     its inverse  4 (|x| + levels margin)              in x itself
An error is taken in the worst direction, |P e| <= |e| / s_min(J_m) with J_m the Jacobian of what is in front of place
m; errors are not aligned, so squares are summed:
    predicted^2 = u^2 (sum over the logit's sizes^2 + sum_m (|sizes at place m| / s_min(J_m))^2)
Correct answers stay below since sizes are at their bounds and directions the worst, the more so the wider the network.
Two tighter forms were measured and rejected: u |z| / s_min(J) knows only what z itself loses, and errors exceeded it
550 times where an activation in the middle lost more; |e| |P|_F / sqrt(D), the mean over all directions, was exceeded
by 15 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lunet_export.certificate.jacobian import Linearization
from lunet_export.checks import reference
from lunet_export.checks.rounding import of_inverse_logit, unit_roundoff
from lunet_export.layers.errors import of_elementwise
from lunet_export.preprocessing import logit, logit_slope

Array = NDArray[np.float64]

_LEAST = -4096  # below the exponent of every number of float64, and of every quotient of two


def predicted_round_trip(
    linear: Linearization, x: Array, *, dtype: str, products: str | None = None, context: Array | None = None
) -> Array:
    """Return predicted |f^-1(f(x)) - x| in data space, Euclidean norm of a row, (N, D) -> (N,), infinite on overflow.

    Args:
        linear: Network with its Jacobians.
        x: Rows of data.
        dtype: Dtype of the runtime, `float32` or `float64`.
        products: Shorter dtype of its matrix products.
        context: Contexts of the rows (N, C), for a conditional flow, in which they are exact.
    """
    chain, p = linear.weights, linear.weights.preprocessing
    product = unit_roundoff(products or dtype) / unit_roundoff(dtype)
    squares: list[_Square] = []
    if p:
        squares.append(_square([of_elementwise(logit(x, p)[0]) / logit_slope(x, p), of_inverse_logit(x, p)]))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        places: list[list[Array]] = [[] for _ in range(len(chain.layers) + 1)]  # errors in front of each layer
        for number, passage in enumerate(reference.passages(chain, x, context)):
            lost = passage.layer.round_trip(passage.x, passage.step.rows)
            places[number] += [*lost.at_x, *(product * size for size in lost.products_at_x)]
            places[number + 1] += [*lost.at_y, *(product * size for size in lost.products_at_y)]
        jacobians, first = linear.behind_logit(x, context), 1 if p else 0
        for number, errors in enumerate(places):
            if any(error.any() for error in errors):
                squares.append(_square(errors) / jacobians.up_to(first + number).squeeze()[0])
        predicted = unit_roundoff(dtype) * (_root_of_sum(squares) if squares else np.zeros(len(x)))
    return np.where(np.isnan(predicted), np.inf, predicted)


@dataclass(frozen=True)
class _Square:
    """This is value * 4^exponent, (N,) each: the square of a float64 may overflow or underflow."""

    value: Array
    exponent: NDArray[np.int64]

    def __truediv__(self, divisor: Array) -> "_Square":
        """Divide by the square of the divisor (N,)."""
        exponent = _exponent(divisor)
        return _Square(self.value / np.ldexp(divisor, -exponent) ** 2, self.exponent - exponent)


def _exponent(size: Array) -> NDArray[np.int64]:
    """Return the exponent of the power of two above each number; 0 where it is 0 or not finite."""
    return np.where(np.isfinite(size) & (size != 0), np.frexp(size)[1], 0)


def _square(errors: Sequence[Array]) -> _Square:
    """Return |e|^2 of every row, summed over the errors."""
    exponent = _exponent(np.max([np.abs(error).max(axis=1) for error in errors], axis=0))
    scaled = (np.ldexp(error, -exponent[:, None]) for error in errors)
    return _Square(sum(((error**2).sum(axis=1) for error in scaled), np.zeros(len(exponent))), exponent)


def _root_of_sum(squares: Sequence[_Square]) -> Array:
    """Return the square root of their sum."""
    exponent = np.max([np.where(square.value > 0, square.exponent, _LEAST) for square in squares], axis=0)
    total = sum(np.ldexp(square.value, 2 * (square.exponent - exponent)) for square in squares)
    return np.ldexp(np.sqrt(total), exponent)
