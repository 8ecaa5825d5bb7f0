"""The elementwise layers: the value in one direction, and what to add to its log-determinant a number.

Both are spelled in operators that are exact in the tails, and none needs a branch: a function that changes its form at
a point is the sum of its forms, each of a number held on its own side.
"""

from math import exp, log, log1p

import numpy as np

from lunet_export.families.composed.layers import LeakyReLU, LogTanh, Sigmoid, Softclip, Tanh, range_of
from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.graphs.elementwise import exponential
from lunet_export.layers.domain import Domain

Fixed = LeakyReLU | Sigmoid | Tanh | LogTanh | Softclip


def value(g: GraphBuilder, layer: Fixed, x: Value) -> tuple[Value, Value, float]:
    """y [batch, dim] of x, and log|dy/dx| as a tensor [batch, dim] plus a number."""
    if isinstance(layer, LeakyReLU):
        y = g.node("Max" if layer.slope <= 1 else "Min", x, g.node("Mul", x, layer.slope))
        return y, g.node("Mul", _where_negative(g, x), log(layer.slope)), 0.0
    if isinstance(layer, Sigmoid):
        e = exponential(g, x)
        softplus = g.node("Max", x, g.node("Log", e.t))
        return g.node("Div", e.w, e.t), g.node("Sub", x, g.node("Add", softplus, softplus)), 0.0
    if isinstance(layer, Softclip):
        grown = g.node("Add", g.node("Mul", g.node("Abs", x), 1 / layer.bound), 1.0)
        return g.node("Div", x, grown), g.node("Mul", g.node("Log", grown), -2.0), 0.0
    if isinstance(layer, LogTanh):
        return _log_tanh(g, layer, x)
    return g.node("Tanh", x), _log_slope_of_tanh(g, g.node("Abs", x)), 2 * log(2)


def inverse(g: GraphBuilder, layer: Fixed, y: Value) -> tuple[Value, Value, float]:
    """x [batch, dim] of y, and log|dx/dy| as a tensor [batch, dim] plus a number."""
    if isinstance(layer, LeakyReLU):
        x = g.node("Min" if layer.slope <= 1 else "Max", y, g.node("Mul", y, 1 / layer.slope))
        return x, g.node("Mul", _where_negative(g, y), -log(layer.slope)), 0.0
    if isinstance(layer, Sigmoid):
        inside = g.node("Clip", y, layer.margin, 1 - layer.margin) if layer.margin else _inside(g, layer, y)
        rest = g.node("Sub", 1.0, inside)
        return (
            g.node("Log", g.node("Div", inside, rest)),
            g.node("Neg", g.node("Log", g.node("Mul", inside, rest))),
            0.0,
        )
    if isinstance(layer, LogTanh):
        return _inverse_log_tanh(g, layer, y)
    y = _inside(g, layer, y)
    if isinstance(layer, Softclip):
        rest = g.node("Sub", 1.0, g.node("Mul", g.node("Abs", y), 1 / layer.bound))
        return g.node("Div", y, rest), g.node("Mul", g.node("Log", rest), -2.0), 0.0
    more, less = g.node("Add", y, 1.0), g.node("Sub", 1.0, y)
    x = g.node("Mul", g.node("Log", g.node("Div", more, less)), 0.5)
    return x, g.node("Neg", g.node("Log", g.node("Mul", more, less))), 0.0


def _inside(g: GraphBuilder, layer: Fixed, y: Value) -> Value:
    """y within the open interval that the layer's values lie in: a number near its end may have rounded onto it."""
    least, most = (np.array([end]) for end in range_of(layer))
    low, high = Domain(least, most, closed=False).ends(g.dtype)
    return g.node("Clip", y, float(low[0]), float(high[0]))


def _where_negative(g: GraphBuilder, x: Value) -> Value:
    """1 where x < 0, and 0 elsewhere."""
    return g.cast(g.node("Less", x, 0.0))


def _log_slope_of_tanh(g: GraphBuilder, away: Value) -> Value:
    """-2 (|x| + log(1 + e^(-2|x|))) of |x|: log(1 - tanh^2 x) less 2 log 2."""
    t = g.node("Add", g.node("Exp", g.node("Mul", away, -2.0)), 1.0)
    return g.node("Mul", g.node("Add", away, g.node("Log", t)), -2.0)


def _log_tanh(g: GraphBuilder, layer: LogTanh, x: Value) -> tuple[Value, Value, float]:
    """sign(x) (tanh(min(|x|, cut)) + tail log(max(|x|, cut) / cut)); see `_jump` for the slope."""
    away = g.node("Abs", x)
    near = g.node("Min", away, layer.cut)
    far = g.node("Log", g.node("Max", g.node("Div", away, layer.cut) if layer.cut != 1 else away, 1.0))
    grown = g.node("Add", g.node("Tanh", near), g.node("Mul", far, layer.tail))
    y = g.node("Mul", g.node("Sign", x), grown)
    slope = g.node("Sub", _log_slope_of_tanh(g, near), far)
    beyond = g.cast(g.node("Less", layer.cut, away))
    return y, g.node("Add", slope, g.node("Mul", beyond, _jump(layer))), 2 * log(2)


def _inverse_log_tanh(g: GraphBuilder, layer: LogTanh, y: Value) -> tuple[Value, Value, float]:
    away = g.node("Abs", y)
    near = g.node("Min", away, layer.image)
    more, less = g.node("Add", near, 1.0), g.node("Sub", 1.0, near)
    beyond = g.node("Sub", g.node("Max", away, layer.image), layer.image)
    shift = g.node("Mul", beyond, 1 / layer.tail)  # log of far / cut
    far = g.node("Sub", g.node("Exp", shift), 1.0)
    far = g.node("Mul", far, layer.cut) if layer.cut != 1 else far  # a runtime would take the product out
    grown = g.node("Add", g.node("Mul", g.node("Log", g.node("Div", more, less)), 0.5), far)
    x = g.node("Mul", g.node("Sign", y), grown)
    slope = g.node("Add", g.node("Neg", g.node("Log", g.node("Mul", more, less))), shift)
    outside = g.cast(g.node("Less", layer.image, away))
    return x, g.node("Sub", slope, g.node("Mul", outside, _jump(layer))), 0.0


def _jump(layer: LogTanh) -> float:
    """By how much the log of the slope, there log(tail / cut), is larger just beyond the cut than just before it.

    Before it, it is log(1 - tanh^2 cut) = -2 (cut + log(1 + e^(-2 cut)) - log 2): a difference from 1 would be rounded.
    """
    return log(layer.tail / layer.cut) + 2 * (layer.cut + log1p(exp(-2 * layer.cut)) - log(2))
