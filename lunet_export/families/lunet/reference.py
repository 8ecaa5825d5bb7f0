"""LU-Net in plain float64 NumPy: what the files mean, and the judge of every other implementation.

    h_0 = logit(x) or x,    a_m = L_m (U_m h_{m-1}) + b_m,    h_m = f(a_m) for m < M,    z = a_M
    f(a) = alpha a + (1 - alpha) log(1 + e^a)                                   (arXiv 2302.10524, section 3)
    log|det dz/dx| = sum_m log|det U_m| + sum_m sum log f'(a_m) + log|det dh_0/dx|   [nats]

x (N, D) data, z (N, D) latent, log_det (N,) of the map from data to latent. Nothing here is fast.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lunet_export.families.lunet.weights import LUNetWeights
from lunet_export.lu import affine, inverse_affine, log_abs_det
from lunet_export.reference import inverse_logit, logit, softplus

Array = NDArray[np.float64]


def leaky_softplus(a: Array, alpha: float) -> Array:
    """f(a) = alpha a + (1 - alpha) log(1 + e^a)."""
    return alpha * a + (1 - alpha) * softplus(a)


def slope(a: Array, alpha: float) -> Array:
    """f'(a) = alpha + (1 - alpha) / (1 + e^-a), in (alpha, 1)."""
    return alpha + (1 - alpha) * np.exp(-softplus(-a))


def inverse_leaky_softplus(h: Array, alpha: float) -> Array:
    """The a with f(a) = h, by Newton from the right of the root: f is convex, so every step descends towards it."""
    a = np.minimum(h, h / alpha)
    for _ in range(200):
        step = (leaky_softplus(a, alpha) - h) / slope(a, alpha)
        a = a - step
        if not (np.abs(step) > 4 * np.finfo(np.float64).eps * np.maximum(1.0, np.abs(a))).any():
            break
    return a


def encode(
    weights: LUNetWeights, x: Array, on_activation: Callable[[int, Array], None] = lambda number, a: None
) -> tuple[Array, Array]:
    """x -> (z, log_det). `on_activation(m, a_m)` sees what enters the activation behind block m = 1 .. M - 1."""
    h, log_det = logit(x, weights.preprocessing) if weights.preprocessing else (x, np.zeros(len(x)))
    for number, block in enumerate(weights.blocks):
        if number:
            on_activation(number, h)
            log_det = log_det + np.log(slope(h, weights.alpha)).sum(axis=1)
            h = leaky_softplus(h, weights.alpha)
        log_det = log_det + log_abs_det(block)
        h = affine(h, block)
    return h, log_det


def decode(weights: LUNetWeights, z: Array) -> Array:
    """z -> x, not clamped."""
    h = z
    for block in reversed(weights.blocks[1:]):
        h = inverse_leaky_softplus(inverse_affine(h, block), weights.alpha)
    h = inverse_affine(h, weights.blocks[0])
    return inverse_logit(h, weights.preprocessing) if weights.preprocessing else h
