"""Starts of training: in closed form, or grown by `greedy`."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lunet_export.flows import lunet
from lunet_export.layers import LU, Activation, Chain
from lunet_export.training.gaussian import Gaussian

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

#: Mean of what enters an activation at the start. At 1 it is mostly in the steep branch, near the curvature; at 7 the
#: curvature is worth less than 1e-5 nats per dimension.
_SHIFTS = {"bend": 1.0, "whiten": 7.0, "identity": 1.0}

CLOSED = tuple(_SHIFTS)
INITS = (*CLOSED, "greedy")
SIGNS = ("alternating", "random", "positive")


def start(gaussian: Gaussian, *, init: str, blocks: int, f: Activation, seed: int, signs: str = "alternating") -> Chain:
    """Return the LU-Net of `blocks_of` with an activation whose inputs are shifted into its curved part, or out of it.

    Args:
        gaussian: Gaussian of the training rows.
        init: Name of the start.
            bend: The first block whitens the data, and the activations see their curvature (shift 1).
            whiten: The first block whitens the data, and the activations are almost affine (shift 7): the likelihood
                starts at the Gaussian's.
            identity: The first block divides by the standard deviation of each column and ignores correlations.
        blocks: Number of LU layers.
        f: Activation between them.
        seed: Random seed of the faint noise in the weights.
        signs: Signs of the diagonals of U, which training keeps. The activation is convex and increasing, so along a
            chain of positive diagonals a unit is convex in its own input however deep the network is: apart from what
            other units mix in, it can compress the left tail and nothing else.
            alternating: Negative in every block but the last. Convex and concave take turns; all can be compressed.
            random: Either sign with equal odds, except in the last block.
            positive: All positive.
    """
    found = blocks_of(gaussian, init=init, blocks=blocks, f=f.value, shift=_SHIFTS[init], seed=seed, signs=signs)
    return lunet(found, f.least, gaussian.preprocessing, f.option)


def blocks_of(
    gaussian: Gaussian, *, init: str, blocks: int, f: Function, shift: float, seed: int, signs: str = "alternating"
) -> list[LU]:
    """Return LU layers of which the later ones undo the functions' mean and scale, so that all see numbers of order 1.

    Let a be the standard normal input of a function between two layers. f(a + shift) has mean m and deviation s; the
    next layer maps it to (f - m) / s.

    Args:
        gaussian: Gaussian of the training rows.
        init: Name of the start, as `start` takes it.
        blocks: Number of LU layers.
        f: Function between them, elementwise.
        shift: Mean of what enters it.
        seed: Random seed of the faint noise in the weights.
        signs: Signs of the diagonals of U, as `start` takes them.
    """
    mean, deviation = _moments(f, shift)
    dim, rng, sign_rng = len(gaussian.mean), np.random.default_rng(seed), np.random.default_rng([seed, 1])
    first = np.diag(1 / gaussian.deviations()) if init == "identity" else gaussian.whiten
    inside = np.eye(dim) / deviation
    faint = 0.0 if init == "whiten" else 1.0 / dim
    result = []
    for number in range(blocks):
        jitter = faint * rng.standard_normal((2, dim, dim))  # makes all units differ; strong in 2-D, faint in 784-D
        lower = np.eye(dim) + np.tril(jitter[0], -1)
        faces = {"alternating": -np.ones(dim), "random": sign_rng.choice([-1.0, 1.0], dim), "positive": np.ones(dim)}
        sign = faces[signs] if number < blocks - 1 else np.ones(dim)
        upper = sign[:, None] * (np.eye(dim) + np.triu(jitter[1], 1)) @ (inside if number else first)
        centre = lower @ (upper @ (np.full(dim, mean) if number else gaussian.mean))
        result.append(LU(lower, upper, (shift if number < blocks - 1 else 0.0) - centre))
    return result


def _moments(f: Function, shift: float) -> tuple[float, float]:
    """Return the mean and standard deviation of f(a + shift) for a normal a, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    value = f(nodes + shift)
    mean = (weights * value).sum() / weights.sum()
    return mean, np.sqrt((weights * (value - mean) ** 2).sum() / weights.sum())
