"""A smooth clip, from R to an interval."""

from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from lunet_export.layers.elementwise import Elementwise
from lunet_export.layers.graph import Track

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Softclip(Elementwise):
    """This layer is y = x / (1 + |x| / bound), from R to (-bound, bound)."""

    bound: float

    @property
    def range(self) -> tuple[float, float]:
        return -self.bound, self.bound

    def within_limits(self) -> bool:
        return self.bound > 0

    def value(self, x: Array) -> Array:
        return x / (1 + np.abs(x) / self.bound)

    def log_slope(self, x: Array) -> Array:
        return -2 * np.log1p(np.abs(x) / self.bound)

    def root(self, y: Array) -> Array:
        return y / ((self.bound - np.abs(y)) / self.bound)  # this difference is exact near the bound

    def nodes(self, track: Track) -> None:
        g, x = track.g, track.rows()
        grown = g.node("Add", g.node("Mul", g.node("Abs", x), 1 / self.bound), 1.0)
        track.replace(g.node("Div", x, grown))
        track.log_slope(g.node("Mul", g.node("Log", grown), -2.0), g.dim)

    def inverse_nodes(self, track: Track) -> None:
        g = track.g
        y = self.inside_nodes(g, track.rows())
        rest = g.node("Sub", self.bound, g.node("Abs", y))  # exact near the bound
        track.replace(g.node("Div", y, rest))
        track.stretch(self.bound, 0.0)
        if track.wants_density:
            track.log_slope(g.node("Mul", g.node("Log", rest), 2.0), g.dim)
            track.constant(-2 * g.dim * log(self.bound))
