"""Leaky softplus, its slope and its inverse, in operators that are exact in the tails on every provider."""

from math import exp

from lunet_export.families.lunet.graphs.halley_start import HalleyStart
from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.graphs.elementwise import LARGEST_EXPONENT, Exponential, exponential


def _slope(g: GraphBuilder, e: Exponential, alpha: float) -> Value:
    """alpha + (1 - alpha) sigmoid, as (w + alpha) / (w + 1)."""
    return g.node("Div", g.node("Add", e.w, alpha), e.t)


def scaled_leaky_softplus(g: GraphBuilder, a: Value, alpha: float) -> tuple[Value, Value]:
    """f(a) / (1 - alpha), whose factor goes into the next weights, and f'(a), both [batch, dim].

    alpha / (1 - alpha) a + softplus(a) and alpha + (1 - alpha) sigmoid(a).
    """
    e = exponential(g, a)
    softplus = g.node("Max", a, g.node("Log", e.t))
    return g.node("Add", g.node("Mul", a, alpha / (1 - alpha)), softplus), _slope(g, e, alpha)


def slope_at(g: GraphBuilder, a: Value, alpha: float, *, shift: float) -> Value:
    """f'(a + shift), [batch, dim]; sigmoid(a + shift) = w / (w + e^-shift) with w = e^a."""
    w, k = g.node("Exp", g.node("Min", a, LARGEST_EXPONENT)), exp(-shift)
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
