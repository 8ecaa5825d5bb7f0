"""Monotone rational-quadratic splines (Gregory and Delbourgo 1982; Neural Spline Flows, arXiv 1906.04032)."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError, NarrowDtypeError
from lunet_export.layers.errors import EXACT, Errors, Size
from lunet_export.layers.graph import LARGEST_EXPONENT, Track, Value
from lunet_export.layers.softplus import softplus
from lunet_export.layers.transformer import FunctionNodes, Functions, Transformer

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

TAILS = ("identity", "box")
LEFT, WIDTH, BOTTOM, HEIGHT, FIRST, LAST = range(6)  # rows of a table of bins

_BEYOND_TF32 = (1 << 13) - 1  # bits of a float32 that TF32 drops
_MOST_OPERANDS = 7  # of one Max: a shader of WebGPU has room for 8 tensors
_LARGEST_LIMIT = 700.0  # of which e^-limit and e^limit are float64 numbers
_BESIDE = 2.0**-22  # of the box: how far beside its ends rows are tested


@dataclass(frozen=True)
class RationalQuadratic(Transformer):
    """This transformer makes a spline of K bins on [low, high], each a quotient of two quadratics.

    A column has three numbers u for each of the K + 1 knots, first all of one kind, then of the next: for the width of
    the bin to its right, for its height, and for the slope at the knot. The last knot has no bin to its right: its
    first two numbers count for nothing.
        width_k = least_width + (1 - K least_width) softmax(u)_k, as a part of high - low; heights likewise,
        slope_k = least_slope + log(1 + e^u_k).
    With a limit L > 0 they are softmax(u / (1 + 2 |u| / L)) without a least, and slopes e^(u / (1 + |u| / L)).

    In a bin with the lower left corner (x0, y0), width w, height h, slopes d0, d1 at its ends, s = h / w, a = x - x0
    and b = w - a:
        y = y0 + h (s a^2 + d0 a b) / q,    q = s (a^2 + b^2) + (d0 + d1) a b,
        log dy/dx = log(h^2 (d1 a^2 + 2 s a b + d0 b^2) / q^2).
    The inverse with a = y - y0, b = h - a, u = d0 b - d1 a, p = 2 s a, q = 2 s b and m = |u| + sqrt(u^2 + p q):
        xi : 1 - xi = p : m where u >= 0, and m : q where u < 0, with x = x0 + w xi.
    All sums are of positive terms, so nothing cancels, whatever the slopes.

    Tails: `identity` is y = x outside of the box; `box` is defined on the box alone. There the spline may be circular:
    x first moves by `turn` in (0, high - low), around a circle.

    Rounding errors in units: of a share of the box 4 + 2 |u - max u| of itself, and those of a product with ones; of a
    corner 4 times the way from low, and |low|; 4 max(1, |d|) of a slope; high - low + |x| of an x that was turned;
    12 h + |y0| + |y| of y, and of x likewise; 12 + 4 |log| of a logarithm. Which bin a row is in is decided within the
    errors of x and of the corners. A bin may end before the next one starts, by rounding: b is at least 0.
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
        return 3 * (self.bins + 1)

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
        """Return LEFT, WIDTH, BOTTOM, HEIGHT, FIRST and LAST slope of all bins, (N, C, 6, K), of numbers (N, C P)."""
        u = numbers.reshape(len(numbers), -1, 3, self.bins + 1)
        if self.limit:
            u = errors.value(u / (1 + np.abs(u) * self._steepness))
        shares, slopes = u[..., :2, :-1], u[..., 2, :]
        shares = shares - shares.max(axis=-1, keepdims=True)
        depth = np.abs(shares)
        shares = np.exp(shares)
        shares = shares / shares.sum(axis=-1, keepdims=True)
        shares = errors.value(shares, lambda: shares * (4 + 2 * depth))
        shares = errors.product(shares, lambda: shares)  # a factor of a sum with ones
        sizes = self.span * (self._least + (1 - self.bins * self._least) * shares)
        way = np.cumsum(sizes, axis=-1) - sizes
        starts = errors.value(self.low + way, lambda: np.where(way > 0, 4 * way + abs(self.low), 0.0))
        slopes = np.exp(slopes) if self.limit else self.least_slope + softplus(slopes)
        slopes = np.maximum(errors.value(slopes), self._smallest_slope)
        ends = np.stack([slopes[..., :-1], slopes[..., 1:]], axis=2)
        corners = np.stack([starts, sizes], axis=3).reshape(*starts.shape[:2], 4, self.bins)
        return np.concatenate([corners, ends], axis=2)

    @property
    def _least(self) -> Array:
        """Return the least shares of a width and of a height, (2, 1)."""
        return np.array([[self.least_width], [self.least_height]])

    @property
    def _steepness(self) -> Array:
        """Return 2 / limit for widths and heights, 1 / limit for slopes, (3, 1)."""
        return np.array([[2.0], [2.0], [1.0]]) / self.limit

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
        """Write the table of bins; see `Transformer`.

        Raises:
            NarrowDtypeError: if the square of the box's width is no number of the graph's dtype.
        """
        limits = np.finfo(track.g.dtype)
        least, most = float(limits.tiny) ** 0.5, float(limits.max) ** 0.5
        if not least <= self.span <= most:
            raise NarrowDtypeError.of(
                f"Expected splines on boxes from {least:.1e} to {most:.1e} wide in {track.g.dtype}; got "
                f"{self.span:.1e}.",
                "Export with `dtype='float64'`.",
            )
        return _Nodes(track, self, numbers, count)

    def validate(self, where: str) -> None:
        values = (self.low, self.high, self.least_width, self.least_height, self.least_slope, self.limit, self.turn)
        floats = all(isinstance(value, float) and isfinite(value) for value in values) and isfinite(self.span)
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
        if self.limit > _LARGEST_LIMIT:
            raise CheckpointError(f"Expected a limit of at most {_LARGEST_LIMIT:.0f} in {where}; got {self.limit!r}.")
        if self.turn and not turns:
            raise CheckpointError(f"Expected a turn within a box in {where}; got {self}.")

    @property
    def has_bins(self) -> bool:
        """Return whether any numbers make bins with a width and a height."""
        return bool(self.limit) or min(self.least_width, self.least_height) > 0

    def to_dict(self) -> dict[str, Any]:
        return {field: getattr(self, field) for field in self.__dataclass_fields__}


