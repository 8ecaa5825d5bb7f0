"""Triangular matrices folded in float64 before the cast, and solves unrolled over tiles.

Everything here adds and multiplies element by element in a fixed order, without BLAS, so that the same weights give
the same bytes on every machine.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.weights import LUBlock

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


def solve_lower(g: GraphBuilder, parts: Sequence[Value], block: LUBlock, ranges: Sequence[slice]) -> list[Value]:
    """y with L y = z - b by forward substitution, tile by tile.

    y_i = L_ii^-1 (z_i - sum_{j<i} L_ij y_j) - L_ii^-1 b_i: one Gemm for the sum, one for the diagonal tile.
    """
    solved: list[Value] = []
    known = ""
    for i, here in enumerate(ranges):
        before = slice(0, here.start)
        right = g.gemm(known, block.lower[here, before], parts[i], alpha=-1.0) if i else parts[i]
        inverse = inverse_lower(block.lower[here, here])
        bias = -(inverse * block.bias[here]).sum(axis=1)
        solved.append(g.gemm(right, inverse, bias))
        if i + 1 < len(ranges):
            known = g.concat([known, solved[-1]]) if i else solved[-1]
    return solved


def solve_upper(g: GraphBuilder, parts: Sequence[Value], block: LUBlock, ranges: Sequence[slice]) -> list[Value]:
    """h with U h = y by back substitution, tile by tile from the last."""
    solved: list[Value] = []
    known = ""
    for i in reversed(range(len(ranges))):
        here, after = ranges[i], slice(ranges[i].stop, None)
        right = g.gemm(known, block.upper[here, after], parts[i], alpha=-1.0) if solved else parts[i]
        inverse = inverse_upper(block.upper[here, here])
        solved.insert(0, g.gemm(right, inverse))
        if i:
            known = g.concat([solved[0], known]) if known else solved[0]
    return solved
