"""An activation whose inverse is as cheap as itself: both directions are closed and have one form."""

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.layers.elementwise import Activation, number
from lunet_export.layers.graph import Graph, Track, Value

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

    @property
    def _halves(self) -> tuple[Any, Any]:
        return (1 + self.alpha) / 2, (1 - self.alpha) / 2

    def nodes(self, track: Track) -> None:
        g, x = track.g, track.rows()
        line = g.node("Max", x, g.node("Mul", x, number(g, self.alpha, "alpha")))
        s, curvature = self._curvature(g, x)
        track.replace(g.node("Add", line, curvature))
        track.slope(self._slope(g, x, s, curvature), self.least, self.most)

    def inverse_nodes(self, track: Track) -> None:
        """Write both forms of the root, of which each side of 0 takes its own."""
        g, y = track.g, track.rows()
        x = self._root(g, y)
        track.replace(x)
        if track.wants_density:
            track.slope(self._slope(g, x, *self._curvature(g, x)), self.least, self.most)

    def _root(self, g: Graph, y: Value) -> Value:
        p, q = self._halves
        r = _root_of_squares(g, g.node("Abs", y), 4 * self.alpha)
        s = g.node("Mul", r, number(g, q, "half"))
        grown = g.node("Mul", y, number(g, p, "mean"))
        left = g.node("Div", g.node("Sub", grown, s), number(g, self.alpha, "alpha"))
        ratio = g.node("Div", g.node("Add", y, number(g, 2 * q, "twice")), g.node("Add", grown, s))
        right = g.node("Mul", g.node("Sub", y, number(g, 2 * q, "twice")), ratio)
        return g.node("Where", g.node("Less", y, 0.0), left, right)

    def _curvature(self, g: Graph, x: Value) -> tuple[Value, Value]:
        """Return s = sqrt(x^2 + 4) and 4 q / (s + |x|), the distance between f and its asymptotes."""
        size = g.node("Abs", x)
        s = _root_of_squares(g, size, 4.0)
        return s, g.node("Div", number(g, 4 * self._halves[1], "four"), g.node("Add", s, size))

    def _slope(self, g: Graph, x: Value, s: Value, curvature: Value) -> Value:
        share = g.node("Div", curvature, s)
        left, right = g.node("Add", share, number(g, self.alpha, "alpha")), g.node("Sub", 1.0, share)
        return g.node("Where", g.node("Less", x, 0.0), left, right)


def _root_of_squares(g: Graph, size: Value, addend: float | Array) -> Value:
    """Write sqrt(size^2 + addend) of sizes >= 0, which overflows nowhere: beyond 1e18 it is the size itself."""
    held = g.node("Min", size, 1e18)  # its square is a float32
    near = g.node("Sqrt", g.node("Add", g.node("Mul", held, held), number(g, addend, "addend")))
    return g.node("Max", near, size)