@dataclass(frozen=True)
class _Bin:
    """These are the bins that numbers lie in, (N, C) each."""

    number: Indices
    left: Array
    width: Array
    bottom: Array
    height: Array
    first: Array
    last: Array

    def value(self, a: Array) -> tuple[Array, Array]:
        """Return y - y0 and log dy/dx for a = x - x0."""
        b, s = np.maximum(self.width - a, 0.0), self.height / self.width
        both = a * b
        rising = s * a * a + self.first * both
        q = rising + s * b * b + self.last * both
        total = self.last * a * a + 2 * s * both + self.first * b * b
        return self.height * rising / q, 2 * np.log(self.height / q) + np.log(total)

    def root(self, a: Array) -> Array:
        """Return x - x0 for a = y - y0."""
        b, s = np.maximum(self.height - a, 0.0), self.height / self.width
        u, p, q = self.first * b - self.last * a, 2 * s * a, 2 * s * b
        m = np.abs(u) + np.sqrt(u * u + p * q)
        over, under = np.where(u >= 0, p, m), np.where(u >= 0, m, q)
        return self.width * over / (over + under)


def _found(table: Array, row: int, values: Array) -> _Bin:
    """Return the bins of values (N, C) between the starts in a row of the table."""
    number = (values[..., None] >= table[..., row, 1:]).sum(axis=-1)
    table = np.broadcast_to(table, (*values.shape, *table.shape[2:]))
    picked = np.take_along_axis(table, number[..., None, None], axis=-1)[..., 0]
    return _Bin(number, *np.moveaxis(picked, -1, 0))


