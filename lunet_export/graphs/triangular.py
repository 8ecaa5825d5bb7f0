"""Triangular matrices folded in float64 before the cast.

Everything here adds and multiplies element by element in a fixed order, without BLAS, so that the same weights give
the same bytes on every machine.
"""

import numpy as np
from numpy.typing import NDArray

from lunet_export.lu import LUBlock

Array = NDArray[np.float64]


def product(lower: Array, upper: Array) -> Array:
    """L U for triangular factors."""
    result = np.zeros_like(lower)
    for k in range(len(lower)):
        result[k:, k:] += lower[k:, k, None] * upper[k, None, k:]
    return result


def reversed_product(upper: Array, lower: Array) -> Array:
    """U L for triangular factors."""
    result = np.zeros_like(lower)
    for k in range(len(lower)):
        result[: k + 1, : k + 1] += upper[: k + 1, k, None] * lower[k, None, : k + 1]
    return result


def inverse_lower(lower: Array) -> Array:
    """L^-1 by forward substitution."""
    result = np.eye(len(lower))
    for k in range(len(lower)):
        result[k] /= lower[k, k]
        result[k + 1 :, : k + 1] -= lower[k + 1 :, k, None] * result[k, None, : k + 1]
    return result


def inverse_upper(upper: Array) -> Array:
    """U^-1 by back substitution: the reversed matrix is lower triangular."""
    return inverse_lower(upper[::-1, ::-1])[::-1, ::-1]


def tiles(dim: int, tile: int) -> list[slice]:
    """Consecutive index ranges of at most `tile`."""
    return [slice(start, min(start + tile, dim)) for start in range(0, dim, tile)]


def rescaled(block: LUBlock, *, scale: float = 1.0, shift: float = 0.0, offset: float = 0.0) -> LUBlock:
    """The block whose solution is scale h + shift, when it is given z - offset in place of z.

    With U' = U / scale: L U' (scale h + shift) + b - L U' shift - offset = z - offset.
    """
    upper = block.upper / scale
    moved = (block.lower * (upper.sum(axis=1) * shift)).sum(axis=1)
    return LUBlock(block.lower, upper, block.bias - moved - offset)
