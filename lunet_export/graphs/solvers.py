"""The ways to solve L (U h) + b = z with matrix products alone, written once for graphs and for NumPy.

| name | products per block | numbers stored per block |
|---|---|---|
| `rows` | forward and back substitution, one row at a time | D^2 + D |
| `unrolled` | the same over tiles of T rows, diagonal tiles inverted | D^2 + D T |
| `meeting` | T rows of L, then the rest of L and U in one product, then T rows of U | D^2 + T^2 |
| `inverse` | L^-1 and U^-1 | 2 D^2 (half of it zeros) |
| `fused` | (L U)^-1 | D^2 |

All inverses are taken in float64 before the cast. Substitution leaves a small residual in each triangle (Higham 2002,
section 8.1); `fused` leaves one in L U, which is better where L and U are much larger than their product. Inverted
diagonal tiles can lose what substitution keeps: `estimate` measures it for the model at hand.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import BadInputError
from lunet_export.layers import LU, triangular

Array = NDArray[np.float64]
V = TypeVar("V")

#: More tiles make too many nodes, with products too small to be worth a call.
_MOST_TILES = 32
SOLVERS = ("unrolled", "rows", "meeting", "inverse", "fused")


@dataclass(frozen=True)
class Solver:
    """A solver is one way to solve, with the tile size T if it has one."""

    name: str
    tile: int | None

    def __str__(self) -> str:
        return self.name if self.tile is None else f"{self.name} tile={self.tile}"


def choose(name: str, tile: int | None, dim: int) -> Solver:
    """Return the solver of that name for `dim` dimensions; without a `tile`, the one with the fewest nodes.

    Raises:
        BadInputError: if the name is unknown, or the tile or the solver does not fit the width.
    """
    if name not in SOLVERS:
        raise BadInputError(f"Expected a solver of auto, {', '.join(SOLVERS)}; got {name}.")
    if name in ("inverse", "fused", "rows"):
        if tile is not None:
            raise BadInputError(f"Expected no `tile` with `solver='{name}'`, which has none to choose. Leave it out.")
        if name == "rows" and dim > _MOST_TILES:
            raise BadInputError(
                f"Expected at most {_MOST_TILES} dimensions for `solver='rows'`; got {dim}. Use unrolled, with `tile`."
            )
        return Solver(name, 1 if name == "rows" else None)
    if name == "meeting" and dim < 2:
        raise BadInputError("Expected at least 2 dimensions for `solver='meeting'`; got 1. Use unrolled.")
    smallest, largest, default = _tiles(name, dim)
    if tile is not None and not smallest <= tile <= largest:
        raise BadInputError(
            f"Expected a tile from {smallest} to {largest} for {dim} dimensions and `solver='{name}'`; got {tile}. "
            "Leave `tile` out for the default."
        )
    return Solver(name, tile or default)


def _tiles(name: str, dim: int) -> tuple[int, int, int]:
    """Return the smallest, largest and default tile of `unrolled` and `meeting`."""
    half = max(1, -(-dim // 2))
    return (1, half, -(-dim // 32)) if name == "meeting" else (-(-dim // _MOST_TILES), half, half)


def stored(solver: Solver, dim: int) -> int:
    """Return how many numbers the sampling graph stores per block, zeros included."""
    tile = solver.tile or 0
    extra = {"unrolled": dim * tile, "rows": dim, "meeting": tile**2, "inverse": dim**2, "fused": 0}
    return dim**2 + extra[solver.name]


def available(dim: int) -> list[Solver]:
    """Return every solver that fits `dim` dimensions, with its default tile."""
    unfit = {"rows" if dim > _MOST_TILES else "", "meeting" if dim < 2 else ""}
    return [choose(name, None, dim) for name in SOLVERS if name not in unfit]


def fits(name: str, tile: int, dim: int) -> bool:
    """Return whether `choose` takes this tile."""
    smallest, largest, _ = _tiles(name, dim)
    return smallest <= tile <= largest and not (name == "meeting" and dim < 2)


class Arithmetic(Protocol[V]):
    """This protocol is what a solver is written in: a graph under construction, or arrays that compute at once."""

    def gemm(self, rows: V, weight: Array, addend: V | Array | None = None, *, alpha: float = 1.0) -> V:
        """Return alpha rows weight^T + addend."""

    def add(self, rows: V, addend: V | Array) -> V:
        """Return rows + addend."""

    def split(self, rows: V, sizes: Sequence[int]) -> list[V]:
        """Return the columns in consecutive groups."""

    def concat(self, parts: Sequence[V]) -> V:
        """Return groups of columns side by side."""

    def scope(self, name: str) -> AbstractContextManager[None]:
        """Open a scope; names made inside begin with `name.`."""


@dataclass(frozen=True)
class Displacement(Generic[V]):
    """This is W n, which is added to rows: n [contexts, K] depends on the context alone, W (D, K) is constant.

    Without W it is n itself, with K = D.
    """

    source: V
    weight: Array | None

    def through(self, weight: Array) -> "Displacement[V]":
        """Return what is added behind a product with a matrix."""
        return Displacement(self.source, weight if self.weight is None else weight @ self.weight)


Displacements = Sequence[Displacement[V]]


def displaced(g: Arithmetic[V], displacements: Displacements[V], bias: Array | None) -> V | Array | None:
    """Return the sum of the displacements and a bias (D,): one node per displacement, with a row per context."""
    total: V | Array | None = bias
    for each in displacements:
        if each.weight is not None:
            total = g.gemm(each.source, each.weight, total)
        else:
            total = each.source if total is None else g.add(each.source, total)
    return total


def solve(g: Arithmetic[V], solver: Solver, z: V, block: LU, displacements: Displacements[V] = ()) -> V:
    """Return h [batch, dim] with L (U h) + b = z, or z plus the displacements."""
    if solver.name == "fused":
        inverse, _ = fused(block)
        return _product(g, z, inverse, block, displacements)
    if solver.name == "inverse":
        y = _product(g, z, triangular.inverse_lower(block.lower), block, displacements)
        return g.gemm(y, triangular.inverse_upper(block.upper))
    if solver.name == "meeting":
        return _meeting(g, solver, z, block, displacements)
    return _substitution(g, solver, z, block, displacements)


def fused(block: LU) -> tuple[Array, Array]:
    """Return the matrix and the bias of the one product that is the inverse."""
    upper, lower = triangular.inverse_upper(block.upper), triangular.inverse_lower(block.lower)
    inverse = triangular.reversed_product(upper, lower)
    return inverse, _bias(inverse, block.bias)


def _bias(inverse: Array, bias: Array) -> Array:
    """Return the number to add after inverse z, for inverse (z - bias)."""
    return -(inverse * bias).sum(axis=1)


def _product(
    g: Arithmetic[V],
    z: V,
    inverse: Array,
    block: LU,
    displacements: Displacements[V],
    here: slice = slice(None),
) -> V:
    """Return inverse (z - b), of the rows of the system that are here, with the displacements added to z."""
    taken = np.zeros((len(inverse), len(block.bias)))
    taken[:, here] = inverse
    moved = [each.through(taken) for each in displacements]
    addend = displaced(g, moved, _bias(inverse, block.bias[here]))
    return g.gemm(z, inverse, addend)


def _substitution(g: Arithmetic[V], solver: Solver, z: V, block: LU, displacements: Displacements[V]) -> V:
    ranges = triangular.tiles(len(block.bias), solver.tile or len(block.bias))
    parts = g.split(z, [here.stop - here.start for here in ranges]) if len(ranges) > 1 else [z]
    with g.scope("lower"):
        parts = _forward(g, parts, block, ranges, displacements)
    with g.scope("upper"):
        parts = _back(g, parts, block.upper, ranges)
    return g.concat(parts) if len(parts) > 1 else parts[0]


def _forward(
    g: Arithmetic[V], parts: Sequence[V], block: LU, ranges: Sequence[slice], displacements: Displacements[V]
) -> list[V]:
    """Return y with L y = z - b by forward substitution, tile by tile.

    y_i = L_ii^-1 (z_i - sum_{j<i} L_ij y_j) - L_ii^-1 b_i: one Gemm for the sum, one for the diagonal tile.
    """
    solved: list[V] = []
    known: V | None = None  # the tiles solved so far, side by side
    for right, here in zip(parts, ranges, strict=True):
        if known is not None:
            right = g.gemm(known, block.lower[here, : here.start], right, alpha=-1.0)
        inverse = triangular.inverse_lower(block.lower[here, here])
        solved.append(_product(g, right, inverse, block, displacements, here))
        if here is not ranges[-1]:
            known = solved[-1] if known is None else g.concat([known, solved[-1]])
    return solved


def _back(g: Arithmetic[V], parts: Sequence[V], upper: Array, ranges: Sequence[slice]) -> list[V]:
    """Return h with U h = y by back substitution, tile by tile from the last."""
    solved: list[V] = []
    known: V | None = None
    for right, here in zip(reversed(parts), reversed(ranges), strict=True):
        if known is not None:
            right = g.gemm(known, upper[here, here.stop :], right, alpha=-1.0)
        solved.insert(0, g.gemm(right, triangular.inverse_upper(upper[here, here])))
        if here is not ranges[0]:
            known = solved[0] if known is None else g.concat([solved[0], known])
    return solved


def _meeting(g: Arithmetic[V], solver: Solver, z: V, block: LU, displacements: Displacements[V]) -> V:
    """Join the last rows of L and the first solved rows of U: h_2 = (L_22 U_22)^-1 (z_2 - b_2 - L_21 y_1)."""
    lower, upper, dim = block.lower, block.upper, len(block.bias)
    first, last = slice(0, solver.tile), slice(solver.tile, dim)
    z_1, z_2 = g.split(z, [first.stop, dim - first.stop])
    with g.scope("lower"):
        y_1 = _product(g, z_1, triangular.inverse_lower(lower[first, first]), block, displacements, first)
        right = g.gemm(y_1, lower[last, first], z_2, alpha=-1.0)
    inverses = triangular.inverse_upper(upper[last, last]), triangular.inverse_lower(lower[last, last])
    h_2 = _product(g, right, triangular.reversed_product(*inverses), block, displacements, last)
    with g.scope("upper"):
        right = g.gemm(h_2, upper[first, last], y_1, alpha=-1.0)
        h_1 = g.gemm(right, triangular.inverse_upper(upper[first, first]))
    return g.concat([h_1, h_2])


class Eager:
    """This is `Arithmetic` on arrays of `dtype`, weights rounded to it: what the graph will compute.

    `products` rounds the operands of the matrix products to a shorter dtype. `macs` counts multiply-adds per row.
    """

    def __init__(self, dtype: str, products: str | None = None) -> None:
        self._dtype, self._products = np.dtype(dtype), np.dtype(products or dtype)
        self.macs = 0

    def gemm(self, rows: Array, weight: Array, addend: Array | None = None, *, alpha: float = 1.0) -> Array:
        """Return alpha rows weight^T + addend, in `dtype`."""
        self.macs += int(weight.size)
        left, right = (array.astype(self._products).astype(self._dtype) for array in (rows, weight))
        product = (alpha * (left @ right.T)).astype(self._products).astype(self._dtype)
        return product if addend is None else product + np.asarray(addend, dtype=self._dtype)

    def add(self, rows: Array, addend: Array) -> Array:
        """Return rows + addend, in `dtype`."""
        return rows + np.asarray(addend, dtype=self._dtype)

    def split(self, rows: Array, sizes: Sequence[int]) -> list[Array]:
        """Return the columns in consecutive groups."""
        return np.split(rows, np.cumsum(sizes)[:-1], axis=1)

    def concat(self, parts: Sequence[Array]) -> Array:
        """Return groups of columns side by side."""
        return np.concatenate(parts, axis=1)

    def scope(self, name: str) -> AbstractContextManager[None]:
        """Open nothing: arrays have no names."""
        return nullcontext()
