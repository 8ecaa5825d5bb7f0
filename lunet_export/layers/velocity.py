"""A block of JKO-iFlow (arXiv 2212.14424): the flow of a velocity field over [0, 1], by a Runge-Kutta rule.

    dx/dt = v(x, t),  x(0) = x,  y = x(1),    d log|det| / dt = div v(x, t)

Both integrals are taken together, by `steps` equal steps of Kutta's 3/8 rule (1901), of order 4. The density is that of
the continuous flow up to the rule's error. The inverse, the same rule with t from 1 to 0, is exact up to it too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import log2
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.graph import Graph, Track, Value, exponential
from lunet_export.layers.layer import Layer, Step
from lunet_export.layers.softplus import softplus

Array = NDArray[np.float64]
Evaluate = Callable[[Array, float], tuple[Array, Array]]  # x (N, D), t -> v (N, D), terms (N, ...)

MOST_STEPS = 1000
#: Weights of the four evaluations of a step; they are made at t, t + h / 3, t + 2 h / 3 and t + h.
QUADRATURE = np.array([1.0, 3.0, 3.0, 1.0]) / 8


@dataclass(frozen=True)
class VelocityField:
    """This field is v(x, t) = W_m a_{m-1} + b_m,  a_l = s(W_l a_{l-1} + b_l),  a_0 = x.

    b_1 grows with time by `time` t, and s(x) = log(1 + e^(beta x)) / beta, elementwise. There is at least one hidden
    layer.

    Shapes: layers of pairs, matrices (out, in) and biases (out,), D -> ... -> D; time (H_1,).
    """

    layers: tuple[tuple[Array, Array], ...]
    time: Array

    @property
    def hidden(self) -> tuple[int, ...]:
        """Return the widths of the hidden layers."""
        return tuple(len(bias) for _, bias in self.layers[:-1])

    @cached_property
    def product(self) -> Array:
        """Return the weights that the divergence of one or two hidden layers needs.

        One: c_i = (W_1 W_2)_ii with div v = d . c; two: C = (W_1 W_3) o W_2^T with div v = d_1^T C d_2. d_l are the
        slopes s'. Shapes (H_1,), (H_1, H_2).
        """
        matrices = [matrix for matrix, _ in self.layers]
        if len(matrices) == 2:
            return (matrices[0] * matrices[1].T).sum(axis=1)
        first, middle, last = matrices
        return (first @ last) * middle.T

    def arrays(self) -> list[Array]:
        """Return matrices and biases in the order in which they are applied, then `time`."""
        return [*(array for layer in self.layers for array in layer), self.time]

    def halves(self) -> tuple["VelocityField", "VelocityField"]:
        """Return v(x, t / 2) / 2 and v(x, (1 + t) / 2) / 2, whose flows over [0, 1] in a row are this field's."""
        matrix, bias = self.layers[-1]
        (first, start), *inner = self.layers[:-1]
        slow = (matrix / 2, bias / 2)
        found = [
            VelocityField(((first, start + offset * self.time), *inner, slow), self.time / 2) for offset in (0.0, 0.5)
        ]
        return found[0], found[1]

    def divergence(self, slopes: Sequence[Array]) -> Array:
        """Return div v = trace of dv/dx from the slopes s' of the hidden layers, exactly.

        One and two hidden layers have closed forms; more take one tangent per dimension.
        """
        if len(slopes) == 1:
            return slopes[0] @ self.product
        if len(slopes) == 2:
            return ((slopes[0] @ self.product) * slopes[1]).sum(axis=1)
        *hidden, (last, _) = self.layers
        tangents = np.eye(len(last))[None]
        for (matrix, _), slope in zip(hidden, slopes, strict=True):
            tangents = (tangents @ matrix.T) * slope[:, None]
        return (tangents * last).sum(axis=(1, 2))

    def size_of_divergence(self, slopes: Sequence[Array]) -> Array:
        """Return the sum of the absolute values of the divergence's terms."""
        if len(slopes) == 1:
            return slopes[0] @ np.abs(self.product)
        if len(slopes) == 2:
            return ((slopes[0] @ np.abs(self.product)) * slopes[1]).sum(axis=1)
        matrices = tuple((np.abs(matrix), bias) for matrix, bias in self.layers)
        return VelocityField(matrices, self.time).divergence(slopes)

    def divergence_along(self, slopes: Sequence[Array], probe: Array) -> Array:
        """Return Hutchinson's estimate e^T (dv/dx) e (1990) for probes e (N, D), unbiased where E[e e^T] = I."""
        *hidden, (last, _) = self.layers
        tangent = probe
        for (matrix, _), slope in zip(hidden, slopes, strict=True):
            tangent = (tangent @ matrix.T) * slope
        return ((tangent @ last.T) * probe).sum(axis=1)

    def validate(self, dim: int, where: str) -> None:
        """Raise unless the arrays fit each other and are finite.

        Raises:
            CheckpointError: if they do not fit, or a number is not finite.
        """
        widths = [dim, *self.hidden, dim]
        wanted = [shape for out, into in zip(widths[1:], widths[:-1], strict=True) for shape in ((out, into), (out,))]
        got = [array.shape for array in self.arrays()]
        if len(self.layers) < 2 or 0 in widths or got != [*wanted, (widths[1],)]:
            raise CheckpointError(
                f"Expected layers {' -> '.join(map(str, widths))} with a time for the first in {where}; got shapes "
                f"{got}."
            )
        if not all(np.isfinite(array).all() for array in self.arrays()):
            raise CheckpointError(
                f"Expected finite numbers in {where}; got NaN or infinity. The training diverged or the file is "
                "damaged; use an earlier checkpoint."
            )


