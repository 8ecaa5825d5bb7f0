"""A hyperbolic tangent with logarithmic tails, from R to R."""

from dataclasses import dataclass
from math import exp, log, log1p, tanh

import numpy as np
from numpy.typing import NDArray

from lunet_export.layers import tanh as plain_tanh
from lunet_export.layers.elementwise import Elementwise
from lunet_export.layers.graph import Track

Array = NDArray[np.float64]

_LARGEST_CUT = 18.0  # a little further out tanh is 1 in float64, and has no inverse


@dataclass(frozen=True)
class LogTanh(Elementwise):
    """This layer is y = tanh x where |x| <= cut, and sign(x) (tanh cut + tail log(|x| / cut)) beyond: from R to R.

    It is nflows' `LogTanh`. 0 < cut < 18, tail > 0. With tail = cut (1 - tanh^2 cut) its slope would be continuous;
    nflows takes another. In a graph it needs no branch: it is the sum of both forms, each of a number held on its own
    side.
    """

    cut: float
    tail: float

    @property
    def image(self) -> float:
        """Return tanh cut."""
        return tanh(self.cut)

    def within_limits(self) -> bool:
        return 0 < self.cut < _LARGEST_CUT and self.tail > 0

    def value(self, x: Array) -> Array:
        far = self.image + self.tail * np.log(np.maximum(np.abs(x) / self.cut, 1.0))
        return np.where(np.abs(x) > self.cut, np.sign(x) * far, np.tanh(x))

    def log_slope(self, x: Array) -> Array:
        far = np.log(self.tail) - np.log(np.maximum(np.abs(x), self.cut))
        return np.where(np.abs(x) > self.cut, far, plain_tanh.log_slope(x))

    def root(self, y: Array) -> Array:
        away = np.abs(y)
        far = self.cut * np.exp((away - self.image) / self.tail)
        return np.where(away > self.image, np.sign(y) * far, np.arctanh(np.minimum(away, self.image)) * np.sign(y))

    def nodes(self, track: Track) -> None:
        g, x = track.g, track.rows()
        away = g.node("Abs", x)
        near = g.node("Min", away, self.cut)
        far = g.node("Log", g.node("Max", g.node("Div", away, self.cut) if self.cut != 1 else away, 1.0))
        grown = g.node("Add", g.node("Tanh", near), g.node("Mul", far, self.tail))
        track.replace(g.node("Mul", g.node("Sign", x), grown))
        slope = g.node("Sub", plain_tanh.log_slope_nodes(g, near), far)
        beyond = g.cast(g.node("Less", self.cut, away))
        track.log_slope(g.node("Add", slope, g.node("Mul", beyond, self._jump)), g.dim, g.dim * 2 * log(2))

    def inverse_nodes(self, track: Track) -> None:
        g, y = track.g, track.rows()
        away = g.node("Abs", y)
        near = g.node("Min", away, self.image)
        more, less = g.node("Add", near, 1.0), g.node("Sub", 1.0, near)
        beyond = g.node("Sub", g.node("Max", away, self.image), self.image)
        shift = g.node("Mul", beyond, 1 / self.tail)  # log of far / cut
        far = g.node("Sub", g.node("Exp", shift), 1.0)
        far = g.node("Mul", far, self.cut) if self.cut != 1 else far  # a runtime would take the product out
        grown = g.node("Add", g.node("Mul", g.node("Log", g.node("Div", more, less)), 0.5), far)
        track.replace(g.node("Mul", g.node("Sign", y), grown))
        if track.wants_density:
            slope = g.node("Sub", g.node("Log", g.node("Mul", more, less)), shift)
            outside = g.cast(g.node("Less", self.image, away))
            track.log_slope(g.node("Add", slope, g.node("Mul", outside, self._jump)), g.dim)

    @property
    def _jump(self) -> float:
        """Return by how much the log of the slope, log(tail / cut) just beyond the cut, exceeds that just before it.

        Before the cut it is log(1 - tanh^2 cut) = -2 (cut + log(1 + e^(-2 cut)) - log 2): a difference from 1 would be
        rounded.
        """
        return log(self.tail / self.cut) + 2 * (self.cut + log1p(exp(-2 * self.cut)) - log(2))
