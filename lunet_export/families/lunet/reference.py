"""LU-Net in plain float64 NumPy: what the files mean, and the judge of every other implementation.

    h_0 = logit(x) or x,    a_m = L_m (U_m h_{m-1}) + b_m,    h_m = f(a_m) for m < M,    z = a_M
    log|det dz/dx| = sum_m log|det U_m| + sum_m sum log f'(a_m) + log|det dh_0/dx|   [nats]

| activation | f(a) | f'(a) |
|---|---|---|
| leaky-softplus | alpha a + (1 - alpha) log(1 + e^a) | alpha + (1 - alpha) / (1 + e^-a), in (alpha, 1) |
| leaky-relu | max(a, alpha a) | alpha below 0, 1 from 0 on |
| leaky-tanh | alpha a + (1 - alpha) tanh a | alpha + (1 - alpha) (1 - tanh^2 a), in (alpha, 1] |

The first is the paper's (arXiv 2302.10524, section 3). Slopes lie in [alpha, 1] in all three, so what is certified from
them holds for all. x (N, D) data, z (N, D) latent, log_det (N,) of the map from data to latent. Nothing here is fast.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks.reference import inverse_logit, logit, softplus
from lunet_export.families.lunet.weights import LUNetWeights
from lunet_export.lu import affine, inverse_affine, log_abs_det

Array = NDArray[np.float64]


def leaky_softplus(a: Array, alpha: float) -> Array:
    """f(a) = alpha a + (1 - alpha) log(1 + e^a)."""
    return alpha * a + (1 - alpha) * softplus(a)


def leaky_softplus_slope(a: Array, alpha: float) -> Array:
    """f'(a) = alpha + (1 - alpha) / (1 + e^-a), in (alpha, 1)."""
    return alpha + (1 - alpha) * np.exp(-softplus(-a))


def inverse_leaky_softplus(h: Array, alpha: float) -> Array:
    """The a with f(a) = h, by Newton from the right of the root: f is convex, so every step descends towards it."""
    return _newton(leaky_softplus, leaky_softplus_slope, h, alpha, np.minimum(h, h / alpha))


def leaky_relu(a: Array, alpha: float) -> Array:
    """f(a) = max(a, alpha a)."""
    return np.maximum(a, alpha * a)


def leaky_relu_slope(a: Array, alpha: float) -> Array:
    """f'(a) = alpha where a < 0, 1 elsewhere."""
    return np.where(a < 0, alpha, 1.0)


def inverse_leaky_relu(h: Array, alpha: float) -> Array:
    """The a with f(a) = h: min(h, h / alpha)."""
    return np.minimum(h, h / alpha)


def leaky_tanh(a: Array, alpha: float) -> Array:
    """f(a) = alpha a + (1 - alpha) tanh a."""
    return alpha * a + (1 - alpha) * np.tanh(a)


def leaky_tanh_slope(a: Array, alpha: float) -> Array:
    """f'(a) = alpha + (1 - alpha) (1 - tanh^2 a), in (alpha, 1], with 1 - tanh^2 a = 4 / ((1 + e^2a) (1 + e^-2a))."""
    return alpha + 4 * (1 - alpha) * np.exp(-softplus(2 * a) - softplus(-2 * a))


def inverse_leaky_tanh(h: Array, alpha: float) -> Array:
    """The a with f(a) = h, by Newton from between 0 and the root.

    |f(a)| is at most |a| and at most alpha |a| + 1 - alpha, so the start max(|h|, (|h| - 1 + alpha) / alpha) is no
    further from 0 than the root. Between the two f is concave in |a|, so every step climbs towards the root.
    """
    start = np.copysign(np.maximum(np.abs(h), (np.abs(h) - (1 - alpha)) / alpha), h)
    return _newton(leaky_tanh, leaky_tanh_slope, h, alpha, start)


def _newton(value: "Elementwise", slope: "Elementwise", h: Array, alpha: float, a: Array) -> Array:
    for _ in range(200):
        here = slope(a, alpha)
        step = (value(a, alpha) - h) / here
        a = a - step
        size = np.maximum(1.0, np.maximum(np.abs(a), np.abs(h / here)))  # one unit of h becomes 1 / f' of a
        if not (np.abs(step) > 4 * np.finfo(np.float64).eps * size).any():
            break
    return a


Elementwise = Callable[[Array, float], Array]
_ACTIVATIONS: dict[str, tuple[Elementwise, Elementwise, Elementwise]] = {
    "leaky-softplus": (leaky_softplus, leaky_softplus_slope, inverse_leaky_softplus),
    "leaky-relu": (leaky_relu, leaky_relu_slope, inverse_leaky_relu),
    "leaky-tanh": (leaky_tanh, leaky_tanh_slope, inverse_leaky_tanh),
}


@dataclass(frozen=True)
class Activation:
    """f of one name (one of `weights.ACTIVATIONS`) and one alpha, elementwise."""

    name: str
    alpha: float

    @classmethod
    def of(cls, weights: LUNetWeights) -> Self:
        """That between the blocks of these weights."""
        return cls(weights.activation, weights.alpha)

    @property
    def kinked(self) -> bool:
        """The slope jumps, from alpha to 1 at 0."""
        return self.name == "leaky-relu"

    def __call__(self, a: Array) -> Array:
        """f(a)."""
        return _ACTIVATIONS[self.name][0](a, self.alpha)

    def slope(self, a: Array) -> Array:
        """f'(a)."""
        return _ACTIVATIONS[self.name][1](a, self.alpha)

    def inverse(self, h: Array) -> Array:
        """The a with f(a) = h."""
        return _ACTIVATIONS[self.name][2](h, self.alpha)


def encode(
    weights: LUNetWeights, x: Array, on_activation: Callable[[int, Array], None] = lambda number, a: None
) -> tuple[Array, Array]:
    """x -> (z, log_det). `on_activation(m, a_m)` sees what enters the activation behind block m = 1 .. M - 1."""
    f = Activation.of(weights)
    h, log_det = logit(x, weights.preprocessing) if weights.preprocessing else (x, np.zeros(len(x)))
    for number, block in enumerate(weights.blocks):
        if number:
            on_activation(number, h)
            log_det = log_det + np.log(f.slope(h)).sum(axis=1)
            h = f(h)
        log_det = log_det + log_abs_det(block)
        h = affine(h, block)
    return h, log_det


def decode(weights: LUNetWeights, z: Array) -> Array:
    """z -> x, not clamped."""
    f, h = Activation.of(weights), z
    for block in reversed(weights.blocks[1:]):
        h = f.inverse(inverse_affine(h, block))
    h = inverse_affine(h, weights.blocks[0])
    return inverse_logit(h, weights.preprocessing) if weights.preprocessing else h
