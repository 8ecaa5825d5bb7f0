"""The sigmoid, whose inverse is a logit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lunet_export.layers.elementwise import Elementwise
from lunet_export.layers.graph import Track, exponential
from lunet_export.layers.softplus import softplus

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sigmoid(Elementwise):
    """This layer is y = 1 / (1 + e^-x), from R to (0, 1). Its inverse, a logit, clips y to [margin, 1 - margin]."""

    margin: float = 0.0

    @property
    def range(self) -> tuple[float, float]:
        return 0.0, 1.0

    def within_limits(self) -> bool:
        return 0 <= self.margin < 0.5

    def value(self, x: Array) -> Array:
        return np.exp(-softplus(-x))

    def log_slope(self, x: Array) -> Array:
        return -softplus(x) - softplus(-x)

    def root(self, y: Array) -> Array:
        y = np.clip(y, self.margin, 1 - self.margin)
        return np.log(y) - np.log1p(-y)

    def nodes(self, track: Track) -> None:
        g, x = track.g, track.rows()
        e = exponential(g, x)
        softplus_of_x = g.node("Max", x, g.node("Log", e.t))
        track.replace(g.node("Div", e.w, e.t))
        track.log_slope(g.node("Sub", x, g.node("Add", softplus_of_x, softplus_of_x)), g.dim)

    def inverse_nodes(self, track: Track) -> None:
        g, y = track.g, track.rows()
        inside = g.node("Clip", y, self.margin, 1 - self.margin) if self.margin else self.inside_nodes(g, y)
        rest = g.node("Sub", 1.0, inside)
        track.replace(g.node("Log", g.node("Div", inside, rest)))
        if track.wants_density:
            track.log_slope(g.node("Log", g.node("Mul", inside, rest)), g.dim)
