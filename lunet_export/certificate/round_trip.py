"""What a runtime of finite precision is predicted to make of x -> z -> x: an estimate from above, and no certificate.

To first order an error e at a place of the network becomes P e in x, with P the inverse of the Jacobian up to there.
The places are those where the rounding model puts errors, and the sizes e are its own, one set on the way to z and one
on the way back, all moved to the output a_m of a block, where P = J_m^-1 with J_m = da_m/dx:
    product      |L| (|U| |h|) + |b|           solves       |L| |y| + |a| + |b|, and |L| |U| |h|
    activation   4 max(1, |h|) / f'(a)         its inverse  4 max(1, |a|) + |h| / f'(a)
    logit        4 max(1, |h|) / logit'(x)     its inverse  4 (|x| + levels margin)              in x itself
An error is taken in the worst direction, |P e| <= |e| / s_min(J_m); errors are not aligned, so squares are summed:
    predicted^2 = u^2 (sum over the logit's sizes^2 + sum_m (|sizes at a_m| / s_min(J_m))^2)
Sizes at their bounds and the worst direction are why right answers stay below, the more so the wider the network. Two
tighter forms were measured and left: u |z| / s_min(J) knows only what z itself loses, and errors passed it 550 times
where an activation in the middle lost more; |e| |P|_F / sqrt(D), the mean over all directions, was passed by 15 %.
"""

import numpy as np
from numpy.typing import NDArray

from lunet_export import lu
from lunet_export.certificate.jacobian import Linearization
from lunet_export.checks import reference
from lunet_export.checks.rounding import (
    of_elementwise,
    of_inverse_logit,
    of_lower_solve,
    of_upper_solve,
    sizes_of,
    unit_roundoff,
)
from lunet_export.families.lunet import reference as lunet
from lunet_export.families.lunet.rounding import of_activation, of_inverse_activation

Array = NDArray[np.float64]


def predicted_round_trip(linear: Linearization, x: Array, *, dtype: str, products: str | None = None) -> Array:
    """Predicted |f^-1(f(x)) - x| in data space, Euclidean norm of a row, (N, D) -> (N,); infinite where it overflows.

    Args:
        linear: The network.
        x: Rows of data.
        dtype: Of the runtime, `float32` or `float64`.
        products: A shorter dtype of its matrix products.
    """
    weights, p = linear.weights, linear.weights.preprocessing
    product = unit_roundoff(products or dtype) / unit_roundoff(dtype)
    entering: list[Array] = []
    z, _ = lunet.encode(weights, x, lambda _, a: entering.append(a))
    f, jacobians = lunet.Activation.of(weights), linear.at(x).behind_logit(x)
    h, total = x, np.zeros(len(x))
    if p:
        h = reference.logit(x, p)[0]
        total = _square(of_elementwise(h) / reference.logit_slope(x, p), of_inverse_logit(x, p))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        for number, (block, a) in enumerate(zip(weights.blocks, [*entering, z], strict=True), 1):
            size = sizes_of(block)
            lost = [lu.affine(np.abs(h), size), of_lower_solve(h @ block.upper.T, a, size)]
            lost.append(of_upper_solve(h, size) @ size.lower.T)
            lost = [product * errors for errors in lost]
            if number < len(weights.blocks):
                h = f(a)
                lost.append(of_activation(h, f) / f.slope(a))
                lost.append(of_inverse_activation(a, h, f))
            total = total + _square(*lost) / jacobians.up_to(number).squeeze()[0] ** 2
    predicted = unit_roundoff(dtype) * np.sqrt(total)
    return np.where(np.isnan(predicted), np.inf, predicted)


def _square(*errors: Array) -> Array:
    """|e|^2 of every row, summed over the errors."""
    return sum(((error**2).sum(axis=1) for error in errors), np.zeros(len(errors[0])))