@dataclass(frozen=True)
class SplineFunctions(Functions):
    """These are splines whose bins are in a table (N, C, 6, K)."""

    spline: RationalQuadratic
    table: Array
    errors: Errors

    def forward(self, x: Array) -> tuple[Array, Array]:
        spline, inside = self.spline, self._inside(x)
        found, v = self._bin(LEFT, np.clip(x, spline.low, spline.high), turned=bool(spline.turn))
        gained, log_slope = found.value(v - found.left)
        y = self._rounded(found.bottom, gained, found.height)
        log_slope = self.errors.value(log_slope, lambda: 12 + 4 * np.abs(log_slope))
        return np.where(inside, y, x), np.where(inside, log_slope, 0.0)

    def inverse(self, y: Array) -> Array:
        spline, inside = self.spline, self._inside(y)
        found, v = self._bin(BOTTOM, np.clip(y, spline.low, spline.high))
        x = self._rounded(found.left, found.root(v - found.bottom), found.width)
        x = self._around(x, spline.turned_back) if spline.turn else x
        return np.where(inside, x, y)

    def seams(self) -> Array:
        spline = self.spline
        knots = self.table[..., LEFT, :]
        knots = spline.turned_back(knots) if spline.turn else knots
        beside = _BESIDE * spline.span
        ends = np.array([spline.low + beside, spline.high - beside, spline.high])
        if spline.tails == "identity":
            ends = np.concatenate([ends, [spline.low - beside, spline.high + beside]])
        return np.sort(np.concatenate([knots, np.broadcast_to(ends, (*knots.shape[:-1], len(ends)))], axis=-1), axis=-1)

    def _inside(self, values: Array) -> NDArray[np.bool_]:
        """Return which values have a bin; where rounding decides that, which of those moved by it."""
        if self.spline.tails != "identity":
            return np.ones(values.shape, dtype=np.bool_)
        moved = self.errors.nearby(values, self._reach(values))
        within = (moved >= self.spline.low) & (moved <= self.spline.high)
        self.errors.took(within)
        return within

    def _reach(self, values: Array) -> Size:
        """Return the sizes of the errors of a difference of these values and a knot."""
        return lambda: np.abs(values) + np.abs(values - self.spline.low) + abs(self.spline.low)

    def _bin(self, row: int, values: Array, *, turned: bool = False) -> tuple[_Bin, Array]:
        """Return the bins of values, and the values; where rounding decides the bin, those of values moved by it."""
        spline, errors = self.spline, self.errors
        reached = self._around(values, spline.turned) if turned else values
        found = _found(self.table, row, reached)
        if errors.exact:
            return found, reached
        moved = np.clip(errors.nearby(values, self._reach(values)), spline.low, spline.high)
        moved = self._around(moved, spline.turned) if turned else moved
        other = _found(self.table, row, moved)
        errors.took(other.number)
        reached = np.where(other.number == found.number, reached, moved)
        return _found(self.table, row, reached), reached

    def _around(self, values: Array, turn: Callable[[Array], Array]) -> Array:
        """Return values turned around the circle, with the rounding errors of the turn and of the sum."""
        found = turn(values)
        found = self.errors.value(found, lambda: self.spline.span + np.abs(found))
        return np.clip(found, self.spline.low, self.spline.high)

    def _rounded(self, start: Array, gained: Array, size: Array) -> Array:
        """Return a sum with its rounding errors, inside the box."""
        total = start + gained
        total = self.errors.value(total, lambda: 12 * size + np.abs(start) + np.abs(total))
        return np.clip(total, self.spline.low, self.spline.high)


#: Coefficients of q, d1 a^2 + 2 s a b + d0 b^2 and s a^2 + d0 a b in (s, d0, d1) and (a^2, a b, b^2).
_SUMS = np.array(
    [
        [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]],
        [[0.0, 2.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]],
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]],
    ]
)


