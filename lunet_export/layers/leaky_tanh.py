"""An activation that compresses both tails."""

from dataclasses import dataclass
from functools import lru_cache
from math import inf

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import BadInputError
from lunet_export.layers.elementwise import Activation, scaled
from lunet_export.layers.graph import LARGEST_EXPONENT, Graph, Track, Value
from lunet_export.layers.newton import newton
from lunet_export.layers.softplus import softplus

Array = NDArray[np.float64]

_MOST_STEPS = 9
#: Error allowed after the steps in float64, in units of 1, |x| or |y| / f', whichever is largest: one unit roundoff of
#: float32; what float64 itself leaves.
_ALLOWED = {"float32": 2.0**-24, "float64": 2.0**-50}


@dataclass(frozen=True)
class LeakyTanh(Activation):
    """This activation is f(x) = alpha x + (1 - alpha) tanh x, 0 < alpha < 1.

    Its slopes are alpha + (1 - alpha) (1 - tanh^2 x).
    """

    option = "leaky-tanh"
    branches = ((-inf, -2.2), (-0.22, 0.22), (2.2, inf))

    alpha: float

    def value(self, x: Array) -> Array:
        return self.alpha * x + (1 - self.alpha) * np.tanh(x)

    def slope(self, x: Array) -> Array:
        """Return f'(x) by 1 - tanh^2 x = 4 / ((1 + e^2x) (1 + e^-2x)): the difference would lose digits."""
        return self.alpha + 4 * (1 - self.alpha) * np.exp(-softplus(2 * x) - softplus(-2 * x))

    def root(self, y: Array) -> Array:
        """Return the root by Newton's steps from between 0 and the root.

        |f(x)| is at most |x| and at most alpha |x| + 1 - alpha, so the start max(|y|, (|y| - 1 + alpha) / alpha) is no
        further from 0 than the root. Between the two f is concave in |x|, so every step climbs towards the root.
        """
        start = np.copysign(np.maximum(np.abs(y), (np.abs(y) - (1 - self.alpha)) / self.alpha), y)
        return newton(self, y, start)

    def nodes(self, track: Track) -> None:
        g, a = track.g, track.rows()
        value = g.node("Add", g.node("Mul", a, self.alpha / (1 - self.alpha)), g.node("Tanh", a))
        slope = self._slope(g, a)
        scaled(track, value, 1 - self.alpha)
        track.slope(slope, self.least, self.most)

    def inverse_nodes(self, track: Track) -> None:
        """Write Newton's steps x + r / (1 + c - tanh^2 x).

        There c = alpha / (1 - alpha) and r = y / (1 - alpha) - tanh x - c x.
        """
        g, unit = track.g, 1 - self.alpha
        steps = steps_of(self.alpha, g.dtype.name)
        track.stretch(1 / unit, 0.0)
        target = track.rows()
        straight = 1 / unit  # where y is 1
        beyond = g.node("Sub", target, g.node("Clip", target, -straight, straight))
        x = g.node("Add", g.node("Mul", target, unit), g.node("Mul", beyond, unit**2 / self.alpha))
        for _ in range(steps):
            t = g.node("Tanh", x)
            residual = g.node("Sub", g.node("Sub", target, t), g.node("Mul", x, self.alpha / unit))
            slope = g.node("Sub", straight, g.node("Mul", t, t))
            x = g.node("Add", x, g.node("Div", residual, slope))
        track.replace(x)
        if track.wants_density:
            track.slope(self._slope(g, x), self.least, self.most)

    def _slope(self, g: Graph, a: Value) -> Value:
        """Write 1 - tanh^2 a as 4 / (e^a + e^-a)^2: the difference would be rounded in units of 1, not of alpha."""
        e = g.node("Exp", g.node("Clip", a, -LARGEST_EXPONENT / 2, LARGEST_EXPONENT / 2))  # squared it is a float32
        both = g.node("Add", e, g.node("Div", 1.0, e))
        return g.node("Add", g.node("Div", 4 * (1 - self.alpha), g.node("Mul", both, both)), self.alpha)


@lru_cache
def steps_of(alpha: float, dtype: str) -> int:
    """Return the fewest of Newton's steps that reach `dtype` (float32 or float64), verified on a grid.

    A graph cannot test for convergence. The start is that of `LeakyTanh.root`, written without signs: x0(y) = y + (1 -
    alpha) / alpha (y - y'), with y' = y clipped to [-1, 1]. An alpha of 0.1 takes 4 steps in float32 and 5 in float64;
    one of 0.001 takes 8 and 9.

    Raises:
        BadInputError: if alpha is too close to 0.
    """
    f = LeakyTanh(alpha)
    y = np.concatenate([f.value(np.linspace(0.0, 40.0, 8001)), np.linspace(0.0, 2.0, 2001), np.geomspace(2.0, 1e6, 60)])
    exact = f.root(y)
    size = np.maximum(np.maximum(1.0, np.abs(exact)), y / f.slope(exact))
    for steps in range(1, _MOST_STEPS + 1):
        if (np.abs(after(f, y, steps) - exact) <= _ALLOWED[dtype] * size).all():
            return steps
    raise BadInputError(f"Expected an alpha of at least 0.001 to export a leaky tanh; got {alpha}.")


def after(f: LeakyTanh, y: Array, steps: int) -> Array:
    """Return x after this many steps towards f(x) = y, in float64."""
    x = y + (1 - f.alpha) / f.alpha * (y - np.clip(y, -1.0, 1.0))
    for _ in range(steps):
        x = x + (y - f.value(x)) / f.slope(x)
    return x
