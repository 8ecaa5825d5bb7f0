"""The judge of every other implementation, in plain float64 NumPy: what all families share.

    log p(x) = -D/2 log(2 pi) - |z|^2 / 2 + log|det dz/dx|   [nats]

with z and log|det dz/dx| of `encode`, which each family spells in its own `reference.py`.

One network a class, with C classes and priors pi_c:
    log p(x) = log sum_c pi_c p_c(x)   [nats],    p(c | x) = pi_c p_c(x) / p(x)

x (N, D) data, z (N, D) latent, log_det (N,) of the map from data to latent. Nothing here is fast.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lunet_export.distribution import Mixture
from lunet_export.family import family_of
from lunet_export.preprocessing import Logit
from lunet_export.weights import Weights

Array = NDArray[np.float64]


def standard_normal_log_prob(z: Array) -> Array:
    """log N(z; 0, I) in nats, (N, D) -> (N,)."""
    return -0.5 * (z.shape[1] * np.log(2 * np.pi) + (z**2).sum(axis=1))


def softplus(a: Array) -> Array:
    """log(1 + e^a), without overflow."""
    return np.logaddexp(0.0, a)


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


def encode(weights: Weights, x: Array) -> tuple[Array, Array]:
    """x (N, D) -> z (N, D), log|det dz/dx| (N,) in nats, pre-processing included."""
    return family_of(weights).reference.encode(weights, x)


def decode(weights: Weights, z: Array) -> Array:
    """z (N, D) -> x (N, D), not clamped."""
    return family_of(weights).reference.decode(weights, z)


def log_prob(weights: Weights, x: Array) -> Array:
    """log p(x) in nats, (N, D) -> (N,)."""
    z, log_det = encode(weights, x)
    return standard_normal_log_prob(z) + log_det


def class_log_prob(mixture: Mixture[Weights], x: Array) -> Array:
    """log p_c(x) in nats for every class, (N, D) -> (N, C)."""
    return np.stack([log_prob(network, x) for network in mixture.components], axis=1)


def mixture_log_prob(class_log_prob: Array, priors: Sequence[float]) -> Array:
    """log sum_c pi_c p_c in nats from log p_c, (N, C) -> (N,)."""
    return np.logaddexp.reduce(class_log_prob + np.log(priors), axis=1)


def posterior(class_log_prob: Array, priors: Sequence[float]) -> Array:
    """p(c | x) from log p_c, (N, C) -> (N, C); rows sum to 1. Its argmax is Bayes classification."""
    joint = class_log_prob + np.log(priors)
    share = np.exp(joint - joint.max(axis=1, keepdims=True))
    return share / share.sum(axis=1, keepdims=True)
