"""The linear layer that LU flows share, h -> L (U h) + b, in plain float64 NumPy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LUBlock:
    """One linear layer x -> L (U x) + b (LU-Net: arXiv 2302.10524, section 3).

    Shapes: lower (D, D), upper (D, D), both with non-zero diagonals, bias (D,). LU-Net's L has a unit diagonal.
    """

    lower: Array
    upper: Array
    bias: Array


def affine(h: Array, block: LUBlock) -> Array:
    """L (U h) + b for every row."""
    return h @ block.upper.T @ block.lower.T + block.bias


def inverse_affine(a: Array, block: LUBlock) -> Array:
    """U^-1 (L^-1 (a - b)) for every row, by substitution."""
    dim, y = block.bias.shape[0], (a - block.bias).T.copy()
    for i in range(dim):
        y[i] = (y[i] - block.lower[i, :i] @ y[:i]) / block.lower[i, i]
    for i in reversed(range(dim)):
        y[i] = (y[i] - block.upper[i, i + 1 :] @ y[i + 1 :]) / block.upper[i, i]
    return y.T


def log_abs_det(block: LUBlock) -> float:
    """log|det L U| in nats."""
    return float(np.log(np.abs(np.diag(block.lower))).sum() + np.log(np.abs(np.diag(block.upper))).sum())


def refuse(block: LUBlock, dim: int, where: str) -> None:
    """Raise unless the block is an invertible layer of `dim` dimensions.

    Raises:
        CheckpointError: A shape does not fit, a number is not finite, L or U is not triangular, or a diagonal entry of
            either is 0.
    """
    shapes = (block.lower.shape, block.upper.shape, block.bias.shape)
    if shapes != ((dim, dim), (dim, dim), (dim,)):
        raise CheckpointError(
            f"Expected L, U and bias of shapes ({dim}, {dim}), ({dim}, {dim}) and ({dim},) in {where}; got "
            f"{', '.join(map(str, shapes))}. Every block must have the width of the first."
        )
    for name, array in (("L", block.lower), ("U", block.upper), ("bias", block.bias)):
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            raise CheckpointError(
                f"Expected finite numbers in {name} of {where}; got {array[tuple(bad[0])]} at "
                f"{_place(bad[0])}. The training diverged or the file is damaged; use an earlier checkpoint."
            )
    if np.tril(block.upper, -1).any() or np.triu(block.lower, 1).any():
        raise CheckpointError(f"Expected L lower and U upper triangular in {where}; got entries on the other side.")
    for name, array in (("L", block.lower), ("U", block.upper)):
        zeros = np.flatnonzero(np.diag(array) == 0.0)
        if len(zeros):
            raise CheckpointError(
                f"Expected a non-zero diagonal in {name} of {where}; got 0 at position {zeros[0]}. "
                "Such a map has no inverse; use another checkpoint."
            )


def _place(index: Sequence[int]) -> str:
    return "[" + ", ".join(str(int(i)) for i in index) + "]"
