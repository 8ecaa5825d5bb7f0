"""Rows on their way through a graph: linear maps are held back until another operation comes, and so cost little."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from math import log

import numpy as np
from numpy.typing import NDArray

from lunet_export.graphs import solvers
from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.graphs.solvers import Displacement, Solver, displaced
from lunet_export.layers import LU

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

_SMALLEST_PRODUCT = 1e-26  # of slopes: over s r <= levels^2 / 4 it is still far above float32's 1e-38


@dataclass(frozen=True)
class _Held:
    """A matrix or a solve that is not in the graph yet, with the scope that its nodes belong to."""

    scope: tuple[str, ...]
    weight: Array | None = None
    bias: Array | None = None
    layer: LU | None = None
    offset: Array | None = None  # for a solve: offset that is added to the rows before it
    displacements: tuple[Displacement[Value], ...] = ()  # for a solve: what else is added to them


@dataclass
class _Slopes:
    """These slopes are multiplied before one logarithm is taken, while their product stays normal."""

    factors: list[Value]
    least: float  # logarithms of the ends of the product
    most: float


@dataclass
class Terms:
    """These terms make log|det dz/dx| of the layers so far, in a graph."""

    constant: float
    slopes: dict[int, list[_Slopes]] = field(default_factory=lambda: {1: [], -1: []})  # by their sign
    logs: list[tuple[Value, int, int]] = field(default_factory=list)  # with their widths and signs
    weighted: list[tuple[Value, Array]] = field(default_factory=list)


class Track:
    """A track writes the rows into a graph, as `lunet_export.layers.graph.Track` says.

    The rows are scale * op(h)[:, order] + shift + displacements, of which only h is in the graph; op is a matrix, a
    solve or nothing. Permutations and elementwise affine maps are multiplied into the matrix in front of them or behind
    them in float64, before the cast. Two matrices are never multiplied with each other: each is one product of the
    graph. A displacement is linear in what the context makes, so it too passes every linear map in float64, and
    becomes the addend of a product.

    Args:
        g: Graph that nodes are added to.
        h: Rows that enter, as one tensor.
        solver: Solver of triangular systems.
        constant: Start of log|det dz/dx|, in nats.
        wants_density: Whether the graph sums log|det dz/dx| along this track.
        probe: Directions of estimated divergences.
        context: Context as layers take it, one row for each of the rows or one for all, for a conditional flow.
    """

    def __init__(
        self,
        g: GraphBuilder,
        h: Value,
        solver: Solver | None,
        *,
        constant: float = 0.0,
        wants_density: bool = True,
        probe: Value | None = None,
        context: Value | None = None,
    ) -> None:
        self.g, self.wants_density, self.probe, self.context = g, wants_density, probe, context
        self.terms = Terms(constant)
        self._solver, self._sign = solver, 1
        self._parts = [(h, g.dim)]
        self._held: _Held | None = None
        self._order: Indices
        self._scale: Array
        self._shift: Array
        self._displacements: list[Displacement[Value]]
        self._forget()

    @contextmanager
    def negated(self) -> Iterator[None]:
        """Count everything that is added to log|det dz/dx| inside with the opposite sign."""
        self._sign = -self._sign
        try:
            yield
        finally:
            self._sign = -self._sign

    def product(self, weight: Array, bias: Array | None) -> None:
        """Replace the rows a by weight a + bias."""
        if self._held is not None:
            self.rows()
        folded = np.zeros_like(weight)
        folded[:, self._order] = weight * self._scale
        moved = (weight * self._shift).sum(axis=1) if self._shift.any() else None
        both = [part for part in (moved, bias) if part is not None]
        self._held = _Held(self.g.here, weight=folded, bias=sum(both[1:], both[0]) if both else None)
        behind = [each.through(weight) for each in self._displacements]
        self._forget()
        self._displacements = behind

    def solve(self, lower: Array, upper: Array, bias: Array) -> None:
        """Replace the rows a by the h with L (U h) + b = a."""
        if self._held is not None:
            self.rows()
        layer, offset = LU(lower, upper, bias), self._shift
        if not self._in_order:
            if self._is_one_product:
                self.product(*solvers.fused(layer))
                return
            self.rows()
            offset = self._shift
        ahead = self._displacements
        if (self._scale != 1.0).any():  # L' = L / scale by rows, b' = (b - shift) / scale
            layer = LU(lower / self._scale[:, None], upper, (bias - offset) / self._scale)
            offset = np.zeros_like(offset)
            ahead = [each.through(np.diag(1 / self._scale)) for each in ahead]
        self._held = _Held(self.g.here, layer=layer, offset=offset, displacements=tuple(ahead))
        self._forget()

    def permute(self, order: Indices) -> None:
        """Replace the rows a by a[:, order]."""
        self._order, self._scale, self._shift = self._order[order], self._scale[order], self._shift[order]
        self._displacements = [each.through(np.eye(self.g.dim)[order]) for each in self._displacements]

    def stretch(self, scale: Array | float, shift: Array | float) -> None:
        """Replace the rows a by scale a + shift."""
        self._scale, self._shift = self._scale * scale, self._shift * scale + shift
        if np.any(scale != 1.0):
            diagonal = np.diag(np.broadcast_to(scale, self.g.dim))
            self._displacements = [each.through(diagonal) for each in self._displacements]

    def displace(self, source: Value, weight: Array | None) -> None:
        """Replace the rows a by a + weight n, or a + n, with n [contexts, K] that depends on the context alone."""
        self._displacements.append(Displacement(source, weight))

    def rows(self) -> Value:
        """Return the rows as one tensor of the graph."""
        h = self._whole()
        held, self._held = self._held, None
        if held is None:
            h = self._moved(h)
        elif held.layer is None:
            h = self._multiplied(h, held)
        else:
            h = self._solved(h, held)
        self._parts = [(h, self.g.dim)]
        self._forget()
        return h

    def apart(self) -> tuple[Value, Array]:
        """Return the rows as a tensor, and an offset (D,) that is still to be added to it."""
        if self._displacements or not self._in_order or (self._held is None and (self._scale != 1.0).any()):
            return self.rows(), np.zeros(self.g.dim)
        shift, self._shift = self._shift, np.zeros(self.g.dim)
        if self._held is not None and self._held.bias is not None:
            scaled = self._scale * self._held.bias
            shift, self._held = shift + scaled, _Held(self._held.scope, weight=self._held.weight)
        return self.rows(), shift

    def front(self, widths: Sequence[int]) -> list[Value]:
        """Return the first columns in groups of these widths; the others stay behind them, cut where that is needed."""
        if self._held is not None or not self._is_plain:
            self.rows()
        found: list[tuple[Value, int]] = []
        for width in widths:
            value, have = self._parts.pop(0)
            while have < width:
                following, more = self._parts.pop(0)
                value, have = self.g.concat([value, following]), have + more
            if have > width:
                value, rest = self.g.split(value, [width, have - width])
                self._parts.insert(0, (rest, have - width))
            found.append((value, width))
        self._parts = [*found, *self._parts]
        return [value for value, _ in found]

    def replace(self, *values: Value) -> None:
        """Put these tensors in the place of the first groups."""
        for number, value in enumerate(values):
            self._parts[number] = (value, self._parts[number][1])

    def slope(self, value: Value, least: float, most: float) -> None:
        """Add the logarithms of slopes [batch, dim] within [least, most] to log|det dz/dx|."""
        groups = self.terms.slopes[self._sign]
        low, high, bound = log(least), log(most), -log(_SMALLEST_PRODUCT)
        last = groups[-1] if groups else None
        if last is None or last.least + low < -bound or last.most + high > bound:
            groups.append(_Slopes([value], low, high))
        else:
            last.factors.append(value)
            last.least, last.most = last.least + low, last.most + high

    def log_slope(self, value: Value, width: int, constant: float = 0.0) -> None:
        """Add terms [batch, width] and a number to log|det dz/dx|."""
        self.terms.logs.append((value, width, self._sign))
        self.constant(constant)

    def weighted(self, value: Value, weights: Array) -> None:
        """Add terms [batch, width] times `weights` (width,) to log|det dz/dx|."""
        self.terms.weighted.append((value, self._sign * weights))

    def constant(self, value: float) -> None:
        """Add a number in nats to log|det dz/dx|."""
        self.terms.constant += self._sign * value

    def _multiplied(self, h: Value, held: _Held) -> Value:
        assert held.weight is not None
        weight = self._scale[:, None] * held.weight[self._order]
        bias = None if held.bias is None else self._scale * held.bias[self._order]
        if self._shift.any():
            bias = self._shift if bias is None else bias + self._shift
        with self.g.at(held.scope):
            addend = displaced(self.g, self._displacements, bias)
            return self.g.gemm(h, weight, addend)

    def _solved(self, h: Value, held: _Held) -> Value:
        assert held.layer is not None
        assert held.offset is not None
        assert self._solver is not None
        back = np.argsort(self._order)
        layer = held.layer.rescaled(self._scale[back], self._shift[back], held.offset)
        with self.g.at(held.scope):
            if self._is_one_product:
                weight, bias = (part[self._order] for part in solvers.fused(layer))
                moved = [*(each.through(weight) for each in held.displacements), *self._displacements]
                addend = displaced(self.g, moved, bias)
                return self.g.gemm(h, weight, addend)
            h = solvers.solve(self.g, self._solver, h, layer, held.displacements)
            h = h if self._in_order else self._gathered(h)
            return self.g.node("Add", h, self._displaced(None)) if self._displacements else h

    def _moved(self, h: Value) -> Value:
        g = self.g
        if not self._in_order:
            h = self._gathered(h)
        if (self._scale == -1.0).all():
            h = g.node("Neg", h)
        elif (self._scale != 1.0).any():
            h = g.node("Mul", h, g.constant(self._scale, "scale"))
        shift = self._shift if self._shift.any() else None
        if self._displacements:
            return g.node("Add", h, self._displaced(shift))
        return h if shift is None else g.node("Add", h, g.constant(shift, "shift"))

    def _displaced(self, bias: Array | None) -> Value:
        found = displaced(self.g, self._displacements, bias)
        assert isinstance(found, str)
        return found

    def _gathered(self, h: Value) -> Value:
        return self.g.node("Gather", h, self.g.constant(self._order, "order"), axis=1)

    def _whole(self) -> Value:
        return self.g.concat([value for value, _ in self._parts])

    @property
    def _is_one_product(self) -> bool:
        """Return whether a system is solved by one matrix, which absorbs a change of the order of columns."""
        return self._solver is not None and self._solver.name == "fused"

    @property
    def _in_order(self) -> bool:
        return np.array_equal(self._order, np.arange(self.g.dim))

    @property
    def _is_plain(self) -> bool:
        unmoved = not self._shift.any() and not self._displacements
        return self._in_order and unmoved and bool((self._scale == 1.0).all())

    def _forget(self) -> None:
        self._order = np.arange(self.g.dim)
        self._scale, self._shift = np.ones(self.g.dim), np.zeros(self.g.dim)
        self._displacements = []


def added(g: GraphBuilder, total: Value, terms: Terms, *, divisor: Value = "", keep: bool = False) -> Value:
    """Write total [batch] plus all terms but the constant; `divisor` are slopes [batch, dim] that count with a minus.

    Products of slopes are as long as they stay normal, and the first is divided by the divisor before its logarithm.
    """
    for sign, operator in ((1, "Add"), (-1, "Sub")):
        factors = [reduce(lambda a, b: g.node("Mul", a, b), slopes.factors) for slopes in terms.slopes[sign]]
        if divisor and factors and sign > 0:
            factors = [g.node("Div", factors[0], divisor), *factors[1:]]
            divisor = ""
        for logs in [g.node("Log", factor) for factor in factors]:
            total = g.node(operator, total, g.sum_columns(logs, keep=keep))
    if divisor:
        total = g.node("Sub", total, g.sum_columns(g.node("Log", divisor), keep=keep))
    for width, sign in dict.fromkeys((width, sign) for _, width, sign in terms.logs):
        alike = [value for value, *kind in terms.logs if kind == [width, sign]]
        log_slope = reduce(lambda a, b: g.node("Add", a, b), alike)
        total = g.node("Add" if sign > 0 else "Sub", total, g.sum_columns(log_slope, keep=keep))
    if terms.weighted:
        weights = np.concatenate([weights for _, weights in terms.weighted])
        values = g.node("Mul", g.concat([value for value, _ in terms.weighted]), g.constant(weights, "quadrature"))
        total = g.node("Add", total, g.sum_columns(values, keep=keep))
    return total
