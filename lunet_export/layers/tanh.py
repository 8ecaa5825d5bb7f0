"""The hyperbolic tangent."""

from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from lunet_export.layers.elementwise import Elementwise
from lunet_export.layers.graph import Graph, Track, Value

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Tanh(Elementwise):
    """This layer is y = tanh x, from R to (-1, 1)."""

    @property
    def range(self) -> tuple[float, float]:
        return -1.0, 1.0

    def value(self, x: Array) -> Array:
        return np.tanh(x)

    def log_slope(self, x: Array) -> Array:
        return log_slope(x)

    def root(self, y: Array) -> Array:
        return np.arctanh(y)

    def nodes(self, track: Track) -> None:
        g, x = track.g, track.rows()
        track.replace(g.node("Tanh", x))
        track.log_slope(log_slope_nodes(g, g.node("Abs", x)), g.dim, g.dim * 2 * log(2))

    def inverse_nodes(self, track: Track) -> None:
        g = track.g
        y = self.inside_nodes(g, track.rows())
        more, less = g.node("Add", y, 1.0), g.node("Sub", 1.0, y)
        track.replace(g.node("Mul", g.node("Log", g.node("Div", more, less)), 0.5))
        if track.wants_density:
            track.log_slope(g.node("Log", g.node("Mul", more, less)), g.dim)


def log_slope(x: Array) -> Array:
    """Return log(1 - tanh^2 x) = 2 (log 2 - |x| - log(1 + e^(-2|x|)))."""
    away = np.abs(x)
    return 2 * (np.log(2) - away - np.log1p(np.exp(-2 * away)))


def log_slope_nodes(g: Graph, away: Value) -> Value:
    """Write log(1 - tanh^2 x) - 2 log 2 for away = |x|."""
    t = g.node("Add", g.node("Exp", g.node("Mul", away, -2.0)), 1.0)
    return g.node("Mul", g.node("Add", away, g.node("Log", t)), -2.0)
