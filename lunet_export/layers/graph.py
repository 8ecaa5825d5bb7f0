"""The interface that a layer writes its nodes to: a graph under construction, and the rows on their way through it.

Both come as arguments, so no layer imports onnx. `lunet_export.graphs` implements them.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Value = str  # a tensor in the graph is known by its name

LARGEST_EXPONENT = 80.0  # e^80 = 5.5e34 is a float32


class Graph(Protocol):
    """This protocol is the part of `lunet_export.graphs.builder.GraphBuilder` that layers use."""

    @property
    def dim(self) -> int:
        """Return the number of dimensions D of the rows."""

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Return the dtype of every tensor."""

    def scope(self, name: str) -> AbstractContextManager[None]:
        """Open a scope; names made inside begin with `name.`."""

    def node(self, operator: str, *operands: Value | float, **attributes: Any) -> Value:  # noqa: ANN401
        """Add one node with one output, and return the output's name."""

    def constant(self, array: "ArrayLike", name: str, dtype: "DTypeLike | None" = None) -> Value:
        """Add a constant, rounded to the graph's dtype or the one given."""

    def cast(self, value: Value) -> Value:
        """Cast `value` to the graph's dtype: truth values become 1 and 0."""

    def matrix(self, weight: Array) -> Value:
        """Add a weight (out, in) for several calls of `gemm`, written once."""

    def gemm(
        self,
        rows: Value,
        weight: Value | Array,
        addend: Value | Array | None = None,
        *,
        alpha: float = 1.0,
        beta: float = 1.0,
    ) -> Value:
        """Add alpha rows weight^T + beta addend."""

    def split(self, rows: Value, sizes: Sequence[int], *, axis: int = 1) -> list[Value]:
        """Split the columns of `rows`, or another axis, into consecutive groups."""

    def concat(self, parts: Sequence[Value], *, axis: int = 1) -> Value:
        """Put groups of columns, or of another axis, side by side."""

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """Give `value` another shape; -1 stands for the remaining length."""

    def sum_columns(self, rows: Value, *, keep: bool = False, axis: int = 1) -> Value:
        """Sum over columns, [batch, dim] -> [batch], or [batch, 1] where the axis is kept; or over another axis."""


class Track(Protocol):
    """A track carries rows through the layers of a graph: the part of `graphs.track.Track` that layers use.

    Matrices, solves, permutations and elementwise affine maps are held back until something else needs the rows: a map
    that can be multiplied into its neighbour costs no node.
    """

    @property
    def g(self) -> Graph:
        """Return the graph that nodes are added to."""

    @property
    def context(self) -> Value | None:
        """Return the context as layers take it, [batch, width] or [1, width]; None where the flow takes none."""

    @property
    def probe(self) -> Value | None:
        """Return directions [batch, dim] along which divergences are estimated, or None where they are exact."""

    @property
    def wants_density(self) -> bool:
        """Return whether the graph sums log|det dz/dx| along this track."""

    def negated(self) -> AbstractContextManager[None]:
        """Count everything that is added to log|det dz/dx| inside with the opposite sign."""

    def product(self, weight: Array, bias: Array | None) -> None:
        """Replace the rows a by weight a + bias."""

    def solve(self, lower: Array, upper: Array, bias: Array) -> None:
        """Replace the rows a by the h with L (U h) + b = a, by the solver of the export."""

    def permute(self, order: Indices) -> None:
        """Replace the rows a by a[:, order]."""

    def stretch(self, scale: Array | float, shift: Array | float) -> None:
        """Replace the rows a by scale a + shift, elementwise."""

    def displace(self, source: Value, weight: Array | None) -> None:
        """Replace the rows a by a + weight n, or a + n, with n [batch, K] or [1, K] that depends on the context alone.

        It costs nothing per row where a product comes before or behind it: the product adds it.
        """

    def rows(self) -> Value:
        """Return the rows as one tensor [batch, dim]."""

    def apart(self) -> tuple[Value, Array]:
        """Return the rows as a tensor and an offset (D,) still to be added, for a layer that absorbs it at no cost."""

    def front(self, widths: Sequence[int]) -> list[Value]:
        """Return the first columns in groups of these widths; the other columns stay behind them."""

    def replace(self, *values: Value) -> None:
        """Replace all rows by one tensor [batch, dim], or the first groups by these tensors."""

    def slope(self, value: Value, least: float, most: float) -> None:
        """Add the logarithms of slopes [batch, dim] within [least, most] to log|det dz/dx|."""

    def log_slope(self, value: Value, width: int, constant: float = 0.0) -> None:
        """Add terms [batch, width] and a number to log|det dz/dx|."""

    def weighted(self, value: Value, weights: Array) -> None:
        """Add terms [batch, width] times `weights` (width,) to log|det dz/dx|."""

    def constant(self, value: float) -> None:
        """Add a number in nats to log|det dz/dx|."""


@dataclass(frozen=True)
class Exponential:
    """These are w = e^min(x, 80) and t = 1 + w."""

    w: Value
    t: Value


def exponential(g: Graph, x: Value, *, least: float | None = None) -> Exponential:
    """Write the parts that softplus and sigmoid of x are made of: softplus = max(x, log t), sigmoid = w / t.

    ONNX Runtime's CPU Softplus is slow and its float32 Sigmoid is 17 % wrong at -15, so both come from one exponential.
    Above 80 the maximum takes x itself; far below, w is 0. Nothing overflows and nothing is NaN. With `least`, w is at
    least e^least: processors take ten times as long over numbers that are denormal.
    """
    bounded = g.node("Min", x, LARGEST_EXPONENT) if least is None else g.node("Clip", x, least, LARGEST_EXPONENT)
    w = g.node("Exp", bounded)
    return Exponential(w, g.node("Add", w, 1.0))


def gathered(g: Graph, rows: Value, columns: Indices, name: str = "columns") -> Value:
    """Write a selection of the columns of `rows`."""
    return g.node("Gather", rows, g.constant(columns, name), axis=1)