@dataclass(frozen=True)
class Velocity(Layer):
    """This layer moves x to x(1) along a velocity field; its log-determinant is the integral of the divergence.

    Rounding errors: |W| |a| + |b| of a linear map; 4 max(1, |beta s|) / beta of s, 4 of s'; |d_1|^T |C| |d_2| of a
    divergence, as a product and again in the sum of log p; 4 (|x| + h sum |k|) of a step of the rule. An implementation
    may leave the last biases out of x and add their integral later, so in each of the sizes |x| stands for |x| plus
    what these amount to.
    """

    forth_only: ClassVar[bool] = True

    field: VelocityField
    steps: int  # number of steps of the rule
    beta: float  # sharpness of s

    @property
    def width(self) -> int:
        return self.field.layers[0][0].shape[1]

    def arrays(self) -> list[NDArray[Any]]:
        return list(self.field.arrays())

    @property
    def work(self) -> float:
        """Return the products of four evaluations per step, with one tangent per dimension beyond two hidden layers."""
        tangents = self.width if len(self.field.hidden) > 2 else 1
        return 4 * self.steps * self.stored * tangents

    def with_steps(self, steps: int) -> "Velocity":
        """Return the same field, integrated by another number of steps."""
        return replace(self, steps=steps)

    def forward(self, x: Array, errors: Errors = EXACT) -> Step:
        y, terms = self._integrated(x, errors, self._with_divergence(errors), back=False)
        return Step(y, terms[:, 0], terms[:, 1])

    def inverse(self, y: Array, errors: Errors = EXACT) -> Array:
        def evaluate(x: Array, t: float) -> tuple[Array, Array]:
            return self.velocity(x, t, errors)[0], np.zeros(len(x))

        return self._integrated(y, errors, evaluate, back=True)[0]

    def log_det_estimate(self, x: Array, probe: Array) -> tuple[Array, Array]:
        """Return y and log|det dy/dx| with every divergence estimated along the probes (N, D)."""

        def evaluate(x: Array, t: float) -> tuple[Array, Array]:
            v, slopes = self.velocity(x, t)
            return v, self.field.divergence_along(slopes, probe)

        return self._integrated(x, EXACT, evaluate, back=False)

    def velocity(self, x: Array, t: float, errors: Errors = EXACT) -> tuple[Array, list[Array]]:
        """Return v(x, t), and the slopes s' of the hidden layers: (N, D) -> (N, D), (N, H_l) each."""
        *hidden, (last, bias) = self.field.layers
        a, start, extra, slopes = x, t * self.field.time, errors.left_out, []
        for matrix, shift in hidden:
            sharp = self.beta * _linear(a, matrix, shift + start, extra, errors)
            value, slope = softplus(sharp), np.exp(-softplus(-sharp))
            a = errors.value(value) / self.beta
            slopes.append(errors.value(slope))  # at most 1: an error of 4
            start, extra = np.zeros(1), 0.0
        return _linear(a, last, bias, extra, errors), slopes

    def _with_divergence(self, errors: Errors) -> Evaluate:
        """Return an evaluation of v, and in two columns of div v and the sum of its terms' absolute values."""

        def evaluate(x: Array, t: float) -> tuple[Array, Array]:
            v, slopes = self.velocity(x, t, errors)
            found = self.field.divergence(slopes)
            if errors.exact:
                return v, np.stack([found, np.abs(found)], axis=1)
            size = self.field.size_of_divergence([np.abs(slope) for slope in slopes])
            # One product for one and two hidden layers; every further layer multiplies the tangents once more.
            found = errors.product(found, lambda: size, count=max(1, len(slopes) - 1))
            return v, np.stack([found, size], axis=1)

        return evaluate

    def _integrated(self, x: Array, errors: Errors, evaluate: Evaluate, *, back: bool) -> tuple[Array, Array]:
        errors.leave_out(np.abs(self.field.layers[-1][1]))

        def rounded(x: Array, t: float) -> tuple[Array, Array]:
            v, terms = evaluate(x, t)
            size = lambda: 4 * self.steps * (np.abs(x) + errors.left_out + np.abs(v) / self.steps)  # noqa: E731
            return errors.value(v, size), terms

        return integrate(rounded, x, self.steps, back=back)

    def nodes(self, track: Track) -> None:
        y, offset = track.apart()
        block = _Unrolled(track.g, self, offset)
        end, evaluations = block.forward(y)
        terms = _divergences(track.g, evaluations, self.field, track.probe)
        track.replace(end)
        track.stretch(1.0, offset + self.field.layers[-1][1])
        track.weighted(terms, np.tile(QUADRATURE, self.steps) / self.steps)

    def inverse_nodes(self, track: Track) -> None:
        y, offset = track.apart()
        start = offset - self.field.layers[-1][1]
        begin = _Unrolled(track.g, self, start).back(y)
        track.replace(begin)
        track.stretch(1.0, start)

    def validate(self, dim: int, where: str) -> None:
        if type(self.steps) is not int or not 1 <= self.steps <= MOST_STEPS:
            raise CheckpointError(f"Expected 1 to {MOST_STEPS} steps per block; got {self.steps!r}. Train it again.")
        if not (isinstance(self.beta, float) and 0 < self.beta < np.inf):
            raise CheckpointError(f"Expected a positive beta; got {self.beta!r}. Train it again.")
        self.field.validate(dim, where)