class _Nodes(FunctionNodes):
    """This writes splines with their bins along a leading axis: runtimes are fast over rows, which are last.

    The table is [6, 1, K, contexts, C]. No bin is searched for: the starts at or below a number are counted, and all
    bins but the one of that count are set to 0 before a sum. A product with 0 would make NaN of an infinite number.
    """

    def __init__(self, track: Track, spline: RationalQuadratic, numbers: Value | Array, count: int) -> None:
        self._track, self._g, self._spline, self._count = track, track.g, spline, count
        self._has_slopes = bool(spline.limit) or not isinstance(numbers, str)  # or what they are made of, in the table
        self._known: Array | None = None
        if isinstance(numbers, str):
            self._table = self._made(numbers)
        else:
            self._known = np.moveaxis(spline.table(numbers[None]), [2, 3], [0, 1])[:, None]
            self._table = self._g.constant(self._known, "bins")

    def _made(self, numbers: Value) -> Value:
        """Write the table of numbers [contexts, C P]."""
        g, spline, bins, count = self._g, self._spline, self._spline.bins, self._count
        if count > 1:
            numbers = g.node("Transpose", g.reshape(numbers, [-1, count, spline.count]), perm=[2, 0, 1])
        else:
            numbers = g.node("Transpose", numbers, perm=[1, 0])
        u = g.reshape(numbers, [3, bins + 1, -1])
        grown = self._grown(u)
        rows, totals = (g.node("MatMul", g.constant(part, "rows"), grown) for part in self._rows())
        parts = g.node("Div", rows, g.node("Add", totals, g.constant(np.array([0.0, 0.0, 1.0])[:, None, None], "one")))
        scale, offset = self._scale_and_offset()
        if not self._folds:
            parts = g.node("Mul", parts, g.constant(scale, "scale"))
        if offset.any():
            parts = g.node("Add", parts, g.constant(offset, "offset"))
        return g.reshape(parts, [6, 1, bins, -1, count])

    def _grown(self, u: Value) -> Value:
        """Write the exponentials of widths and heights, and slopes as far as they are made before a bin is chosen."""
        g, spline = self._g, self._spline
        if spline.limit:
            softened = g.node("Mul", g.node("Abs", u), g.constant(spline._steepness[..., None], "steepness"))
            return g.node("Exp", g.node("Div", u, g.node("Add", softened, 1.0)))
        # On CUDA, parts of a Split or a Concat that differ would have their sizes copied there in every run, and a
        # reduction to the maximum needs cuDNN.
        *both, slopes = g.split(u, [1, 1, 1], axis=0)
        shares = g.concat(both, axis=0)
        largest, *others = g.split(shares, [1] * (spline.bins + 1), axis=1)
        for first in range(0, len(others), _MOST_OPERANDS - 1):
            largest = g.node("Max", largest, *others[first : first + _MOST_OPERANDS - 1])
        grown = g.node("Exp", g.node("Sub", shares, largest))
        return g.concat([*g.split(grown, [1, 1], axis=0), slopes], axis=0)

    def _rows(self) -> tuple[Array, Array]:
        """Return what makes starts, sizes and both slopes of exponentials, (3, 2 K, K + 1), and totals, (3, 1, K + 1).

        Where the scale has as few digits as TF32 keeps, it is folded in; ones and such a scale are exact there too.
        """
        bins = self._spline.bins
        starts, own = (np.arange(bins + 1) < np.arange(bins)[:, None]) * 1.0, np.eye(bins, bins + 1)
        sizes = np.concatenate([starts, own]) * (self._scale_and_offset()[0][0, 0, 0] if self._folds else 1.0)
        slopes = np.concatenate([own, np.eye(bins, bins + 1, 1)])
        total = np.append(np.ones(bins), 0.0)
        return np.stack([sizes, sizes, slopes]), np.stack([total, total, 0 * total])[:, None]

    @property
    def _folds(self) -> bool:
        spline = self._spline
        scale = np.float32(spline.span * (1 - spline.bins * spline.least_width))
        few_digits = not scale.view(np.int32) & _BEYOND_TF32
        return spline.least_width == spline.least_height and bool(few_digits)

    def _scale_and_offset(self) -> tuple[Array, Array]:
        """Return the scale (3, 1, 1) and the offset (3, 2 K, 1) of the starts and sizes as parts of the box."""
        spline, bins = self._spline, self._spline.bins
        scale = spline.span * np.append(1 - bins * spline._least, 1 / spline.span)
        least = spline.span * spline._least
        offset = np.concatenate([spline.low + least * np.arange(bins), least * np.ones(bins)], axis=1)
        return scale[:, None, None], np.concatenate([offset, np.zeros((1, 2 * bins))])[..., None]

    def forward(self, x: Value) -> Value:
        g, spline = self._g, self._spline
        inside = g.node("Clip", x, spline.low, spline.high)
        v = self._turned(inside) if spline.turn else inside
        left, width, bottom, height, first, last = self._bin(LEFT, v)
        a = g.node("Sub", v, left)
        b = g.node("Max", g.node("Sub", width, a), 0.0)
        forms = self._forms(g.node("Div", height, width), first, last, a, b)
        q, total, rising = g.split(forms, [1, 1, 1], axis=0)
        y = g.node("Add", bottom, g.node("Mul", height, g.node("Div", rising, q)))
        return self._back(x, inside, y, self._log_slope(height, q, total))

    def inverse(self, y: Value) -> Value:
        g, spline = self._g, self._spline
        inside = g.node("Clip", y, spline.low, spline.high)
        left, width, bottom, height, first, last = self._bin(BOTTOM, inside)
        a = g.node("Sub", inside, bottom)
        b, s = g.node("Max", g.node("Sub", height, a), 0.0), g.node("Div", height, width)
        u = g.node("Sub", g.node("Mul", first, b), g.node("Mul", last, a))
        twice = g.node("Add", s, s)
        p, q = (g.node("Mul", twice, part) for part in (a, b))
        m = g.node("Add", g.node("Abs", u), g.node("Sqrt", g.node("Add", g.node("Mul", u, u), g.node("Mul", p, q))))
        falling = g.node("Less", u, 0.0)
        over, under = g.node("Where", falling, m, p), g.node("Where", falling, q, m)
        total = g.node("Add", over, under)
        xi = g.node("Div", over, total)
        x = g.node("Add", left, g.node("Mul", width, xi))
        x = self._turned_back(x) if spline.turn else x
        if not self._track.wants_density:
            return self._back(y, inside, x, None)
        forms = self._forms(s, first, last, xi, g.node("Div", under, total))
        q, total, _ = g.split(forms, [1, 1, 1], axis=0)
        return self._back(y, inside, x, self._log_slope(s, q, total))

    def _bin(self, row: int, v: Value) -> list[Value]:
        """Write the numbers of the bin of v, [1, 1, batch, C] each."""
        g, bins = self._g, self._spline.bins
        if self._known is None:
            places = (np.array([number], dtype=np.int64) for number in (row, row + 1, 0))
            starts = g.node("Slice", self._table, *(g.constant(place, "slice") for place in places))
        else:
            starts = g.constant(self._known[row : row + 1], "starts")
        number = g.sum_columns(g.cast(g.node("GreaterOrEqual", v, starts)), keep=True, axis=2)
        mine = g.node("Equal", number, g.constant(np.arange(1.0, bins + 1)[:, None, None], "numbers"))
        picked = g.sum_columns(g.node("Where", mine, self._table, 0.0), axis=2)
        *corner, first, last = g.split(picked, [1] * 6, axis=0)
        if self._has_slopes:
            return [*corner, first, last]
        return [*corner, *g.split(self._softplus(g.concat([first, last], axis=0)), [1, 1], axis=0)]

    def _softplus(self, slopes: Value) -> Value:
        """Write least_slope + log(1 + e^u)."""
        g = self._g
        grown = g.node("Add", g.node("Exp", g.node("Min", slopes, LARGEST_EXPONENT)), 1.0)
        return g.node("Add", g.node("Max", slopes, g.node("Log", grown)), self._spline.least_slope)

    def _forms(self, s: Value, first: Value, last: Value, a: Value, b: Value) -> Value:
        """Write q, the sum in the slope, and what rises, [3, batch, C]."""
        g = self._g
        squares = g.node("Mul", g.concat([a, a, b], axis=1), g.concat([a, b, b], axis=1))
        terms = g.node("Mul", g.concat([s, first, last], axis=0), squares)
        terms = g.node("Mul", terms, g.constant(_SUMS[..., None, None], "sums"))
        return g.node("ReduceSum", terms, g.constant(np.array([1, 2]), "axes"), keepdims=0)

    def _log_slope(self, height: Value, q: Value, total: Value) -> Value:
        """Write log(height^2 total / q^2)."""
        g = self._g
        ratio = g.node("Div", height, q)
        return g.node("Log", g.node("Mul", g.node("Mul", ratio, ratio), total))

    def _turned(self, x: Value) -> Value:
        g, spline = self._g, self._spline
        ahead = g.node("Less", x, spline.high - spline.turn)
        return g.node("Where", ahead, g.node("Add", x, spline.turn), g.node("Sub", x, spline.span - spline.turn))

    def _turned_back(self, x: Value) -> Value:
        g, spline = self._g, self._spline
        behind = g.node("Less", x, spline.low + spline.turn)
        return g.node("Where", behind, g.node("Add", x, spline.span - spline.turn), g.node("Sub", x, spline.turn))

    def _back(self, given: Value, inside: Value, found: Value, log_slope: Value | None) -> Value:
        """Write found [batch, C], or what was given outside of the box, and add the logarithm of the slope."""
        g = self._g
        if self._spline.tails == "identity":
            same = g.node("Equal", given, inside)
            found = g.node("Where", same, found, given)
            log_slope = None if log_slope is None else g.node("Where", same, log_slope, 0.0)
        if log_slope is not None:
            self._track.log_slope(g.reshape(log_slope, [-1, self._count]), self._count)
        return g.reshape(found, [-1, self._count])
