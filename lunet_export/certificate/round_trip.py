"""What a runtime of finite precision is predicted to make of x -> z -> x: an estimate from above, and no certificate.

To first order an error e at a place of the network becomes P e in x, with P the inverse of the Jacobian up to there.
The places are those where the rounding model puts errors, and the sizes e are its own, one set on the way to z and one
on the way back (`Layer.round_trip`), each moved to what enters or what leaves its layer. Of an LU layer
a = L (U h) + b, of an activation h = f(a), and of the logit in front they are
    product      |L| (|U| |h|) + |b|           solves       |L| |y| + |a| + |b|, and |L| |U| |h|
    activation   4 max(1, |h|) / f'(a)         its inverse  4 max(1, |a|) + |h| / f'(a)
    logit        4 max(1, |h|) / logit'(x)     its inverse  4 (|x| + levels margin)              in x itself
An error is taken in the worst direction, |P e| <= |e| / s_min(J_m) with J_m the Jacobian of what is in front of place
m; errors are not aligned, so squares are summed:
    predicted^2 = u^2 (sum over the logit's sizes^2 + sum_m (|sizes at place m| / s_min(J_m))^2)
Sizes at their bounds and the worst direction are why right answers stay below, the more so the wider the network. Two
tighter forms were measured and left: u |z| / s_min(J) knows only what z itself loses, and errors passed it 550 times
where an activation in the middle lost more; |e| |P|_F / sqrt(D), the mean over all directions, was passed by 15 %.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lunet_export.certificate.jacobian import Linearization
from lunet_export.checks import reference
from lunet_export.checks.rounding import of_inverse_logit, unit_roundoff
from lunet_export.layers.errors import of_elementwise
from lunet_export.preprocessing import logit, logit_slope

Array = NDArray[np.float64]


def predicted_round_trip(linear: Linearization, x: Array, *, dtype: str, products: str | None = None) -> Array:
    """Predicted |f^-1(f(x)) - x| in data space, Euclidean norm of a row, (N, D) -> (N,); infinite where it overflows.

    Args:
        linear: The network.
        x: Rows of data.
        dtype: Of the runtime, `float32` or `float64`.
        products: A shorter dtype of its matrix products.
    """
    chain, p = linear.weights, linear.weights.preprocessing
    product = unit_roundoff(products or dtype) / unit_roundoff(dtype)
    total = np.zeros(len(x))
    if p:
        total = _square([of_elementwise(logit(x, p)[0]) / logit_slope(x, p), of_inverse_logit(x, p)], total)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        places = [np.zeros(len(x)) for _ in range(len(chain.layers) + 1)]  # squares, in front of each layer
        for number, passage in enumerate(reference.passages(chain, x)):
            lost = passage.layer.round_trip(passage.x, passage.step.rows)
            before = [*lost.at_x, *(product * size for size in lost.products_at_x)]
            behind = [*lost.at_y, *(product * size for size in lost.products_at_y)]
            places[number] = _square(before, places[number])
            places[number + 1] = _square(behind, places[number + 1])
        jacobians, first = linear.behind_logit(x), 1 if p else 0
        for number, square in enumerate(places):
            if square.any():
                total = total + square / jacobians.up_to(first + number).squeeze()[0] ** 2
    predicted = unit_roundoff(dtype) * np.sqrt(total)
    return np.where(np.isnan(predicted), np.inf, predicted)


def _square(errors: Sequence[Array], total: Array) -> Array:
    """|e|^2 of every row, added up over the errors."""
    return sum(((error**2).sum(axis=1) for error in errors), total)
