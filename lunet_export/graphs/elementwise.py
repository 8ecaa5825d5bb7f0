"""The logit in front of a flow of images, in operators that are exact in the tails on every provider."""

from dataclasses import dataclass
from math import log

import numpy as np

from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.layers.graph import exponential
from lunet_export.preprocessing import Logit, largest_below


def logit(g: GraphBuilder, x: Value, p: Logit) -> tuple[Value, Value, float]:
    """Write h = log(s / r) and the product s r with log|dh/dx| = log((s + r) / (s r)); return them and D log(s + r).

    s = x + e and r = levels - x + e with e = levels a / (2 (1 - a)) stand for s / scale and (1 - s) / scale.
    """
    edge = p.levels * p.margin / (2 * (1 - p.margin))
    s = g.node("Add", x, edge)
    r = g.node("Add", g.node("Sub", float(p.levels), x), edge)  # never levels + edge - x: 1 % wrong near white
    return g.node("Log", g.node("Div", s, r)), g.node("Mul", s, r), g.dim * log(p.levels + 2 * edge)


def inverse_logit(g: GraphBuilder, negative: Value, p: Logit) -> Value:
    """Write levels / (1 - a) (1 / (1 + e^-h) - a / 2) from -h, clamped to [0, largest float below levels].

    Where e^-h is infinite the quotient is 0, which is right.
    """
    stretch = p.levels / (1 - p.margin)
    x = g.node("Div", stretch, g.node("Add", g.node("Exp", negative), 1.0))
    x = g.node("Sub", x, stretch * p.margin / 2)
    return g.node("Clip", x, 0.0, float(largest_below(p.levels, np.dtype(g.dtype))))


def inverse_logit_log_slope(g: GraphBuilder, negative: Value, p: Logit) -> tuple[Value, float]:
    """Write -log|dx/dh| = 2 softplus(-h) + h - log(levels / (1 - a)) from -h.

    The answer is the part [batch, dim] that depends on h, and D times the constant.
    """
    e = exponential(g, negative)
    softplus = g.node("Max", negative, g.node("Log", e.t))
    return g.node("Sub", g.node("Add", softplus, softplus), negative), -g.dim * log(p.levels / (1 - p.margin))


@dataclass(frozen=True)
class Preprocessed:
    """These are rows as the first block takes them."""

    h: Value  # [batch, dim]
    inverse_slope: Value = ""  # inverse slope of the pre-processing, to divide by
    constant: float = 0.0  # constant of its log_det


def preprocessed(g: GraphBuilder, x: Value, p: Logit | None) -> Preprocessed:
    """Write the logit of x [batch, dim], or take x itself."""
    if p is None:
        return Preprocessed(x)
    with g.scope("logit"):
        return Preprocessed(*logit(g, x, p))
