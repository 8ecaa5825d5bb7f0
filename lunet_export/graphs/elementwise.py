"""Leaky softplus, its slope, its inverse and the logit, in operators that are exact in the tails on every provider.

ONNX Runtime's CPU Softplus is slow and its float32 Sigmoid is 17 % wrong at -15, so both come from one exponential:
    w = e^min(x, 80),  t = 1 + w,  softplus = max(x, log t),  sigmoid = w / t.
Above 80 the maximum takes x itself; far below, w is 0. Nothing overflows and nothing is NaN.
"""

from dataclasses import dataclass
from math import log

import numpy as np

from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.graphs.newton_start import NewtonStart
from lunet_export.preprocessing import Logit, largest_below

_LARGEST_EXPONENT = 80.0  # e^80 = 5.5e34 is a float32
_LARGEST_SQUARED = 1e18  # squares of larger numbers overflow float32


@dataclass(frozen=True)
class _Exponential:
    w: Value  # e^min(x, 80)
    t: Value  # 1 + w


def _exponential(g: GraphBuilder, x: Value) -> _Exponential:
    w = g.node("Exp", g.node("Min", x, _LARGEST_EXPONENT))
    return _Exponential(w, g.node("Add", w, 1.0))


def _softplus(g: GraphBuilder, x: Value, e: _Exponential) -> Value:
    return g.node("Max", x, g.node("Log", e.t))


def _sigmoid(g: GraphBuilder, e: _Exponential) -> Value:
    return g.node("Div", e.w, e.t)


def scaled_leaky_softplus(g: GraphBuilder, a: Value, alpha: float) -> tuple[Value, Value]:
    """f(a) / (1 - alpha), whose factor goes into the next weights, and f'(a), both [batch, dim].

    alpha / (1 - alpha) a + softplus(a) and alpha + (1 - alpha) sigmoid(a).
    """
    e = _exponential(g, a)
    value = g.node("Add", g.node("Mul", a, alpha / (1 - alpha)), _softplus(g, a, e))
    return value, g.node("Add", g.node("Mul", _sigmoid(g, e), 1 - alpha), alpha)


def inverse_leaky_softplus(g: GraphBuilder, y: Value, alpha: float, start: NewtonStart) -> Value:
    """The x with f(x) = y: the fitted start, then Newton's steps.

    With c = alpha / (1 - alpha) a step simplifies to x <- (x sigmoid - softplus + y / (1 - alpha)) / (sigmoid + c).
    """
    c = alpha / (1 - alpha)
    target = g.node("Mul", y, 1 / (1 - alpha))
    x = _start(g, y, start)
    for _ in range(start.steps):
        e = _exponential(g, x)
        sigmoid = _sigmoid(g, e)
        rest = g.node("Sub", g.node("Mul", x, sigmoid), _softplus(g, x, e))
        x = g.node("Div", g.node("Add", rest, target), g.node("Add", sigmoid, c))
    return x


def _start(g: GraphBuilder, y: Value, start: NewtonStart) -> Value:
    """p y + q - r sqrt((y - s)^2 + t^2) as (p / r) u + const - sqrt(u^2 + (r t)^2) with u = r (y - s).

    The square must not overflow, so y is clipped here; from a clipped start the first step is exact already.
    """
    limit = _LARGEST_SQUARED / max(1.0, start.r)
    y = g.node("Clip", y, -limit, limit)
    u = g.node("Mul", g.node("Sub", y, start.s), start.r)
    root = g.node("Sqrt", g.node("Add", g.node("Mul", u, u), (start.r * start.t) ** 2))
    line = g.node("Add", g.node("Mul", u, start.p / start.r), start.q + start.p * start.s)
    return g.node("Sub", line, root)


def logit(g: GraphBuilder, x: Value, p: Logit) -> tuple[Value, Value, float]:
    """log s - log(1 - s); log s + log(1 - s) summed over the columns; D log((1 - a) / levels)."""
    scale = (1 - p.margin) / p.levels
    log_s = g.node("Log", g.node("Add", g.node("Mul", x, scale), p.margin / 2))
    rest = g.node("Sub", float(p.levels), x)  # never 1 - s: 1 % wrong near white
    log_rest = g.node("Log", g.node("Add", g.node("Mul", rest, scale), p.margin / 2))
    total = g.sum_columns(g.node("Add", log_s, log_rest))
    return g.node("Sub", log_s, log_rest), total, g.dim * log(scale)


def inverse_logit(g: GraphBuilder, h: Value, p: Logit) -> Value:
    """levels / (1 - a) (sigmoid(h) - a / 2), clamped to [0, largest float below levels]."""
    stretch = p.levels / (1 - p.margin)
    x = g.node("Mul", _sigmoid(g, _exponential(g, h)), stretch)
    x = g.node("Sub", x, stretch * p.margin / 2)
    return g.node("Clip", x, 0.0, float(largest_below(p.levels, np.dtype(g.dtype))))
