"""An activation whose inverse is as cheap as itself: both directions are closed and have one form."""

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.layers.elementwise import Activation, number, scaled
from lunet_export.layers.errors import EXACT, Errors, of_elementwise
from lunet_export.layers.graph import Graph, Track, Value
from lunet_export.layers.layer import Step

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LeakySquareplus(Activation):
    """This activation is f(x) = p x + q sqrt(x^2 + 4), p = (1 + alpha) / 2, q = (1 - alpha) / 2.

    Its slopes are in (alpha, 1); alpha in (0, 1) is one number, or one for each unit, (D,).
    f'(x) = p + q x / sqrt(x^2 + 4). With p^2 - q^2 = alpha, squaring y - p x = q sqrt(x^2 + 4) gives
    alpha x^2 - 2 p y x + y^2 - 4 q^2 = 0, whose root on the right branch is
        x = (p y - q sqrt(y^2 + 4 alpha)) / alpha.
    Where y > 0 the difference loses digits, so it is multiplied out there:
        x = (y^2 - 4 q^2) / (p y + q sqrt(y^2 + 4 alpha)).
    """

    option = "leaky-squareplus"
    per_unit = True
    branches = ((-inf, -4.13), (4.13, inf))  # q (1 -+ x / sqrt(x^2 + 4)) is 0.05 (1 - alpha) there

    alpha: float | Array

    def value(self, x: Array) -> Array:
        """Return max(x, alpha x) + 4 q / (s + |x|), s = sqrt(x^2 + 4): f(x) without a difference."""
        _, q = self._halves
        return np.maximum(x, self.alpha * x) + 4 * q / (np.hypot(x, 2.0) + np.abs(x))

    def slope(self, x: Array) -> Array:
        """Return alpha + 4 q / (s (s - x)) on the left, 1 - 4 q / (s (s + x)) on the right, where nothing cancels."""
        _, q = self._halves
        s = np.hypot(x, 2.0)
        curvature = 4 * q / (s * (s + np.abs(x)))
        return np.where(x < 0, self.alpha + curvature, 1 - curvature)

    def root(self, y: Array) -> Array:
        p, q = self._halves
        root = np.hypot(y, 2 * np.sqrt(self.alpha))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(
                y > 0,
                (y - 2 * q) * ((y + 2 * q) / (p * y + q * root)),
                (p * y - q * root) / self.alpha,
            )

    def forward(self, x: Array, errors: Errors = EXACT) -> Step:
        """Return the rows; graphs add log(f' / q) and log q, which nearly cancel where alpha is near 1."""
        found = super().forward(x, errors)
        apart = np.abs(np.log(np.broadcast_to(self._halves[1], x.shape[1]))).sum()
        return found._replace(size=found.size + 2 * apart)

    def size_of_value(self, y: Array) -> Array:
        """Return the roundings of p x + q s: of two products and a root, and of their sum, which may cancel."""
        p, q = self._halves
        x = self.root(y)
        return 2 * p * np.abs(x) + 2 * q * np.hypot(x, 2.0) + np.abs(y)

    def size_of_root(self, x: Array, y: Array) -> Array:
        return of_elementwise(x) + np.abs(y) / self.slope(x)

    @property
    def _halves(self) -> tuple[Any, Any]:
        return (1 + self.alpha) / 2, (1 - self.alpha) / 2

    def nodes(self, track: Track) -> None:
        """Write s = sqrt(x^2 + 4), f / q = (p / q) x + s and f' / q = p / q + x / s.

        The factor q goes into the linear maps around. Beyond 1.8e19 s is infinite in float32, as log p is.
        """
        g, x, (p, q) = track.g, track.rows(), self._halves
        ratio = number(g, p / q, "ratio")
        s = g.node("Sqrt", g.node("Add", g.node("Mul", x, x), 4.0))
        scaled(track, g.node("Add", g.node("Mul", x, ratio), s), q)
        self._add_slope(track, g.node("Add", g.node("Div", x, s), ratio), q)

    def inverse_nodes(self, track: Track) -> None:
        """Write x = min(y, y / alpha) - h / (|y| + r), r = sqrt(y^2 + a): the difference is at most a few units off.

        Here x and y are in units of 2 sqrt(alpha / a), which go into the linear maps around, and h = a q / alpha. Where
        y^2 overflows, r is infinite and the root is the first term, as it should be. The slope is
        f'(x) = (alpha / q) / (p / q - y / r).
        """
        g, (p, q) = track.g, self._halves
        addend = self._addend(g)
        unit = 2 * np.sqrt(self.alpha / addend)
        track.stretch(1 / unit, 0.0)
        y = track.rows()
        r = g.node("Sqrt", g.node("Add", g.node("Mul", y, y), number(g, addend, "addend")))
        height = number(g, addend * q / self.alpha, "height")
        gap = g.node("Div", height, g.node("Add", g.node("Abs", y), r))
        scaled(track, g.node("Sub", self._line(g, y), gap), unit)
        if track.wants_density:
            with track.negated():
                self._add_slope(track, g.node("Sub", number(g, p / q, "ratio"), g.node("Div", y, r)), q / self.alpha)

    def _addend(self, g: Graph) -> float | Array:
        """Return the a of a few bits in [3.5, 4) whose a q / alpha is nearest to a number of the graph's dtype.

        Both constants are then as good as exact. Just below 4 a sum or a root has its smallest rounding error.
        """
        addends = 3.5 + np.arange(128) / 256
        heights = np.multiply.outer(np.asarray(self._halves[1] / self.alpha), addends)
        gaps = np.abs(heights.astype(g.dtype).astype(np.float64) - heights) / heights
        found = addends[gaps.argmin(axis=-1)]
        return found if isinstance(self.alpha, np.ndarray) else float(found)

    def _line(self, g: Graph, y: Value) -> Value:
        """Write min(y, y / alpha)."""
        if isinstance(self.alpha, float) and g.dtype == np.float32:  # ONNX Runtime has no other kernel on the CPU
            return g.node("LeakyRelu", y, alpha=1 / self.alpha)
        return g.node("Min", y, g.node("Mul", y, number(g, 1 / self.alpha, "steepest")))

    def _add_slope(self, track: Track, value: Value, unit: float | Array) -> None:
        """Add log(unit * value) of every unit, for values within [alpha / q, 1 / q]."""
        q = self._halves[1]
        track.constant(float(np.log(np.broadcast_to(unit, track.g.dim)).sum()))
        track.slope(value, float(np.min(self.alpha / q)), float(np.max(1 / q)))
