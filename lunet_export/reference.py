"""LU-Net in plain float64 NumPy: what the files mean, and the judge of every other implementation.

    h_0 = logit(x) or x,    a_m = L_m (U_m h_{m-1}) + b_m,    h_m = f(a_m) for m < M,    z = a_M
    f(a) = alpha a + (1 - alpha) log(1 + e^a)                                   (arXiv 2302.10524, section 3)
    log p(x) = -D/2 log(2 pi) - |z|^2 / 2 + sum_m log|det U_m| + sum_m sum log f'(a_m) + log|det dh_0/dx|   [nats]

One network a class, with C classes and priors pi_c:
    log p(x) = log sum_c pi_c p_c(x)   [nats],    p(c | x) = pi_c p_c(x) / p(x)

x (N, D) data, z (N, D) latent, log_det (N,) of the map in the direction it was applied. Nothing here is fast.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lunet_export.preprocessing import Logit
from lunet_export.weights import LUBlock, LUNetWeights, Mixture

Array = NDArray[np.float64]


def standard_normal_log_prob(z: Array) -> Array:
    """log N(z; 0, I) in nats, (N, D) -> (N,)."""
    return -0.5 * (z.shape[1] * np.log(2 * np.pi) + (z**2).sum(axis=1))


def softplus(a: Array) -> Array:
    """log(1 + e^a), without overflow."""
    return np.logaddexp(0.0, a)


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


def logit(x: Array, p: Logit) -> tuple[Array, Array]:
    """log s - log(1 - s) with s = (1 - a) x / levels + a / 2, and its log_det; 1 - s is spelled from levels - x."""
    scale = (1 - p.margin) / p.levels
    log_s, log_rest = np.log(scale * x + p.margin / 2), np.log(scale * (p.levels - x) + p.margin / 2)
    return log_s - log_rest, (np.log(scale) - log_s - log_rest).sum(axis=1)


def logit_slope(x: Array, p: Logit) -> Array:
    """d logit / dx = c / (s (1 - s)) with c = (1 - a) / levels, (N, D) -> (N, D)."""
    scale = (1 - p.margin) / p.levels
    return scale / ((scale * x + p.margin / 2) * (scale * (p.levels - x) + p.margin / 2))


def inverse_logit(h: Array, p: Logit) -> Array:
    """The x with logit(x) = h; outside [0, levels) where h is beyond the logits of the borders."""
    return p.levels / (1 - p.margin) * (np.exp(-softplus(-h)) - p.margin / 2)


def affine(h: Array, block: LUBlock) -> Array:
    """L (U h) + b for every row."""
    return h @ block.upper.T @ block.lower.T + block.bias


def inverse_affine(a: Array, block: LUBlock) -> Array:
    """U^-1 (L^-1 (a - b)) for every row, by substitution."""
    dim, y = block.bias.shape[0], (a - block.bias).T.copy()
    for i in range(dim):
        y[i] -= block.lower[i, :i] @ y[:i]
    for i in reversed(range(dim)):
        y[i] = (y[i] - block.upper[i, i + 1 :] @ y[i + 1 :]) / block.upper[i, i]
    return y.T


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
        log_det = log_det + np.log(np.abs(np.diag(block.upper))).sum()
        h = affine(h, block)
    return h, log_det


def decode(weights: LUNetWeights, z: Array) -> Array:
    """z -> x, not clamped."""
    h = z
    for block in reversed(weights.blocks[1:]):
        h = inverse_leaky_softplus(inverse_affine(h, block), weights.alpha)
    h = inverse_affine(h, weights.blocks[0])
    return inverse_logit(h, weights.preprocessing) if weights.preprocessing else h


def log_prob(weights: LUNetWeights, x: Array) -> Array:
    """log p(x) in nats, (N, D) -> (N,)."""
    z, log_det = encode(weights, x)
    return standard_normal_log_prob(z) + log_det


def class_log_prob(mixture: Mixture, x: Array) -> Array:
    """log p_c(x) in nats for every class, (N, D) -> (N, C)."""
    return np.stack([log_prob(network, x) for network in mixture.networks], axis=1)


def mixture_log_prob(class_log_prob: Array, priors: Sequence[float]) -> Array:
    """log sum_c pi_c p_c in nats from log p_c, (N, C) -> (N,)."""
    return np.logaddexp.reduce(class_log_prob + np.log(priors), axis=1)


def posterior(class_log_prob: Array, priors: Sequence[float]) -> Array:
    """p(c | x) from log p_c, (N, C) -> (N, C); rows sum to 1. Its argmax is Bayes classification."""
    joint = class_log_prob + np.log(priors)
    share = np.exp(joint - joint.max(axis=1, keepdims=True))
    return share / share.sum(axis=1, keepdims=True)
