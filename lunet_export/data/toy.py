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


def _mixture(rng: Generator, n: int) -> Array:
    return _MIXTURE_CENTRES[rng.integers(4, size=n)] + 0.2 * rng.standard_normal((n, 2))


def _eight_gaussians(rng: Generator, n: int) -> Array:
    angle = rng.integers(8, size=n) * np.pi / 4
    return 2.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.2 * rng.standard_normal((n, 2))


def _two_moons(rng: Generator, n: int) -> Array:
    angle, second = np.pi * rng.random(n), rng.integers(2, size=n)
    x = np.where(second, 1 - np.cos(angle), np.cos(angle))
    y = np.where(second, 0.5 - np.sin(angle), np.sin(angle))
    return np.stack([x, y], axis=1) + 0.1 * rng.standard_normal((n, 2))


DENSITIES: dict[str, Callable[[Generator, int], Array]] = {
    "mixture": _mixture,
    "eight-gaussians": _eight_gaussians,
    "two-moons": _two_moons,
}


def load(name: str) -> Dataset:
    """The named set: 8000 training, 1000 validation and 10000 test points, always the same."""
    rng = np.random.default_rng(0)
    train, valid, test = (DENSITIES[name](rng, n) for n in (_TRAIN, _VALID, _TEST))
    return Dataset(name, train, valid, test)
