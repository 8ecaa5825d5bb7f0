"""Linear layers in a row, held back until something else comes: most of them cost nothing in the graph."""

import numpy as np
from numpy.typing import NDArray

from lunet_export.graphs.builder import GraphBuilder, Value

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


class LinearRun:
    """Rows scale * (W h + b)[:, order] + shift, of which only h is in the graph yet; W may be missing.

    Permutations and elementwise affine maps are multiplied into the matrix in front of them or behind them in float64,
    before the cast. Two matrices are never multiplied with each other: each is one product of the graph.
    """

    def __init__(self, g: GraphBuilder, h: Value) -> None:
        self._g, self._h = g, h
        self._dim = g.dim
        self._matrix: tuple[Array, Array] | None = None
        self._order: Indices
        self._scale: Array
        self._shift: Array
        self._forget()

    def product(self, weight: Array, bias: Array) -> None:
        """a -> weight a + bias."""
        if self._matrix is not None:
            self.rows()
        folded = np.zeros_like(weight)
        folded[:, self._order] = weight * self._scale
        self._matrix = folded, (weight * self._shift).sum(axis=1) + bias
        self._forget()

    def permute(self, order: Indices) -> None:
        """a -> a[:, order]."""
        self._order, self._scale, self._shift = self._order[order], self._scale[order], self._shift[order]

    def stretch(self, scale: Array, shift: Array) -> None:
        """a -> scale a + shift."""
        self._scale, self._shift = self._scale * scale, self._shift * scale + shift

    def rows(self) -> Value:
        """All of it as a tensor of the graph."""
        g = self._g
        if self._matrix is not None:
            weight, bias = (part[self._order] for part in self._matrix)
            self._h = g.gemm(self._h, self._scale[:, None] * weight, self._scale * bias + self._shift)
        else:
            if not np.array_equal(self._order, np.arange(self._dim)):
                self._h = g.node("Gather", self._h, g.constant(self._order, "order"), axis=1)
            if (self._scale != 1.0).any():
                self._h = g.node("Mul", self._h, g.constant(self._scale, "scale"))
            if self._shift.any():
                self._h = g.node("Add", self._h, g.constant(self._shift, "shift"))
        self._matrix = None
        self._forget()
        return self._h

    def replace(self, h: Value) -> None:
        """Go on with other rows, [batch, dim]."""
        self._h, self._matrix = h, None
        self._forget()

    def _forget(self) -> None:
        self._order = np.arange(self._dim)
        self._scale, self._shift = np.ones(self._dim), np.zeros(self._dim)
