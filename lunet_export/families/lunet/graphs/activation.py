"""The activations, their slopes and their inverses, in operators that are exact in the tails on every provider.

Values and roots are in units and from an origin that make the nodes few; the linear maps around take scale and shift
for nothing. LeakyRelu is spelled as a maximum: the CPU provider has no kernel of the operator for float64.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from typing import Protocol

from lunet_export.errors import BadInputError
from lunet_export.families.lunet.graphs import halley_start, tanh_steps
from lunet_export.families.lunet.graphs.halley_start import HalleyStart
from lunet_export.families.lunet.reference import Activation
from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.graphs.elementwise import LARGEST_EXPONENT, Exponential, exponential

_FLATTEST_KINK = 1e-6  # smaller alphas make numbers that are none in float32


def scale_of(f: Activation) -> float:
    """The unit of the graph's values of f: 1 - alpha leaves softplus and tanh themselves without a factor."""
    return 1.0 if f.name == "leaky-relu" else 1 - f.alpha


def scaled_value(g: GraphBuilder, a: Value, f: Activation) -> tuple[Value, Value]:
    """f(a) / scale_of(f), whose factor goes into the next weights, and f'(a), both [batch, dim]."""
    return _SCALED[f.name](g, a, f.alpha)


class Inverse(Protocol):
    """How a graph inverts f; it knows roots x as x - shift and values y as (y - shift) / scale."""

    @property
    def scale(self) -> float:
        """Of values."""

    @property
    def shift(self) -> float:
        """Of both."""

    def root(self, g: GraphBuilder, target: Value) -> Value:
        """x - shift with f(x) = y from target = (y - shift) / scale, [batch, dim]."""

    def slope(self, g: GraphBuilder, x: Value) -> Value:
        """f' at a root, [batch, dim]."""


def inverse_of(f: Activation, dtype: str) -> Inverse:
    """The inverse for a graph of that dtype.

    Raises:
        BadInputError: alpha is too close to 0, or to 1.
    """
    if f.name == "leaky-softplus":
        return _SoftplusInverse(halley_start.fit(f.alpha, dtype))
    if f.name == "leaky-tanh":
        return _TanhInverse(f.alpha, tanh_steps.fit(f.alpha, dtype))
    if f.alpha < _FLATTEST_KINK:
        raise BadInputError(f"Expected an alpha of at least {_FLATTEST_KINK} to export a leaky ReLU; got {f.alpha}.")
    return _ReLUInverse(f.alpha)


def _slope(g: GraphBuilder, e: Exponential, alpha: float) -> Value:
    """alpha + (1 - alpha) sigmoid, as (w + alpha) / (w + 1)."""
    return g.node("Div", g.node("Add", e.w, alpha), e.t)


def scaled_leaky_softplus(g: GraphBuilder, a: Value, alpha: float) -> tuple[Value, Value]:
    """alpha / (1 - alpha) a + softplus(a) and alpha + (1 - alpha) sigmoid(a)."""
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


@dataclass(frozen=True)
class _SoftplusInverse:
    start: HalleyStart

    @property
    def scale(self) -> float:
        return 1 - self.start.alpha

    @property
    def shift(self) -> float:
        return self.start.shift

    def root(self, g: GraphBuilder, target: Value) -> Value:
        return inverse_leaky_softplus(g, target, self.start)

    def slope(self, g: GraphBuilder, x: Value) -> Value:
        return slope_at(g, x, self.start.alpha, shift=self.start.shift)


def scaled_leaky_relu(g: GraphBuilder, a: Value, alpha: float) -> tuple[Value, Value]:
    """max(a, alpha a), and alpha or 1."""
    return g.node("Max", a, g.node("Mul", a, alpha)), _leaky_relu_slope(g, a, alpha)


def _leaky_relu_slope(g: GraphBuilder, a: Value, alpha: float) -> Value:
    return g.node("Where", g.node("Less", a, 0.0), alpha, 1.0)


@dataclass(frozen=True)
class _ReLUInverse:
    alpha: float
    scale: float = 1.0
    shift: float = 0.0

    def root(self, g: GraphBuilder, target: Value) -> Value:
        return g.node("Min", target, g.node("Div", target, self.alpha))

    def slope(self, g: GraphBuilder, x: Value) -> Value:
        return _leaky_relu_slope(g, x, self.alpha)


def scaled_leaky_tanh(g: GraphBuilder, a: Value, alpha: float) -> tuple[Value, Value]:
    """alpha / (1 - alpha) a + tanh a and alpha + (1 - alpha) (1 - tanh^2 a)."""
    value = g.node("Add", g.node("Mul", a, alpha / (1 - alpha)), g.node("Tanh", a))
    return value, _leaky_tanh_slope(g, a, alpha)


def _leaky_tanh_slope(g: GraphBuilder, a: Value, alpha: float) -> Value:
    """1 - tanh^2 a as 4 / (e^a + e^-a)^2: the difference would be rounded in units of 1, hundreds of alpha's own."""
    e = g.node("Exp", g.node("Clip", a, -LARGEST_EXPONENT / 2, LARGEST_EXPONENT / 2))  # squared it is a float32
    both = g.node("Add", e, g.node("Div", 1.0, e))
    return g.node("Add", g.node("Div", 4 * (1 - alpha), g.node("Mul", both, both)), alpha)


@dataclass(frozen=True)
class _TanhInverse:
    """Newton's iteration as in `tanh_steps`."""

    alpha: float
    steps: int
    shift: float = 0.0

    @property
    def scale(self) -> float:
        return 1 - self.alpha

    def root(self, g: GraphBuilder, target: Value) -> Value:
        """With c = alpha / (1 - alpha) and r = y / (1 - alpha) - tanh x - c x, a step is x + r / (1 + c - tanh^2 x)."""
        straight = 1 / self.scale  # where y is 1
        beyond = g.node("Sub", target, g.node("Clip", target, -straight, straight))
        x = g.node("Add", g.node("Mul", target, self.scale), g.node("Mul", beyond, self.scale**2 / self.alpha))
        for _ in range(self.steps):
            t = g.node("Tanh", x)
            residual = g.node("Sub", g.node("Sub", target, t), g.node("Mul", x, self.alpha / self.scale))
            slope = g.node("Sub", straight, g.node("Mul", t, t))
            x = g.node("Add", x, g.node("Div", residual, slope))
        return x

    def slope(self, g: GraphBuilder, x: Value) -> Value:
        return _leaky_tanh_slope(g, x, self.alpha)


_SCALED: dict[str, Callable[[GraphBuilder, Value, float], tuple[Value, Value]]] = {
    "leaky-softplus": scaled_leaky_softplus,
    "leaky-relu": scaled_leaky_relu,
    "leaky-tanh": scaled_leaky_tanh,
}
