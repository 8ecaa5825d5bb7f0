"""The reference for every other implementation, in plain float64 NumPy: the layers of a chain, without errors.

    log p(x) = -D/2 log(2 pi) - |z|^2 / 2 + log|det dz/dx|   [nats]

One network per class, with C classes and priors pi_c:
    log p(x) = log sum_c pi_c p_c(x)   [nats],    p(c | x) = pi_c p_c(x) / p(x)

x (N, D) data, z (N, D) latent, log_det (N,) of the map from data to latent. A conditional flow takes a context too,
(N, C), or (1, C) for all rows. Nothing here is fast.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lunet_export.distribution import Distribution, Mixture
from lunet_export.layers import Chain, Velocity
from lunet_export.layers.chain import Passage
from lunet_export.preprocessing import inverse_logit, logit

Array = NDArray[np.float64]


def standard_normal_log_prob(z: Array) -> Array:
    """Return log N(z; 0, I) in nats, (N, D) -> (N,)."""
    return -0.5 * (z.shape[1] * np.log(2 * np.pi) + (z**2).sum(axis=1))


def behind_logit(chain: Chain, x: Array) -> tuple[Array, Array]:
    """Return x (N, D) behind the pre-processing, and its log|det| (N,)."""
    return logit(x, chain.preprocessing) if chain.preprocessing else (x, np.zeros(len(x)))


def before_logit(chain: Chain, h: Array) -> Array:
    """Return the x whose pre-processing is h (N, D), not clamped."""
    return inverse_logit(h, chain.preprocessing) if chain.preprocessing else h


def passages(chain: Chain, x: Array, context: Array | None = None) -> Iterator[Passage]:
    """Yield every layer with what enters and leaves it, for rows x (N, D) in data space."""
    return chain.passages(behind_logit(chain, x)[0], context=context)


def encode(chain: Chain, x: Array, context: Array | None = None) -> tuple[Array, Array]:
    """Return z (N, D) and log|det dz/dx| (N,) in nats for x (N, D), pre-processing included."""
    h, log_det = behind_logit(chain, x)
    found = chain.encode(h, context=context)
    return found.rows, log_det + found.log_det


def decode(chain: Chain, z: Array, context: Array | None = None) -> Array:
    """Return x (N, D) for z (N, D), not clamped."""
    return before_logit(chain, chain.decode(z, context=context))


def log_prob(chain: Chain, x: Array, context: Array | None = None) -> Array:
    """Return log p(x) in nats, or log p(x | c), (N, D) -> (N,)."""
    z, log_det = encode(chain, x, context)
    return standard_normal_log_prob(z) + log_det


def log_prob_estimate(chain: Chain, x: Array, probe: Array) -> Array:
    """Return log p(x) with every divergence estimated along the probes, x and probe (N, D) -> (N,) nats."""
    h, log_det = behind_logit(chain, x)
    for layer in chain.layers:
        if isinstance(layer, Velocity):
            h, term = layer.log_det_estimate(h, probe)
        else:
            h, term, _ = layer.forward(h)
        log_det = log_det + term
    return standard_normal_log_prob(h) + log_det


def class_log_prob(model: Distribution, x: Array) -> Array:
    """Return log p_c(x) in nats for every class of a mixture or of a context, (N, D) -> (N, C)."""
    if isinstance(model, Mixture):
        return np.stack([log_prob(network, x) for network in model.components], axis=1)
    assert model.context is not None
    return np.stack([log_prob(model, x, context) for context in np.eye(model.context.dim)], axis=1)


def mixture_log_prob(class_log_prob: Array, priors: Sequence[float]) -> Array:
    """Return log sum_c pi_c p_c in nats from log p_c, (N, C) -> (N,)."""
    return np.logaddexp.reduce(class_log_prob + np.log(priors), axis=1)


def posterior(class_log_prob: Array, priors: Sequence[float]) -> Array:
    """Return p(c | x) from log p_c, (N, C) -> (N, C); rows sum to 1. Its argmax is Bayes classification."""
    joint = class_log_prob + np.log(priors)
    share = np.exp(joint - joint.max(axis=1, keepdims=True))
    return share / share.sum(axis=1, keepdims=True)
