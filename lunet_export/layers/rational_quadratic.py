"""Monotone rational-quadratic splines (Gregory and Delbourgo 1982; Neural Spline Flows, arXiv 1906.04032)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.layers.errors import EXACT, Errors, Size
from lunet_export.layers.graph import Graph, Track, Value, exponential
from lunet_export.layers.softplus import softplus
from lunet_export.layers.transformer import FunctionNodes, Functions, Transformer

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

TAILS = ("identity", "box")
X, Y, SLOPE = range(3)  # rows of a table of knots

_BESIDE = 2.0**-22  # of the box: how far beside its ends rows are tested


@dataclass(frozen=True)
class RationalQuadratic(Transformer):
    """This transformer makes a spline of K bins on [low, high], each a quotient of two quadratics.

    Of the 3 K + 1 numbers of a column the first K become widths, the next K heights, the last K + 1 slopes at knots:
        width_k = least_width + (1 - K least_width) softmax(u)_k, as a part of high - low; heights likewise,
        slope_k = least_slope + log(1 + e^u_k).
    With a limit L > 0 they are softmax(u / (1 + 2 |u| / L)) without a least, and slopes e^(u / (1 + |u| / L)).

    In a bin with corners (x0, y0), (x1, y1), slopes d0, d1 at them, s = (y1 - y0) / (x1 - x0) and
    xi = (x - x0) / (x1 - x0):
        y = y0 + (y1 - y0) (s xi^2 + d0 xi (1 - xi)) / q,    q = s (xi^2 + (1 - xi)^2) + (d0 + d1) xi (1 - xi),
        log dy/dx = 2 log(s / q) + log(d1 xi^2 + 2 s xi (1 - xi) + d0 (1 - xi)^2).
    The inverse with t = (y - y0) / (y1 - y0), u = d0 (1 - t) - d1 t, p = 2 s t, q = 2 s (1 - t) and
    m = |u| + sqrt(u^2 + p q):
        xi : 1 - xi = p : m where u >= 0, and m : q where u < 0.
    All sums are of positive terms, so nothing cancels, whatever the slopes.

    Tails: `identity` is y = x outside of the box; `box` is defined on the box alone. There the spline may be circular:
    x first moves by `turn` in (0, high - low), around a circle.

    Rounding errors in units: 4 ((high - low) (sum of the shares so far) + |low|) of a knot; 4 max(1, |d|) of
    a slope; high - low + |x| of an x that was turned; 12 (y - y0) + |y0| + |y| of y, and of x likewise;
    12 + 4 (|log s/q| + |log of the last sum|) of the logarithm. Which bin a row is in is decided within the errors of x
    and of the knots.
    """

    bins: int
    low: float
    high: float
    tails: str = "identity"
    least_width: float = 0.0
    least_height: float = 0.0
    least_slope: float = 0.0
    limit: float = 0.0
    turn: float = 0.0

    @property
    def count(self) -> int:
        return 3 * self.bins + 1

    @property
    def has_seams(self) -> bool:
        return True

    @property
    def interval(self) -> tuple[float, float]:
        return self.low, self.high

    @property
    def within(self) -> bool:
        return self.tails == "box"

    @property
    def span(self) -> float:
        """Return high - low."""
        return self.high - self.low

    def places(self, columns: Indices, count: int) -> Indices:
        del count
        return (columns[:, None] * self.count + np.arange(self.count)).ravel()

    def of(self, numbers: Array, errors: Errors = EXACT) -> "SplineFunctions":
        return SplineFunctions(self, self.table(numbers, errors), errors)

    def table(self, numbers: Array, errors: Errors = EXACT) -> Array:
        """Return x, y and slope of all knots, (N, C, 3, K + 1), of numbers (N, C P)."""
        u = numbers.reshape(len(numbers), -1, self.count)
        if self.limit:
            u = errors.value(u / (1 + np.abs(u) * self._steepness))
        shares, slopes = u[..., : 2 * self.bins].reshape(*u.shape[:2], 2, self.bins), u[..., 2 * self.bins :]
        shares = shares - shares.max(axis=-1, keepdims=True)
        depth = np.abs(shares)
        shares = np.exp(shares)
        shares = shares / shares.sum(axis=-1, keepdims=True)
        shares = errors.value(shares, lambda: shares * (4 + 2 * depth))
        shares = errors.product(shares, lambda: shares)  # a factor of a sum with ones
        least = self._least
        inner = self.span * np.cumsum(least + (1 - self.bins * least) * shares, axis=-1)[..., :-1]
        inner = errors.value(self.low + inner, lambda: 4 * (inner + abs(self.low)))
        inner = np.maximum.accumulate(np.clip(inner, self.low, self.high), axis=-1)  # errors may change their order
        first, last = np.full((*inner.shape[:-1], 1), self.low), np.full((*inner.shape[:-1], 1), self.high)
        slopes = np.exp(slopes) if self.limit else self.least_slope + softplus(slopes)
        slopes = np.maximum(errors.value(slopes), self._smallest_slope)
        return np.concatenate([np.concatenate([first, inner, last], axis=-1), slopes[:, :, None]], axis=2)

    @property
    def _least(self) -> Array:
        """Return the least shares of a width and of a height, (2, 1)."""
        return np.array([[self.least_width], [self.least_height]])

    @cached_property
    def _steepness(self) -> Array:
        """Return 1 / limit for each number of a column: 2 / L for widths and heights."""
        return np.concatenate([np.full(2 * self.bins, 2.0), np.ones(self.bins + 1)]) / self.limit

    @property
    def _smallest_slope(self) -> float:
        return float(np.exp(-self.limit)) if self.limit else self.least_slope

    def turned(self, x: Array) -> Array:
        """Return x moved by `turn`, around a circle."""
        return np.where(x < self.high - self.turn, x + self.turn, x - (self.span - self.turn))

    def turned_back(self, x: Array) -> Array:
        """Return the x that `turned` moved."""
        return np.where(x < self.low + self.turn, x + (self.span - self.turn), x - self.turn)

    def written(self, track: Track, numbers: Value | Array, count: int) -> FunctionNodes:
        return _Nodes(track, self, numbers, count)

    def validate(self, where: str) -> None:
        values = (self.low, self.high, self.least_width, self.least_height, self.least_slope, self.limit, self.turn)
        floats = all(isinstance(value, float) and isfinite(value) for value in values)
        if type(self.bins) is not int or self.bins < 1 or not floats or self.tails not in TAILS:
            raise CheckpointError(
                f"Expected a spline of some bins, with finite floats and tails of {', '.join(TAILS)}, in {where}; got "
                f"{self}."
            )
        least = max(self.least_width, self.least_height) * self.bins
        turns = 0 < self.turn < self.span and self.tails == "box"
        if not self.low < self.high or min(values[2:]) < 0 or least >= 1 or not (self.limit or self.least_slope):
            raise CheckpointError(
                f"Expected a spline with low < high, least widths and heights that leave room, and a limit or a least "
                f"slope above 0, in {where}; got {self}."
            )
        if self.turn and not turns:
            raise CheckpointError(f"Expected a turn within a box in {where}; got {self}.")

    def to_dict(self) -> dict[str, Any]:
        return {field: getattr(self, field) for field in self.__dataclass_fields__}


@dataclass(frozen=True)
class _Bin:
    """These are the corners of the bins that numbers lie in, and the slopes there, (N, C) each."""

    number: Indices
    x0: Array
    y0: Array
    d0: Array
    x1: Array
    y1: Array
    d1: Array

    @property
    def steepness(self) -> Array:
        """Return s."""
        return (self.y1 - self.y0) / (self.x1 - self.x0)

    def value(self, xi: Array, rest: Array) -> tuple[Array, Array, Array]:
        """Return (y - y0), log(s / q) and the logarithm of the sum, for xi and 1 - xi."""
        s, both = self.steepness, xi * rest
        q = s * (xi * xi + rest * rest) + (self.d0 + self.d1) * both
        gained = (self.y1 - self.y0) * (s * xi * xi + self.d0 * both) / q
        total = self.d1 * xi * xi + 2 * s * both + self.d0 * rest * rest
        return gained, np.log(s / q), np.log(total)

    def root(self, y: Array) -> tuple[Array, Array]:
        """Return xi and 1 - xi of y."""
        s, height = self.steepness, self.y1 - self.y0
        t, rest = (y - self.y0) / height, (self.y1 - y) / height
        u, p, q = self.d0 * rest - self.d1 * t, 2 * s * t, 2 * s * rest
        m = np.abs(u) + np.sqrt(u * u + p * q)
        over, under = np.where(u >= 0, p, m), np.where(u >= 0, m, q)
        return over / (over + under), under / (over + under)


def _found(table: Array, axis: int, values: Array) -> _Bin:
    """Return the bins of values (N, C) between knots of x, or of y."""
    number = (values[..., None] >= table[..., axis, 1:-1]).sum(axis=-1)
    table = np.broadcast_to(table, (*values.shape, *table.shape[2:]))
    ends = [np.take_along_axis(table, end[..., None, None], axis=-1)[..., 0] for end in (number, number + 1)]
    return _Bin(number, *(end[..., row] for end in ends for row in range(3)))


@dataclass(frozen=True)
class SplineFunctions(Functions):
    """These are splines whose knots have the x, y and slopes of a table (N, C, 3, K + 1)."""

    spline: RationalQuadratic
    table: Array
    errors: Errors

    def forward(self, x: Array) -> tuple[Array, Array]:
        spline = self.spline
        inside = self._inside(x)
        v = np.clip(x, spline.low, spline.high)
        found, v = self._bin(X, v, turned=bool(spline.turn))
        width = found.x1 - found.x0
        gained, log_ratio, log_sum = found.value((v - found.x0) / width, (found.x1 - v) / width)
        y = self._rounded(found.y0, gained)
        size = lambda: 12 + 4 * (np.abs(log_ratio) + np.abs(log_sum))  # noqa: E731
        log_slope = self.errors.value(2 * log_ratio + log_sum, size)
        return np.where(inside, y, x), np.where(inside, log_slope, 0.0)

    def inverse(self, y: Array) -> Array:
        spline, inside = self.spline, self._inside(y)
        found, v = self._bin(Y, np.clip(y, spline.low, spline.high))
        xi, _ = found.root(v)
        x = self._rounded(found.x0, (found.x1 - found.x0) * xi)
        x = self._around(x, spline.turned_back) if spline.turn else x
        return np.where(inside, x, y)

    def seams(self) -> Array:
        spline = self.spline
        knots = self.table[..., X, :]
        knots = spline.turned_back(knots) if spline.turn else knots
        beside = _BESIDE * spline.span
        ends = np.array([spline.low + beside, spline.high - beside])
        if spline.tails == "identity":
            ends = np.concatenate([ends, [spline.low - beside, spline.high + beside]])
        return np.sort(np.concatenate([knots, np.broadcast_to(ends, (*knots.shape[:-1], len(ends)))], axis=-1), axis=-1)

    def _inside(self, values: Array) -> NDArray[np.bool_]:
        """Return which values have a bin; where rounding decides that, which of those moved by it."""
        if self.spline.tails != "identity":
            return np.ones(values.shape, dtype=np.bool_)
        low, high = self.spline.low, self.spline.high
        moved = self.errors.nearby(values, self._reach(values))
        within = (moved >= low) & (moved <= high)
        self.errors.took(within)
        return within

    def _reach(self, values: Array) -> Size:
        """Return the sizes of the errors of a difference of these values and a knot."""
        return lambda: np.abs(values) + np.abs(values - self.spline.low) + abs(self.spline.low)

    def _bin(self, axis: int, values: Array, *, turned: bool = False) -> tuple[_Bin, Array]:
        """Return the bins of values, and the values; where rounding decides the bin, those of values moved by it."""
        spline, errors = self.spline, self.errors
        reached = self._around(values, spline.turned) if turned else values
        found = _found(self.table, axis, reached)
        if errors.exact:
            return found, reached
        moved = np.clip(errors.nearby(values, self._reach(values)), spline.low, spline.high)
        moved = self._around(moved, spline.turned) if turned else moved
        other = _found(self.table, axis, moved)
        errors.took(other.number)
        reached = np.where(other.number == found.number, reached, moved)
        return _found(self.table, axis, reached), reached

    def _around(self, values: Array, turn: Callable[[Array], Array]) -> Array:
        """Return values turned around the circle, with the rounding errors of the turn and of the sum."""
        found = turn(values)
        found = self.errors.value(found, lambda: self.spline.span + np.abs(found))
        return np.clip(found, self.spline.low, self.spline.high)

    def _rounded(self, start: Array, gained: Array) -> Array:
        """Return a sum with its rounding errors, inside the box."""
        total = start + gained
        total = self.errors.value(total, lambda: 12 * gained + np.abs(start) + np.abs(total))
        return np.clip(total, self.spline.low, self.spline.high)


class _Nodes(FunctionNodes):
    """This writes a spline: [contexts, C, 3, K] numbers of the knots to the left of bins and to their right.

    No bin is searched for: each compares a number with both of its ends, and only the right one is not set to 0 before
    a sum. A product with 0 would make NaN of a number that is infinite.
    """

    def __init__(self, track: Track, spline: RationalQuadratic, numbers: Value | Array, count: int) -> None:
        self._track, self._g, self._spline, self._count = track, track.g, spline, count
        if isinstance(numbers, str):
            table = self._table(numbers)
            self._ends = [self._part(table, 3, first, first + spline.bins) for first in (0, 1)]
            self._corners = self._g.concat(self._ends, axis=2)
        else:
            known = spline.table(numbers[None])
            parts = [known[..., :-1], known[..., 1:]]
            self._ends = [self._g.constant(part, "knots") for part in parts]
            self._corners = self._g.constant(np.concatenate(parts, axis=2), "corners")

    def _table(self, numbers: Value) -> Value:
        """Write x, y and slope of all knots, [contexts, C, 3, K + 1]."""
        g, spline, bins, count = self._g, self._spline, self._spline.bins, self._count
        u = g.reshape(numbers, [-1, count, spline.count])
        if spline.limit:
            u = g.node(
                "Div",
                u,
                g.node("Add", g.node("Mul", g.node("Abs", u), g.constant(spline._steepness, "steepness")), 1.0),
            )
        shares, slopes = g.split(u, [2 * bins, bins + 1], axis=2)
        shares = g.node("Softmax", g.reshape(shares, [-1, count, 2, bins]), axis=-1)
        knots = self._knots(shares)
        slopes = g.node("Exp", slopes) if spline.limit else self._softplus(slopes)
        return g.concat([knots, g.reshape(slopes, [-1, count, 1, bins + 1])], axis=2)

    def _knots(self, shares: Value) -> Value:
        """Write low + span (k least + (1 - K least) (sum of the first k shares)); both ends are exact."""
        g, spline, bins = self._g, self._spline, self._spline.bins
        least = spline._least
        staircase = (np.arange(bins)[:, None] < np.arange(bins + 1)) * 1.0
        staircase[:, -1] = 0.0
        scale = spline.span * (1 - bins * least)
        offset = spline.low + spline.span * least * np.arange(bins + 1)
        offset[:, -1] = spline.high
        # Ones have no rounding error in any dtype of products; the scale comes behind them.
        summed = g.node("Mul", g.node("MatMul", shares, g.constant(staircase, "staircase")), g.constant(scale, "scale"))
        return g.node("Add", summed, g.constant(offset, "offset"))

    def _softplus(self, slopes: Value) -> Value:
        g = self._g
        grown = g.node("Max", slopes, g.node("Log", exponential(g, slopes).t))
        return g.node("Add", grown, self._spline.least_slope)

    def _part(self, value: Value, axis: int, first: int, last: int) -> Value:
        """Write a slice of a table."""
        places = (np.array([number], dtype=np.int64) for number in (first, last, axis))
        starts, ends, axes = (self._g.constant(place, "slice") for place in places)
        return self._g.node("Slice", value, starts, ends, axes)

    def forward(self, x: Value) -> Value:
        g, spline = self._g, self._spline
        x = g.reshape(x, [-1, self._count, 1, 1])
        inside = g.node("Clip", x, spline.low, spline.high)
        x0, y0, d0, x1, y1, d1, v = self._bin(X, self._turned(inside) if spline.turn else inside)
        width, height = g.node("Sub", x1, x0), g.node("Sub", y1, y0)
        xi, rest = (g.node("Div", g.node("Sub", *pair), width) for pair in ((v, x0), (x1, v)))
        curve = _Curve(g, g.node("Div", height, width), d0, d1, xi, rest)
        y = g.node("Add", y0, g.node("Mul", height, curve.part))
        return self._back(x, inside, y, curve)

    def inverse(self, y: Value) -> Value:
        g, spline = self._g, self._spline
        y = g.reshape(y, [-1, self._count, 1, 1])
        inside = g.node("Clip", y, spline.low, spline.high)
        x0, y0, d0, x1, y1, d1, v = self._bin(Y, inside)
        width, height = g.node("Sub", x1, x0), g.node("Sub", y1, y0)
        t, other = (g.node("Div", g.node("Sub", *pair), height) for pair in ((v, y0), (y1, v)))
        s = g.node("Div", height, width)
        u = g.node("Sub", g.node("Mul", d0, other), g.node("Mul", d1, t))
        twice = g.node("Add", s, s)
        p, q = (g.node("Mul", twice, part) for part in (t, other))
        root = g.node("Sqrt", g.node("Add", g.node("Mul", u, u), g.node("Mul", p, q)))
        m = g.node("Add", g.node("Abs", u), root)
        falling = g.node("Less", u, 0.0)
        over, under = g.node("Where", falling, m, p), g.node("Where", falling, q, m)
        total = g.node("Add", over, under)
        xi, rest = g.node("Div", over, total), g.node("Div", under, total)
        x = g.node("Add", x0, g.node("Mul", width, xi))
        x = self._turned_back(x) if spline.turn else x
        return self._back(y, inside, x, _Curve(g, s, d0, d1, xi, rest) if self._track.wants_density else None)

    def _bin(self, axis: int, v: Value) -> tuple[Value, ...]:
        """Write the corners and slopes of the bin of v, and v; the last bin has its right end too."""
        g, spline = self._g, self._spline
        inner = g.node("Min", v, float(np.nextafter(g.dtype.type(spline.high), g.dtype.type(spline.low))))
        left, right = (self._part(end, 2, axis, axis + 1) for end in self._ends)
        mine = g.node("And", g.node("GreaterOrEqual", inner, left), g.node("Less", inner, right))
        picked = g.sum_columns(g.node("Where", mine, self._corners, 0.0), keep=True, axis=3)
        return (*g.split(picked, [1] * 6, axis=2), v)

    def _turned(self, x: Value) -> Value:
        g, spline = self._g, self._spline
        ahead = g.node("Less", x, spline.high - spline.turn)
        return g.node("Where", ahead, g.node("Add", x, spline.turn), g.node("Sub", x, spline.span - spline.turn))

    def _turned_back(self, x: Value) -> Value:
        g, spline = self._g, self._spline
        behind = g.node("Less", x, spline.low + spline.turn)
        return g.node("Where", behind, g.node("Add", x, spline.span - spline.turn), g.node("Sub", x, spline.turn))

    def _back(self, given: Value, inside: Value, found: Value, curve: "_Curve | None") -> Value:
        """Write found [batch, C], or what was given outside of the box, and add the logarithm of the slope."""
        g, log_slope = self._g, None if curve is None else curve.log_slope
        if self._spline.tails == "identity":
            same = g.node("Equal", given, inside)
            found = g.node("Where", same, found, given)
            log_slope = None if log_slope is None else g.node("Where", same, log_slope, 0.0)
        if log_slope is not None:
            self._track.log_slope(g.reshape(log_slope, [-1, self._count]), self._count)
        return g.reshape(found, [-1, self._count])


class _Curve:
    """This writes what a bin makes of xi and 1 - xi: (y - y0) / (y1 - y0), and log dy/dx."""

    def __init__(self, g: Graph, s: Value, d0: Value, d1: Value, xi: Value, rest: Value) -> None:
        self._g, self._s, self._d0, self._d1 = g, s, d0, d1
        self._both = g.node("Mul", xi, rest)
        self._squares = [g.node("Mul", part, part) for part in (xi, rest)]
        straight = g.node("Mul", s, g.node("Add", *self._squares))
        self._q = g.node("Add", straight, g.node("Mul", g.node("Add", d0, d1), self._both))

    @property
    def part(self) -> Value:
        """Write (s xi^2 + d0 xi (1 - xi)) / q."""
        g = self._g
        return g.node(
            "Div", g.node("Add", g.node("Mul", self._s, self._squares[0]), g.node("Mul", self._d0, self._both)), self._q
        )

    @property
    def log_slope(self) -> Value:
        """Write 2 log(s / q) + log(d1 xi^2 + 2 s xi (1 - xi) + d0 (1 - xi)^2)."""
        g, (squared, rest) = self._g, self._squares
        middle = g.node("Mul", self._s, self._both)
        ends = g.node("Add", g.node("Mul", self._d1, squared), g.node("Mul", self._d0, rest))
        total = g.node("Add", ends, g.node("Add", middle, middle))
        ratio = g.node("Log", g.node("Div", self._s, self._q))
        return g.node("Add", g.node("Add", ratio, ratio), g.node("Log", total))
