"""Triangular matrices in float64: solved by substitution, and folded before a cast.

Folding adds and multiplies element by element in a fixed order, without BLAS, so that the same weights give the same
bytes on every machine.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TILE = 32  # rows of a substitution


def product(lower: Array, upper: Array) -> Array:
    """Return L U for triangular factors."""
    result = np.zeros_like(lower)
    for k in range(len(lower)):
        result[k:, k:] += lower[k:, k, None] * upper[k, None, k:]
    return result


def reversed_product(upper: Array, lower: Array) -> Array:
    """Return U L for triangular factors."""
    result = np.zeros_like(lower)
    for k in range(len(lower)):
        result[: k + 1, : k + 1] += upper[: k + 1, k, None] * lower[k, None, : k + 1]
    return result


def inverse_lower(lower: Array) -> Array:
    """Return L^-1 by forward substitution."""
    result = np.eye(len(lower))
    for k in range(len(lower)):
        result[k] /= lower[k, k]
        result[k + 1 :, : k + 1] -= lower[k + 1 :, k, None] * result[k, None, : k + 1]
    return result


def inverse_upper(upper: Array) -> Array:
    """Return U^-1 by back substitution: the reversed matrix is lower triangular."""
    return inverse_lower(upper[::-1, ::-1])[::-1, ::-1]


def tiles(dim: int, tile: int) -> list[slice]:
    """Return consecutive index ranges of at most `tile`."""
    return [slice(start, min(start + tile, dim)) for start in range(0, dim, tile)]


def solve_lower(lower: Array, rows: Array) -> Array:
    """Return y with L y = a for every row a (N, D), by forward substitution, tile by tile."""
    y = rows.T.copy()
    for tile in tiles(len(y), _TILE):
        y[tile] -= lower[tile, : tile.start] @ y[: tile.start]
        for i in range(tile.start, tile.stop):
            y[i] = (y[i] - lower[i, tile.start : i] @ y[tile.start : i]) / lower[i, i]
    return y.T


def solve_upper(upper: Array, rows: Array) -> Array:
    """Return h with U h = y for every row y (N, D), by back substitution: the reversed matrix is lower triangular."""
    return solve_lower(upper[::-1, ::-1], rows[:, ::-1])[:, ::-1]
