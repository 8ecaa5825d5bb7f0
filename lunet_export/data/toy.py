"""Two-dimensional data sets drawn from a seed, without files."""

from collections.abc import Callable
from functools import cache

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
_NODES = 200  # nodes of the quadrature along a moon, 0.016 apart for noise 0.1 wide, and around a ring
_RING_CENTRES = np.array([[-2.2, 0.5], [0.0, 0.5], [2.2, 0.5], [-1.1, -0.6], [1.1, -0.6]])  # of radius 1
_RING_STD, _ROSE_STD, _TREE_STD = 0.08, 0.05, 0.03
_ROSE_NODES = 2000  # at most 0.025 apart
_TREE_LEVELS = 7
_CHUNK = 500


def _mixture(rng: Generator, n: int) -> Array:
    return _MIXTURE_CENTRES[rng.integers(4, size=n)] + _BLOB_STD * rng.standard_normal((n, 2))


def _eight_gaussians(rng: Generator, n: int) -> Array:
    return _EIGHT_CENTRES[rng.integers(8, size=n)] + _BLOB_STD * rng.standard_normal((n, 2))


def _moons(angle: Array, second: NDArray[np.integer]) -> Array:
    """Return points on the upper arc, or the lower one where `second`, at the angles in [0, pi]: (n,) -> (n, 2)."""
    x = np.where(second, 1 - np.cos(angle), np.cos(angle))
    y = np.where(second, 0.5 - np.sin(angle), np.sin(angle))
    return np.stack([x, y], axis=1)


def _two_moons(rng: Generator, n: int) -> Array:
    angle, second = np.pi * rng.random(n), rng.integers(2, size=n)
    return _moons(angle, second) + _MOON_STD * rng.standard_normal((n, 2))


def _rings(rng: Generator, n: int) -> Array:
    angle = 2 * np.pi * rng.random(n)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _RING_CENTRES[rng.integers(5, size=n)] + circle + _RING_STD * rng.standard_normal((n, 2))


def _petals(angle: Array) -> Array:
    """Return points of r = 2 cos 4 theta, eight petals: (n,) -> (n, 2)."""
    return 2 * np.cos(4 * angle)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _rose(rng: Generator, n: int) -> Array:
    return _petals(2 * np.pi * rng.random(n)) + _ROSE_STD * rng.standard_normal((n, 2))


@cache
def _branches() -> tuple[Array, Array, Array]:
    """Return start, end and length of the segments of a binary tree: each level is 0.7 as long and turns 25 degrees."""
    turn, found, level = np.deg2rad(25.0), [], [(np.array([0.0, -1.5]), np.pi / 2, 1.0)]
    for _ in range(_TREE_LEVELS):
        following = []
        for start, angle, length in level:
            end = start + length * np.array([np.cos(angle), np.sin(angle)])
            found.append((start, end))
            following += [(end, angle + turn, 0.7 * length), (end, angle - turn, 0.7 * length)]
        level = following
    starts, ends = (np.stack(column) for column in zip(*found, strict=True))
    return starts, ends, np.sqrt(((ends - starts) ** 2).sum(axis=1))


def _tree(rng: Generator, n: int) -> Array:
    starts, ends, lengths = _branches()
    number, along = rng.choice(len(lengths), size=n, p=lengths / lengths.sum()), rng.random(n)[:, None]
    return starts[number] * (1 - along) + ends[number] * along + _TREE_STD * rng.standard_normal((n, 2))


def _checkerboard(rng: Generator, n: int) -> Array:
    x, y = 4 * rng.random(n) - 2, rng.random(n) - 2 * rng.integers(2, size=n)
    return np.stack([x, y + np.floor(x) % 2], axis=1)


DENSITIES: dict[str, Callable[[Generator, int], Array]] = {
    "mixture": _mixture,
    "eight-gaussians": _eight_gaussians,
    "two-moons": _two_moons,
    "checkerboard": _checkerboard,
    "rings": _rings,
    "rose": _rose,
    "tree": _tree,
}


def _moon_nodes() -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    angle = np.tile(np.pi / 2 * (nodes + 1), 2)
    return _moons(angle, np.repeat([0, 1], _NODES)), np.tile(weights, 2) / 4


def _ring_nodes() -> tuple[Array, Array]:
    angle = 2 * np.pi * np.arange(_NODES) / _NODES
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _uniform((_RING_CENTRES[:, None] + circle).reshape(-1, 2))


def _tree_nodes() -> tuple[Array, Array]:
    """Return Gauss-Legendre nodes along each segment, about half the noise's width apart, and their weights."""
    centres, weights = [], []
    starts, ends, lengths = _branches()
    for start, end, length in zip(starts, ends, lengths, strict=True):
        nodes, shares = np.polynomial.legendre.leggauss(8 + int(2 * length / _TREE_STD))
        along = (nodes[:, None] + 1) / 2
        centres.append(start * (1 - along) + end * along)
        weights.append(shares / 2 * length / lengths.sum())
    return np.concatenate(centres), np.concatenate(weights)


def _uniform(centres: Array) -> tuple[Array, Array]:
    return centres, np.full(len(centres), 1 / len(centres))


#: For each set that is a sum of normal distributions: centres (C, 2), weights (C,) and standard deviation.
_NORMAL: dict[str, tuple[Callable[[], tuple[Array, Array]], float]] = {
    "mixture": (lambda: _uniform(_MIXTURE_CENTRES), _BLOB_STD),
    "eight-gaussians": (lambda: _uniform(_EIGHT_CENTRES), _BLOB_STD),
    "two-moons": (_moon_nodes, _MOON_STD),
    "rings": (_ring_nodes, _RING_STD),
    "rose": (lambda: _uniform(_petals(2 * np.pi * np.arange(_ROSE_NODES) / _ROSE_NODES)), _ROSE_STD),
    "tree": (_tree_nodes, _TREE_STD),
}


def log_density(name: str, x: Array) -> Array:
    """Return the log of the density that the named set is drawn from, in nats, (N, 2) -> (N,).

    Most densities are sum_i w_i N(x; c_i, std^2 I). For a set along a curve, the sum is a quadrature over the curve's
    parameter, exact to rounding. The checkerboard is uniform on its eight squares; its log is -inf outside.
    """
    if name == "checkerboard":
        square, shifted = np.floor(x[:, 0]), x[:, 1] - np.floor(x[:, 0]) % 2
        inside = (np.abs(square + 0.5) < 2) & (((shifted >= 0) & (shifted < 1)) | ((shifted >= -2) & (shifted < -1)))
        return np.where(inside, -np.log(8.0), -np.inf)
    nodes, std = _NORMAL[name]
    centres, weights = nodes()
    log_weights = np.log(weights) - np.log(2 * np.pi * std**2)
    found = []
    for start in range(0, len(x), _CHUNK):
        part = x[start : start + _CHUNK]
        distance = sum((part[:, None, axis] - centres[None, :, axis]) ** 2 for axis in range(2))
        terms = log_weights - distance / (2 * std**2)
        largest = terms.max(axis=1, keepdims=True)
        found.append(largest[:, 0] + np.log(np.exp(terms - largest).sum(axis=1)))
    return np.concatenate(found) if found else np.empty(0)


def load(name: str) -> Dataset:
    """Load the named set: 8000 training, 1000 validation and 10000 test points, always the same."""
    rng = np.random.default_rng(0)
    train, valid, test = (DENSITIES[name](rng, n) for n in (_TRAIN, _VALID, _TEST))
    return Dataset(name, train, valid, test)
