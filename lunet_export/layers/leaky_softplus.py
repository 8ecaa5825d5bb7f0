"""The activation of LU-Net (arXiv 2302.10524, section 3)."""

from dataclasses import dataclass
from math import exp, inf

import numpy as np
from numpy.typing import NDArray

from lunet_export.layers import halley_start
from lunet_export.layers.elementwise import Activation, scaled
from lunet_export.layers.graph import LARGEST_EXPONENT, Graph, Track, Value, exponential
from lunet_export.layers.halley_start import HalleyStart
from lunet_export.layers.newton import newton
from lunet_export.layers.softplus import leaky_softplus, leaky_softplus_slope

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LeakySoftplus(Activation):
    """This activation is f(x) = alpha x + (1 - alpha) log(1 + e^x), 0 < alpha < 1.

    Its slopes are alpha + (1 - alpha) / (1 + e^-x).
    """

    option = "leaky-softplus"
    branches = ((-inf, -3.0), (3.0, inf))

    alpha: float

    def value(self, x: Array) -> Array:
        return leaky_softplus(x, self.alpha)

    def slope(self, x: Array) -> Array:
        return leaky_softplus_slope(x, self.alpha)

    def root(self, y: Array) -> Array:
        """Return the root by Newton's steps from its right: f is convex, so every step descends towards the root."""
        return newton(self, y, np.minimum(y, y / self.alpha))

    def nodes(self, track: Track) -> None:
        g, a = track.g, track.rows()
        e = exponential(g, a)
        value = g.node("Max", a, g.node("Log", e.t))
        value = g.node("Add", g.node("Mul", a, self.alpha / (1 - self.alpha)), value)
        slope = g.node("Div", g.node("Add", e.w, self.alpha), e.t)  # alpha + (1 - alpha) sigmoid
        scaled(track, value, 1 - self.alpha)
        track.slope(slope, self.least, self.most)

    def inverse_nodes(self, track: Track) -> None:
        start = halley_start.fit(self.alpha, track.g.dtype.name)
        scale = 1 / (1 - self.alpha)
        track.stretch(scale, -scale * start.shift)
        x = inverse_nodes(track.g, track.rows(), start)
        track.replace(x)
        track.stretch(1.0, start.shift)
        if track.wants_density:
            track.slope(slope_nodes(track.g, x, self.alpha, shift=start.shift), self.least, self.most)


def slope_nodes(g: Graph, a: Value, alpha: float, *, shift: float) -> Value:
    """Write f'(a + shift), [batch, dim]; sigmoid(a + shift) = w / (w + e^-shift) with w = e^a."""
    w, k = g.node("Exp", g.node("Min", a, LARGEST_EXPONENT)), exp(-shift)
    return g.node("Div", g.node("Add", w, alpha * k), g.node("Add", w, k))


def inverse_nodes(g: Graph, target: Value, start: HalleyStart) -> Value:
    """Write x - b with f(x) = y, from target = (y - b) / (1 - alpha), b = start.shift: the start, then Halley's steps.

    Scale and shift on both sides cost nothing: they are folded into the linear maps before and behind. With
    c = alpha / (1 - alpha) and r = y / (1 - alpha) - softplus(x) - c x, a step is
        x <- x + r / (d + sigmoid (1 - sigmoid) r / (2 d)),    d = sigmoid + c.
    """
    x = _start(g, target, start)
    for step in range(start.steps):
        if step:
            x = g.node("Clip", x, *(limit - start.shift for limit in start.straight))
        x = _halley(g, x, target, start)
    return x


def _start(g: Graph, target: Value, start: HalleyStart) -> Value:
    """Write x0 - b, see `halley_start`; no square overflows, since u is clipped."""
    scale, centre = start.rho * (1 - start.alpha), start.shift - start.s
    low, high = (u / scale - centre / (1 - start.alpha) for u in start.clip)
    u = g.node("Mul", g.node("Clip", target, low, high), scale)
    if centre:
        u = g.node("Add", u, start.rho * centre)
    root = g.node("Sqrt", g.node("Add", g.node("Mul", u, u), start.tau**2))
    x = g.node("Sub", g.node("Mul", u, start.A), root)
    if start.k is not None:  # here the operator Sigmoid is right enough
        x = g.node("Sub", x, g.node("Sigmoid", g.node("Mul", u, -start.k)))
    return g.node("Sub", x, centre) if centre else x


def _halley(g: Graph, x: Value, target: Value, start: HalleyStart) -> Value:
    """Write one step for x - b. Where the target is far, the curvature is 0 or so small that it adds nothing."""
    c, k = start.alpha / (1 - start.alpha), exp(-start.shift)
    w = g.node("Exp", x)
    t = g.node("Add", w, k)  # log t = softplus - b
    log_t = g.node("Log", t)
    if start.compensated:
        lost = g.node("Sub", w, g.node("Sub", t, k))  # what rounding took from t
        log_t = g.node("Add", log_t, g.node("Div", lost, t))
    sigmoid = g.node("Div", w, t)
    residual = g.node("Sub", g.node("Sub", target, log_t), g.node("Mul", x, c))
    slope = g.node("Add", sigmoid, c)
    curvature = g.node("Div", sigmoid, t)  # sigmoid (1 - sigmoid) / k
    half = g.node("Mul", g.node("Div", g.node("Mul", curvature, residual), slope), k / 2)
    return g.node("Add", x, g.node("Div", residual, g.node("Add", slope, half)))
