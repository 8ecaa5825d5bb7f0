"""Leaky softplus, its slope, its inverse and the logit, in operators that are exact in the tails on every provider.

ONNX Runtime's CPU Softplus is slow and its float32 Sigmoid is 17 % wrong at -15, so both come from one exponential:
    w = e^min(x, 80),  t = 1 + w,  softplus = max(x, log t),  sigmoid = w / t.
Above 80 the maximum takes x itself; far below, w is 0. Nothing overflows and nothing is NaN.
"""

from dataclasses import dataclass
from math import exp, log

import numpy as np

from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.graphs.halley_start import HalleyStart
from lunet_export.preprocessing import Logit, largest_below

_LARGEST_EXPONENT = 80.0  # e^80 = 5.5e34 is a float32


@dataclass(frozen=True)
class _Exponential:
    w: Value  # e^min(x, 80)
    t: Value  # 1 + w


def _exponential(g: GraphBuilder, x: Value) -> _Exponential:
    w = g.node("Exp", g.node("Min", x, _LARGEST_EXPONENT))
    return _Exponential(w, g.node("Add", w, 1.0))


def _slope(g: GraphBuilder, e: _Exponential, alpha: float) -> Value:
    """alpha + (1 - alpha) sigmoid, as (w + alpha) / (w + 1)."""
    return g.node("Div", g.node("Add", e.w, alpha), e.t)


def scaled_leaky_softplus(g: GraphBuilder, a: Value, alpha: float) -> tuple[Value, Value]:
    """f(a) / (1 - alpha), whose factor goes into the next weights, and f'(a), both [batch, dim].

    alpha / (1 - alpha) a + softplus(a) and alpha + (1 - alpha) sigmoid(a).
    """
    e = _exponential(g, a)
    softplus = g.node("Max", a, g.node("Log", e.t))
    return g.node("Add", g.node("Mul", a, alpha / (1 - alpha)), softplus), _slope(g, e, alpha)


def slope_at(g: GraphBuilder, a: Value, alpha: float, *, shift: float) -> Value:
    """f'(a + shift), [batch, dim]; sigmoid(a + shift) = w / (w + e^-shift) with w = e^a."""
    w, k = g.node("Exp", g.node("Min", a, _LARGEST_EXPONENT)), exp(-shift)
    return g.node("Div", g.node("Add", w, alpha * k), g.node("Add", w, k))


def inverse_leaky_softplus(g: GraphBuilder, target: Value, start: HalleyStart) -> Value:
    """x - b with f(x) = y, from target = (y - b) / (1 - alpha), b = start.shift: the fitted start, then Halley's steps.

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


def _start(g: GraphBuilder, target: Value, start: HalleyStart) -> Value:
    """x0 - b, see `halley_start`; no square overflows, u being clipped."""
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


def _halley(g: GraphBuilder, x: Value, target: Value, start: HalleyStart) -> Value:
    """One step for x - b. Where the target is far, the bend is 0 or so small that it adds nothing."""
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
    bend = g.node("Div", sigmoid, t)  # sigmoid (1 - sigmoid) / k
    half = g.node("Mul", g.node("Div", g.node("Mul", bend, residual), slope), k / 2)
    return g.node("Add", x, g.node("Div", residual, g.node("Add", slope, half)))


def logit(g: GraphBuilder, x: Value, p: Logit) -> tuple[Value, Value, float]:
    """h = log(s / r), the product s r with log|dh/dx| = log((s + r) / (s r)), and D log(s + r).

    s = x + e and r = levels - x + e with e = levels a / (2 (1 - a)) stand for s / scale and (1 - s) / scale.
    """
    edge = p.levels * p.margin / (2 * (1 - p.margin))
    s = g.node("Add", x, edge)
    r = g.node("Add", g.node("Sub", float(p.levels), x), edge)  # never levels + edge - x: 1 % wrong near white
    return g.node("Log", g.node("Div", s, r)), g.node("Mul", s, r), g.dim * log(p.levels + 2 * edge)


def inverse_logit(g: GraphBuilder, negative: Value, p: Logit) -> Value:
    """levels / (1 - a) (1 / (1 + e^-h) - a / 2) from -h, clamped to [0, largest float below levels].

    Where e^-h is infinite the quotient is 0, which is right.
    """
    stretch = p.levels / (1 - p.margin)
    x = g.node("Div", stretch, g.node("Add", g.node("Exp", negative), 1.0))
    x = g.node("Sub", x, stretch * p.margin / 2)
    return g.node("Clip", x, 0.0, float(largest_below(p.levels, np.dtype(g.dtype))))


def inverse_logit_log_slope(g: GraphBuilder, negative: Value, p: Logit) -> tuple[Value, float]:
    """-log|dx/dh| = 2 softplus(-h) + h - log(levels / (1 - a)) from -h: the part [batch, dim], D times the constant."""
    e = _exponential(g, negative)
    softplus = g.node("Max", negative, g.node("Log", e.t))
    return g.node("Sub", g.node("Add", softplus, softplus), negative), -g.dim * log(p.levels / (1 - p.margin))
