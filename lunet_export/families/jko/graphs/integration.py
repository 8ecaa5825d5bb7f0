"""A block's flow over [0, 1], its steps unrolled: what `reference.integrate` says, in as few nodes as it takes.

The integral of the last bias b_m is left out of x and added where x is read: x(t) = y(t) + offset + t b_m. A layer that
reads x takes that in its own bias, which depends on t anyway, so b_m costs no node.

The steps are spelled by what one evaluation leaves for the next. With a = h k_1, b = h k_2, c = h k_3, d = h k_4:
    y_2 = x + a / 3,    y_3 = (2 x - y_2) + b,    y_4 = (2 y_2 - y_3) + c,    x' = (6 y_3 + 3 y_4 - x + d) / 8
Kept are y_2 / 2, y_3 / 4 and y_4 / 8: then each difference is one node, and Gemm does the rest with its own factors.
These are float32 whatever the graph is, so they are integers and powers of two, and h / 24 is in the last matrix.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log2

import numpy as np
from numpy.typing import NDArray

from lunet_export.families.jko.weights import VelocityField
from lunet_export.graphs import elementwise
from lunet_export.graphs.builder import GraphBuilder, Value

Array = NDArray[np.float64]

#: The exponentials of the hidden layers at one evaluation, [batch, H_l], of which their slopes are made.
Evaluation = tuple[Value, ...]

_HALF = 0.5
_LEAST = -60.0  # of exponents: e^-60 is far under rounding


@dataclass
class BlockGraph:
    """One block. Its constants are written once and shared by all evaluations.

    Args:
        g: Where the nodes go.
        velocity: The field.
        beta: Sharpness of its softplus, which is folded into the weights.
        steps: Of the 3/8 rule.
        offset: x - y at t = 0, (D,).
    """

    g: GraphBuilder
    velocity: VelocityField
    beta: float
    steps: int
    offset: Array
    _biases: dict[int, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (first, _), *middle, (last, _) = self.velocity.layers
        self._first = self.g.matrix(self.beta * first)
        self._middle = [(self.g.matrix(matrix), self.g.constant(self.beta * bias, "bias")) for matrix, bias in middle]
        unit = 1 / (24 * self.steps * self.beta)
        self._lift = 2.0 ** -round(log2(unit))  # keeps the matrix in the range of float16
        self._last = self.g.matrix(unit * self._lift * last)

    @property
    def end(self) -> Array:
        """x - y at t = 1, (D,)."""
        return self.offset + self.velocity.layers[-1][1]

    def forth(self, x: Value) -> tuple[Value, list[Evaluation]]:
        """y(1) from y(0), and the evaluations in their order, four a step."""
        evaluations: list[Evaluation] = []
        for number in range(self.steps):
            with self.g.scope(f"step{number + 1}"):
                x, found = self._step(x, 3 * number, 1)
            evaluations += found
        return x, evaluations

    def back(self, x: Value) -> Value:
        """y(0) from y(1)."""
        for number in reversed(range(self.steps)):
            with self.g.scope(f"step{number + 1}"):
                x, _ = self._step(x, 3 * (number + 1), -1)
        return x

    def _step(self, x: Value, start: int, sign: int) -> tuple[Value, list[Evaluation]]:
        """From t = start / (3 steps) by a step in the direction of `sign`."""
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
        """beta a_{m-1} of scale x at t = time / (3 steps)."""
        g = self.g
        before = g.gemm(x, self._first, self._bias(time), alpha=scale)
        exponentials = []
        for layer in (*self._middle, None):
            e = elementwise.exponential(g, before, least=_LEAST)
            exponentials.append(e.w)
            a = g.node("Max", before, g.node("Log", e.t))
            if layer is not None:
                before = g.gemm(a, *layer)
        return a, tuple(exponentials)

    def _bias(self, time: int) -> Value:
        if time not in self._biases:
            (first, bias), (_, last) = self.velocity.layers[0], self.velocity.layers[-1]
            t = time / (3 * self.steps)
            shifted = bias + t * self.velocity.time + first @ (self.offset + t * last)
            with self.g.scope("at"):
                self._biases[time] = self.g.constant(self.beta * shifted, f"{time}")
        return self._biases[time]


def slopes(g: GraphBuilder, evaluations: Sequence[Evaluation], velocity: VelocityField) -> list[Value]:
    """s' of each hidden layer at all evaluations, as rows [batch * evaluations, H_l]: w / (1 + w)."""
    found = []
    for layer, width in enumerate(velocity.hidden):
        w = g.concat([evaluation[layer] for evaluation in evaluations])
        slope = g.node("Div", w, g.node("Add", w, 1.0))
        found.append(g.reshape(slope, [-1, width]))
    return found


def divergences(
    g: GraphBuilder, evaluations: Sequence[Evaluation], velocity: VelocityField, probe: Value | None = None
) -> Value:
    """div v at every evaluation, [batch, evaluations]: exact, or along the probe [batch, D]."""
    rows = slopes(g, evaluations, velocity)
    if probe is not None:
        return _along(g, rows, velocity, len(evaluations), probe)
    if len(rows) == 1:
        found = g.gemm(rows[0], velocity.product[None])
    elif len(rows) == 2:
        found = g.sum_columns(g.node("Mul", g.gemm(rows[0], velocity.product.T), rows[1]))
    else:
        found = _by_tangents(g, rows, velocity)
    return g.reshape(found, [-1, len(evaluations)])


def _by_tangents(g: GraphBuilder, rows: Sequence[Value], velocity: VelocityField) -> Value:
    """Of three hidden layers or more: a tangent a dimension, [rows, D, H_l]."""
    (first, _), *middle, (last, _) = velocity.layers
    dim, widths = len(last), velocity.hidden
    lifted = [g.reshape(row, [-1, 1, width]) for row, width in zip(rows, widths, strict=True)]
    tangents = g.node("Mul", lifted[0], g.constant(first.T, "tangents"))
    for (matrix, _), slope in zip(middle, lifted[1:], strict=True):
        flat = g.gemm(g.reshape(tangents, [-1, matrix.shape[1]]), matrix)
        tangents = g.node("Mul", g.reshape(flat, [-1, dim, len(matrix)]), slope)
    terms = g.node("Mul", tangents, g.constant(last, "last"))
    return g.sum_columns(g.reshape(terms, [-1, dim * widths[-1]]))


def _along(g: GraphBuilder, rows: Sequence[Value], velocity: VelocityField, count: int, probe: Value) -> Value:
    """e^T (dv/dx) e: one tangent e for all evaluations of a row, [batch, count, H_l]."""
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