def _linear(a: Array, matrix: Array, bias: Array, extra: Array | float, errors: Errors) -> Array:
    size = lambda: (np.abs(a) + 2 * extra) @ np.abs(matrix).T + np.abs(bias)  # noqa: E731
    return errors.product(a @ matrix.T + bias, size, constant=bias)


def step(evaluate: Evaluate, x: Array, t: float, h: float) -> tuple[Array, Array]:
    """Return x(t + h) after one step of the 3/8 rule from t to t + h, and the integral of the terms over the step."""
    k1, q1 = evaluate(x, t)
    k2, q2 = evaluate(x + h / 3 * k1, t + h / 3)
    k3, q3 = evaluate(x + h * (k2 - k1 / 3), t + 2 * h / 3)
    k4, q4 = evaluate(x + h * (k1 - k2 + k3), t + h)
    values, terms = (
        h * sum(w * part for w, part in zip(QUADRATURE, parts, strict=True))
        for parts in ((k1, k2, k3, k4), (q1, q2, q3, q4))
    )
    return x + values, np.asarray(terms)


def integrate(evaluate: Evaluate, x: Array, steps: int, *, back: bool = False) -> tuple[Array, Array]:
    """Return x(1) from x(0), or x(0) from x(1) with `back`, and the integral of the terms in that direction."""
    h = (-1.0 if back else 1.0) / steps
    total: Array | float = 0.0
    for number in range(steps):
        x, term = step(evaluate, x, (1.0 if back else 0.0) + number * h, h)
        total = total + term
    return x, np.asarray(total)


