"""Two-dimensional sets drawn from a seed: no files."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lunet_export.data.dataset import Dataset

Array = NDArray[np.float64]

_TRAIN, _VALID, _TEST = 8000, 1000, 10000
#: Centres of the paper's mixture (scikit-learn's make_blobs with random_state=1 and four centres), std 0.2.
_MIXTURE_CENTRES = np.array(
    [[-1.65955991, 4.40648987], [-9.9977125, -3.95334855], [-7.06488218, -8.1532281], [-6.27479577, -3.08878546]]
)


_EIGHT_CENTRES = 2.0 * np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], axis=1)
_BLOB_STD, _MOON_STD = 0.2, 0.1
_NODES = 200  # of the quadrature along a moon: 0.016 apart, where the noise is 0.1 wide


def _mixture(rng: Generator, n: int) -> Array:
    return _MIXTURE_CENTRES[rng.integers(4, size=n)] + _BLOB_STD * rng.standard_normal((n, 2))


def _eight_gaussians(rng: Generator, n: int) -> Array:
    return _EIGHT_CENTRES[rng.integers(8, size=n)] + _BLOB_STD * rng.standard_normal((n, 2))


def _moons(angle: Array, second: NDArray[np.integer]) -> Array:
    """Points on the upper arc, or the lower one where `second`, at the angles in [0, pi]: (n,) -> (n, 2)."""
    x = np.where(second, 1 - np.cos(angle), np.cos(angle))
    y = np.where(second, 0.5 - np.sin(angle), np.sin(angle))
    return np.stack([x, y], axis=1)


def _two_moons(rng: Generator, n: int) -> Array:
    angle, second = np.pi * rng.random(n), rng.integers(2, size=n)
    return _moons(angle, second) + _MOON_STD * rng.standard_normal((n, 2))


DENSITIES: dict[str, Callable[[Generator, int], Array]] = {
    "mixture": _mixture,
    "eight-gaussians": _eight_gaussians,
    "two-moons": _two_moons,
}


def log_density(name: str, x: Array) -> Array:
    """The log of the density that the named set is drawn from, in nats, (N, 2) -> (N,).

    Each is sum_i w_i N(x; c_i, std^2 I); along a moon the sum is Gauss-Legendre quadrature over its angle.
    """
    if name == "two-moons":
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        angle = np.tile(np.pi / 2 * (nodes + 1), 2)
        centres, std = _moons(angle, np.repeat([0, 1], _NODES)), _MOON_STD
        log_weights = np.log(np.tile(weights, 2) / 4)
    else:
        centres, std = (_MIXTURE_CENTRES if name == "mixture" else _EIGHT_CENTRES), _BLOB_STD
        log_weights = np.full(len(centres), -np.log(len(centres)))
    square = sum((x[:, None, axis] - centres[None, :, axis]) ** 2 for axis in range(2))
    terms = log_weights - square / (2 * std**2) - np.log(2 * np.pi * std**2)
    return np.logaddexp.reduce(terms, axis=1)


def load(name: str) -> Dataset:
    """The named set: 8000 training, 1000 validation and 10000 test points, always the same."""
    rng = np.random.default_rng(0)
    train, valid, test = (DENSITIES[name](rng, n) for n in (_TRAIN, _VALID, _TEST))
    return Dataset(name, train, valid, test)
