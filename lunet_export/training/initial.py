"""Where training starts: the Gaussian fit in the first block, activations kept standardised behind it."""

import numpy as np

from lunet_export import reference
from lunet_export.training.gaussian import Gaussian
from lunet_export.weights import LUBlock, LUNetWeights

_SHIFT = 1.0  # mean of what enters an activation: mostly its steep branch, with a bend in reach


def gaussian_start(gaussian: Gaussian, *, blocks: int, alpha: float, seed: int) -> LUNetWeights:
    """Weights whose first block whitens the data and whose later ones undo the activations' mean and scale.

    With a the standard normal input of an activation, f(a + shift) has mean m and deviation s under N(0, 1) by
    Gauss-Hermite quadrature; the next block maps it to (f - m) / s. So every activation sees numbers of order 1
    at the start, and the likelihood starts near the Gaussian's.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    value = reference.leaky_softplus(nodes + _SHIFT, alpha)
    mean = (weights * value).sum() / weights.sum()
    deviation = np.sqrt((weights * (value - mean) ** 2).sum() / weights.sum())

    dim, rng = len(gaussian.mean), np.random.default_rng(seed)
    result = []
    for number in range(blocks):
        jitter = rng.standard_normal((2, dim, dim)) / dim  # no two units begin alike; strong in 2-D, faint in 784-D
        shift = _SHIFT if number < blocks - 1 else 0.0
        if number == 0:
            upper, bias = gaussian.whiten, shift - gaussian.whiten @ gaussian.mean
        else:
            upper, bias = np.eye(dim) / deviation, np.full(dim, shift - mean / deviation)
        result.append(LUBlock(np.eye(dim) + np.tril(jitter[0], -1), upper + np.triu(jitter[1], 1), bias))
    return LUNetWeights(tuple(result), alpha, gaussian.preprocessing)