#: The exponentials of the hidden layers at one evaluation, [batch, H_l], of which their slopes are made.
Evaluation = tuple[Value, ...]

_HALF = 0.5
_LEAST = -60.0  # least exponent: e^-60 is far below rounding


@dataclass
class _Unrolled:
    """This writes a block into a graph with its steps unrolled: what `integrate` computes, in as few nodes as possible.

    The integral of the last bias b_m is left out of x and added where x is read: x(t) = y(t) + offset + t b_m. A layer
    that reads x takes that in its own bias, which depends on t anyway, so b_m costs no node.

    The steps are written in terms of what one evaluation leaves for the next. With a = h k_1, b = h k_2, c = h k_3,
    d = h k_4:
        y_2 = x + a / 3,    y_3 = (2 x - y_2) + b,    y_4 = (2 y_2 - y_3) + c,    x' = (6 y_3 + 3 y_4 - x + d) / 8
    Kept are y_2 / 2, y_3 / 4 and y_4 / 8: then each difference is one node, and Gemm does the rest with its own
    factors. These are float32 whatever the graph is, so they are integers and powers of two, and h / 24 is in the last
    matrix. Constants are written once and shared by all evaluations.

    Args:
        g: Graph that the nodes are added to.
        velocity: Block to write; its beta is folded into the weights.
        offset: x - y at t = 0, (D,).
    """

    g: Graph
    velocity: Velocity
    offset: Array
    _biases: dict[int, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.steps, self.beta = self.velocity.steps, self.velocity.beta
        (first, _), *middle, (last, _) = self.velocity.field.layers
        self._first = self.g.matrix(self.beta * first)
        self._middle = [(self.g.matrix(matrix), self.g.constant(self.beta * bias, "bias")) for matrix, bias in middle]
        unit = 1 / (24 * self.steps * self.beta)
        self._lift = 2.0 ** -round(log2(unit))  # keeps the matrix in the range of float16
        self._last = self.g.matrix(unit * self._lift * last)

    def forward(self, x: Value) -> tuple[Value, list[Evaluation]]:
        """Write y(1) from y(0); return it and the evaluations in their order, four per step."""
        evaluations: list[Evaluation] = []
        for number in range(self.steps):
            with self.g.scope(f"step{number + 1}"):
                x, found = self._step(x, 3 * number, 1)
            evaluations += found
        return x, evaluations

    def back(self, x: Value) -> Value:
        """Write y(0) from y(1)."""
        for number in reversed(range(self.steps)):
            with self.g.scope(f"step{number + 1}"):
                x, _ = self._step(x, 3 * (number + 1), -1)
        return x

    def _step(self, x: Value, start: int, sign: int) -> tuple[Value, list[Evaluation]]:
        """Write a step in the direction of `sign` from t = start / (3 steps)."""
        g, unit = self.g, sign / self._lift  # of alpha: h / 24
        hidden1, e1 = self._hidden(x, 1.0, start)
        half2 = g.gemm(hidden1, self._last, x, alpha=4 * unit, beta=_HALF)
        hidden2, e2 = self._hidden(half2, 2.0, start + sign)
        quarter3 = g.gemm(hidden2, self._last, g.node("Sub", x, half2), alpha=6 * unit, beta=_HALF)
        hidden3, e3 = self._hidden(quarter3, 4.0, start + 2 * sign)
        eighth4 = g.gemm(hidden3, self._last, g.node("Sub", half2, quarter3), alpha=3 * unit, beta=_HALF)
        hidden4, e4 = self._hidden(eighth4, 8.0, start + 3 * sign)
        third = g.node("Sub", g.node("Add", quarter3, eighth4), g.node("Mul", x, 1 / 24))
        return g.gemm(hidden4, self._last, third, alpha=3 * unit, beta=3.0), [e1, e2, e3, e4]

    def _hidden(self, x: Value, scale: float, time: int) -> tuple[Value, Evaluation]:
        """Write beta a_{m-1} of scale x at t = time / (3 steps)."""
        g = self.g
        before = g.gemm(x, self._first, self._bias(time), alpha=scale)
        exponentials = []
        for layer in (*self._middle, None):
            e = exponential(g, before, least=_LEAST)
            exponentials.append(e.w)
            a = g.node("Max", before, g.node("Log", e.t))
            if layer is not None:
                before = g.gemm(a, *layer)
        return a, tuple(exponentials)

    def _bias(self, time: int) -> Value:
        if time not in self._biases:
            velocity = self.velocity.field
            (first, bias), (_, last) = velocity.layers[0], velocity.layers[-1]
            t = time / (3 * self.steps)
            shifted = bias + t * velocity.time + first @ (self.offset + t * last)
            with self.g.scope("at"):
                self._biases[time] = self.g.constant(self.beta * shifted, f"{time}")
        return self._biases[time]


def _slopes(g: Graph, evaluations: Sequence[Evaluation], velocity: VelocityField) -> list[Value]:
    """Write s' of each hidden layer at all evaluations, as rows [batch * evaluations, H_l]: w / (1 + w)."""
    found = []
    for layer, width in enumerate(velocity.hidden):
        w = g.concat([evaluation[layer] for evaluation in evaluations])
        slope = g.node("Div", w, g.node("Add", w, 1.0))
        found.append(g.reshape(slope, [-1, width]))
    return found


def _divergences(
    g: Graph, evaluations: Sequence[Evaluation], velocity: VelocityField, probe: Value | None = None
) -> Value:
    """Write div v at every evaluation, [batch, evaluations]: exact, or along the probe [batch, D]."""
    rows = _slopes(g, evaluations, velocity)
    if probe is not None:
        return _along(g, rows, velocity, len(evaluations), probe)
    if len(rows) == 1:
        found = g.gemm(rows[0], velocity.product[None])
    elif len(rows) == 2:
        found = g.sum_columns(g.node("Mul", g.gemm(rows[0], velocity.product.T), rows[1]))
    else:
        found = _by_tangents(g, rows, velocity)
    return g.reshape(found, [-1, len(evaluations)])


def _by_tangents(g: Graph, rows: Sequence[Value], velocity: VelocityField) -> Value:
    """Write the divergence of three hidden layers or more: one tangent per dimension, [rows, D, H_l]."""
    (first, _), *middle, (last, _) = velocity.layers
    dim, widths = len(last), velocity.hidden
    lifted = [g.reshape(row, [-1, 1, width]) for row, width in zip(rows, widths, strict=True)]
    tangents = g.node("Mul", lifted[0], g.constant(first.T, "tangents"))
    for (matrix, _), slope in zip(middle, lifted[1:], strict=True):
        flat = g.gemm(g.reshape(tangents, [-1, matrix.shape[1]]), matrix)
        tangents = g.node("Mul", g.reshape(flat, [-1, dim, len(matrix)]), slope)
    terms = g.node("Mul", tangents, g.constant(last, "last"))
    return g.sum_columns(g.reshape(terms, [-1, dim * widths[-1]]))


def _along(g: Graph, rows: Sequence[Value], velocity: VelocityField, count: int, probe: Value) -> Value:
    """Write e^T (dv/dx) e: one tangent e for all evaluations of a row, [batch, count, H_l]."""
    (first, _), *middle, (last, _) = velocity.layers
    widths = velocity.hidden
    lifted = [g.reshape(row, [-1, count, width]) for row, width in zip(rows, widths, strict=True)]
    start = g.reshape(g.gemm(probe, first), [-1, 1, widths[0]])
    tangent = g.node("Mul", start, lifted[0])
    for (matrix, _), slope in zip(middle, lifted[1:], strict=True):
        flat = g.gemm(g.reshape(tangent, [-1, matrix.shape[1]]), matrix)
        tangent = g.node("Mul", g.reshape(flat, [-1, count, len(matrix)]), slope)
    end = g.reshape(g.gemm(probe, last.T), [-1, 1, widths[-1]])
    terms = g.node("Mul", tangent, end)
    found = g.sum_columns(g.reshape(terms, [-1, widths[-1]]))
    return g.reshape(found, [-1, count])
