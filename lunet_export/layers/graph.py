"""What a layer writes its nodes with: a graph under construction, and the rows on their way through it.

Both come as arguments, so no layer knows onnx. `lunet_export.graphs` has them.
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
    """What `lunet_export.graphs.builder.GraphBuilder` offers to layers."""

    @property
    def dim(self) -> int:
        """Number of dimensions D of the rows."""

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Of every tensor."""

    def scope(self, name: str) -> AbstractContextManager[None]:
        """Names made inside begin with `name.`."""

    def node(self, operator: str, *operands: Value | float, **attributes: Any) -> Value:  # noqa: ANN401
        """One node with one output; returns the output's name."""

    def constant(self, array: "ArrayLike", name: str, dtype: "DTypeLike | None" = None) -> Value:
        """A constant, rounded to the graph's dtype or the one given."""

    def cast(self, value: Value) -> Value:
        """`value` in the graph's dtype: truth values become 1 and 0."""

    def matrix(self, weight: Array) -> Value:
        """A weight (out, in) for several calls of `gemm`, written once."""

    def gemm(
        self,
        rows: Value,
        weight: Value | Array,
        addend: Value | Array | None = None,
        *,
        alpha: float = 1.0,
        beta: float = 1.0,
    ) -> Value:
        """alpha rows weight^T + beta addend."""

    def split(self, rows: Value, sizes: Sequence[int]) -> list[Value]:
        """The columns of `rows` in consecutive groups."""

    def concat(self, parts: Sequence[Value]) -> Value:
        """Groups of columns side by side."""

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """`value` in another shape; -1 is what is left."""

    def sum_columns(self, rows: Value, *, keep: bool = False) -> Value:
        """[batch, dim] -> [batch], or [batch, 1] where the axis is kept."""


class Track(Protocol):
    """Rows on their way through the layers of a graph: what `lunet_export.graphs.track.Track` offers to layers.

    Matrices, solves, permutations and elementwise affine maps are held back until something else needs the rows: what
    can be multiplied into its neighbour costs no node.
    """

    @property
    def g(self) -> Graph:
        """Where nodes go."""

    @property
    def probe(self) -> Value | None:
        """Directions [batch, dim] along which divergences are estimated; None: they are exact."""

    @property
    def wants_density(self) -> bool:
        """The graph sums log|det dz/dx| on this way."""

    def turned(self) -> AbstractContextManager[None]:
        """What is added to log|det dz/dx| inside counts with the other sign."""

    def product(self, weight: Array, bias: Array | None) -> None:
        """a -> weight a + bias."""

    def solve(self, lower: Array, upper: Array, bias: Array) -> None:
        """a -> the h with L (U h) + b = a, by the solver of the export."""

    def permute(self, order: Indices) -> None:
        """a -> a[:, order]."""

    def stretch(self, scale: Array | float, shift: Array | float) -> None:
        """a -> scale a + shift, elementwise."""

    def rows(self) -> Value:
        """All of it as a tensor [batch, dim]."""

    def apart(self) -> tuple[Value, Array]:
        """The rows as a tensor and what is to be added to it, (D,): for a layer that takes that in for nothing."""

    def front(self, widths: Sequence[int]) -> list[Value]:
        """The first columns in groups of these widths; the others stay behind them."""

    def replace(self, *values: Value) -> None:
        """Go on with other rows [batch, dim], or with others in the place of the first groups."""

    def slope(self, value: Value, least: float, most: float) -> None:
        """Slopes [batch, dim] within [least, most], whose logarithms belong to log|det dz/dx|."""

    def log_slope(self, value: Value, width: int, constant: float = 0.0) -> None:
        """Terms [batch, width] of log|det dz/dx|, and a number."""

    def weighted(self, value: Value, weights: Array) -> None:
        """Terms [batch, width] of log|det dz/dx| times `weights` (width,)."""

    def constant(self, value: float) -> None:
        """A number that belongs to log|det dz/dx|, in nats."""


@dataclass(frozen=True)
class Exponential:
    """w = e^min(x, 80) and t = 1 + w."""

    w: Value
    t: Value


def exponential(g: Graph, x: Value, *, least: float | None = None) -> Exponential:
    """The parts that softplus and sigmoid of x are made of: softplus = max(x, log t), sigmoid = w / t.

    ONNX Runtime's CPU Softplus is slow and its float32 Sigmoid is 17 % wrong at -15, so both come from one exponential.
    Above 80 the maximum takes x itself; far below, w is 0. Nothing overflows and nothing is NaN. With `least`, w is at
    least e^least: processors take ten times as long over numbers that are denormal.
    """
    bounded = g.node("Min", x, LARGEST_EXPONENT) if least is None else g.node("Clip", x, least, LARGEST_EXPONENT)
    w = g.node("Exp", bounded)
    return Exponential(w, g.node("Add", w, 1.0))


def gathered(g: Graph, rows: Value, columns: Indices, name: str = "columns") -> Value:
    """Some columns of rows."""
    return g.node("Gather", rows, g.constant(columns, name), axis=1)
