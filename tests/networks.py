"""Random networks with a known condition number, shared by all tests."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lunet_export.checks import reference
from lunet_export.distribution import Mixture
from lunet_export.flows import lunet
from lunet_export.layers import LU, Chain, LeakySoftplus
from lunet_export.preprocessing import NAMED, Logit

PAPERS = LeakySoftplus(0.1)


def network(
    dim: int,
    blocks: int,
    *,
    alpha: float | Sequence[float | np.ndarray] = 0.1,
    activation: str = "leaky-softplus",
    preprocessing: Logit | None = None,
    seed: int = 0,
    off_diagonal: float = 0.3,
) -> Chain:
    """Signed diagonals in [0.5, 1.5], off-diagonal entries small enough that solves stay well conditioned."""
    rng = np.random.default_rng(seed)

    def block() -> LU:
        noise = off_diagonal * rng.standard_normal((2, dim, dim)) / np.sqrt(dim)
        diagonal = rng.choice([-1.0, 1.0], dim) * rng.uniform(0.5, 1.5, dim)
        return LU(
            np.tril(noise[0], -1) + np.eye(dim), np.triu(noise[1], 1) + np.diag(diagonal), rng.standard_normal(dim)
        )

    return lunet(tuple(block() for _ in range(blocks)), alpha, preprocessing, activation)


def several_alphas(dim: int, activations: int) -> list[np.ndarray]:
    """One alpha per unit, for each activation."""
    return list(np.random.default_rng(0).uniform(0.05, 0.95, (activations, dim)))


#: Names that no file could have, and priors that are no round binary fractions.
CLASS_NAMES, PRIORS = ("T-shirt/top", "b, c", "8"), (0.5, 0.3, 0.2)


def mixture(dim: int, blocks: int, *, preprocessing: Logit | None = None) -> Mixture:
    """Three such networks, apart enough to classify by and near enough to err."""
    networks = tuple(network(dim, blocks, preprocessing=preprocessing, seed=seed) for seed in range(3))
    return Mixture(networks, CLASS_NAMES, PRIORS)


def far_out() -> Chain:
    """Rows of two numbers in the tens of thousands: those of latents from the tails are beyond float16's 65504."""
    weights = network(2, 3)
    first, *others = weights.of(LU)
    return weights.with_layers([replace(first, upper=4e-4 * first.upper), *others])


def rows(weights: Chain | Mixture, n: int, *, seed: int = 1) -> np.ndarray:
    """Rows in the domain of the density: uniform grey levels, normal numbers, or rows of the model."""
    rng = np.random.default_rng(seed)
    p = weights.preprocessing
    if getattr(weights, "domain", None):
        flow = getattr(weights, "components", (weights,))[0]
        return reference.decode(flow, rng.standard_normal((n, weights.dim)))
    return rng.uniform(0, p.levels, (n, weights.dim)) if p else rng.standard_normal((n, weights.dim))


#: One table for graphs, export, runtime and parity: a new case joins all their tests with one line.
NETWORKS = {
    "plane, 3 blocks": lambda: network(2, 3),
    "one dimension": lambda: network(1, 2),
    "one block": lambda: network(5, 1),
    "odd width": lambda: network(7, 4),
    "digits": lambda: network(64, 4, preprocessing=NAMED["digits"]),
    "images": lambda: network(36, 4, preprocessing=NAMED["images"]),
    "alpha 0.01": lambda: network(6, 4, alpha=0.01),
    "alpha 0.5": lambda: network(6, 4, alpha=0.5),
    "alpha 0.95": lambda: network(6, 4, alpha=0.95),
    "one block, alpha 0.5": lambda: network(3, 1, alpha=0.5),
    "42 blocks, alpha 0.9": lambda: network(2, 42, alpha=0.9, off_diagonal=0.1),
    "13 blocks, alpha 0.9999": lambda: network(3, 13, alpha=0.9999, off_diagonal=0.1),
    "17 blocks": lambda: network(4, 17, alpha=0.3),
    "leaky relu": lambda: network(6, 4, activation="leaky-relu"),
    "leaky relu on images, alpha 0.5": lambda: network(
        36, 4, alpha=0.5, activation="leaky-relu", preprocessing=NAMED["images"]
    ),
    "leaky squareplus": lambda: network(6, 4, activation="leaky-squareplus"),
    "leaky squareplus on images, alpha 0.05": lambda: network(
        36, 4, alpha=0.05, activation="leaky-squareplus", preprocessing=NAMED["images"]
    ),
    "leaky squareplus, an alpha per unit": lambda: network(
        6,
        4,
        alpha=[np.random.default_rng(seed).uniform(0.05, 0.95, 6) for seed in range(3)],
        activation="leaky-squareplus",
    ),
    "leaky relu, an alpha per unit": lambda: network(6, 4, alpha=several_alphas(6, 3), activation="leaky-relu"),
    "leaky softplus, an alpha per layer": lambda: network(6, 4, alpha=[0.05, 0.3, 0.7]),
    "leaky tanh": lambda: network(6, 4, activation="leaky-tanh"),
    "leaky tanh on images, alpha 0.05": lambda: network(
        36, 4, alpha=0.05, activation="leaky-tanh", preprocessing=NAMED["images"]
    ),
}
