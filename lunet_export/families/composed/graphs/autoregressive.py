"""Affine autoregressive layers, couplings among them: one pass of the network forth, one a level back."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lunet_export.families.composed import networks, reference
from lunet_export.families.composed.graphs.run import LinearRun
from lunet_export.families.composed.layers import AffineAutoregressive, ScaleMap
from lunet_export.families.composed.networks import Activation, Dense, Network, Operation, Residual, Scaling
from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.graphs.elementwise import exponential

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def encode(g: GraphBuilder, run: LinearRun, layer: AffineAutoregressive) -> Value | None:
    """y = s x + t on the columns that change; returns log s, [batch, C], or None where s is 1."""
    h = run.rows()
    inputs = _columns(g, h, layer.inputs, layer.dim)
    log_scale, shift = _split(g, layer, _Net(g, layer).of(inputs), len(layer.changed))
    kept = np.setdiff1d(np.arange(layer.dim), layer.changed)
    changed = _columns(g, h, layer.changed, layer.dim)
    if log_scale is not None:
        changed = g.node("Mul", changed, g.node("Exp", log_scale))
    parts = [g.node("Add", changed, shift)]
    if len(kept):
        parts.insert(0, inputs if np.array_equal(kept, layer.inputs) else _columns(g, h, kept, layer.dim))
    run.replace(g.concat(parts))
    run.permute(np.argsort(np.concatenate([kept, layer.changed])))
    return log_scale


def decode(g: GraphBuilder, run: LinearRun, layer: AffineAutoregressive) -> tuple[list[tuple[Value, int]], float]:
    """x = (y - t) / s, level after level; returns -log s with the widths of its parts [batch, width], and its constant.

    What the columns found so far add to the first layer of the network is added up as they are found, so a level costs
    the network's other layers, and of its last the rows that the level needs.
    """
    net = _Net(g, layer)
    kept = np.setdiff1d(np.arange(layer.dim), layer.changed)
    groups = [kept, *(layer.changed[level] for level in layer.levels)]
    order = np.concatenate(groups)
    run.permute(order)
    found, *waiting = _groups(g, run.rows(), [len(group) for group in groups])
    if found is not None:
        net.enter(found, kept)
    parts = [] if found is None else [found]
    terms: list[tuple[Value, int]] = []
    constant = 0.0
    for number, (level, y) in enumerate(zip(layer.levels, waiting, strict=True), 1):
        with g.scope(f"level{number}"):
            assert y is not None
            scale, shift = net.level(level)
            x = g.node("Sub", y, shift)
            if isinstance(scale, str):
                negative = g.node("Neg", scale)
                x = g.node("Mul", x, g.node("Exp", negative))
                terms.append((negative, len(level)))
            elif scale is not None:
                x = g.node("Mul", x, g.constant(np.exp(-scale), "scale"))
                constant -= float(scale.sum())
            if number < len(layer.levels):
                net.enter(x, layer.changed[level])
        parts.append(x)
    run.replace(g.concat(parts))
    run.permute(np.argsort(order))
    return terms, constant


def _groups(g: GraphBuilder, rows: Value, sizes: list[int]) -> list[Value | None]:
    """The columns in groups; the first may be empty."""
    first, *others = sizes
    if not first:
        return [None, *g.split(rows, others)]
    found, rest = g.split(rows, [first, sum(others)])
    return [found, *g.split(rest, others)]


def _columns(g: GraphBuilder, rows: Value, columns: Indices, dim: int) -> Value:
    if np.array_equal(columns, np.arange(dim)):
        return rows
    return g.node("Gather", rows, g.constant(columns, "columns"), axis=1)


def _split(g: GraphBuilder, layer: AffineAutoregressive, found: Value, count: int) -> tuple[Value | None, Value]:
    """log s and t."""
    if layer.scale.kind == "none":
        return None, found
    shift, u = g.split(found, [count, count])
    return _log_scale(g, layer.scale, u), shift


def _log_scale(g: GraphBuilder, scale: ScaleMap, u: Value) -> Value:
    if scale.kind == "exp":
        return u
    if scale.kind == "soft-exp":
        return g.node("Div", u, g.node("Add", g.node("Mul", g.node("Abs", u), 1 / scale.offset), 1.0))
    if scale.kind == "softplus":
        return g.node("Log", g.node("Add", g.node("Max", u, g.node("Log", exponential(g, u).t)), scale.floor))
    if scale.kind == "sigmoid":
        e = exponential(g, g.node("Add", u, scale.offset))
        return g.node("Log", g.node("Add", g.node("Div", e.w, e.t), scale.floor))
    negative = g.node("Sub", g.node("Neg", u), scale.offset)
    return g.node("Max", negative, g.node("Log", exponential(g, negative).t))


class _Net:
    """A layer's network, of all its inputs at once or of the columns that are known; constants are written once."""

    def __init__(self, g: GraphBuilder, layer: AffineAutoregressive) -> None:
        first, *rest = layer.network
        if not isinstance(first, Dense):
            first, rest = Dense(np.eye(len(layer.inputs)), np.zeros(len(layer.inputs))), list(layer.network)
        self._g, self._layer, self._first, self._rest = g, layer, first, tuple(rest)
        self._sum: Value | None = None  # what enters the second operation, of the columns known so far
        self._written: dict[int, tuple[Value, Value]] = {}

    def of(self, a: Value) -> Value:
        """The network's values for all inputs, [batch, K]."""
        return self._apply((self._first, *self._rest), a, None)

    def enter(self, x: Value, columns: Indices) -> None:
        """Take columns of x that have been found."""
        place = {int(column): number for number, column in enumerate(self._layer.inputs)}
        taken = [number for number, column in enumerate(columns) if int(column) in place]
        inputs = [place[int(columns[number])] for number in taken]
        weight = self._first.weight[:, inputs]
        if not weight.any():
            return
        if len(taken) < len(columns):
            x = self._g.node("Gather", x, self._g.constant(np.array(taken, dtype=np.int64), "columns"), axis=1)
        self._sum = self._g.gemm(x, weight, self._first.bias if self._sum is None else self._sum)

    def level(self, level: Indices) -> tuple[Value | Array | None, Value]:
        """log s and t of the places of a level: tensors [batch, L], or constants (L,) while nothing is known."""
        g, layer, count = self._g, self._layer, len(self._layer.changed)
        if self._sum is None:
            nothing = np.zeros((1, layer.dim))
            log_scale, shift = (part[0, level] for part in reference.scale_and_shift(layer, nothing))
            return None if layer.scale.kind == "none" else log_scale, g.constant(shift, "shift")
        rows = level if layer.scale.kind == "none" else np.concatenate([level, count + level])
        return _split(g, layer, self._apply(self._rest, self._sum, rows), len(level))

    def _apply(self, network: Network, a: Value, rows: Indices | None) -> Value:
        """The values of some of the network's outputs, or of all."""
        if rows is None or not network:
            for operation in network:
                a = self._operation(operation, a)
            return a if rows is None else self._gathered(a, rows)
        for operation in network[:-1]:
            a = self._operation(operation, a)
        last = network[-1]
        if isinstance(last, Dense):
            return self._g.gemm(a, last.weight[rows], last.bias[rows])
        if isinstance(last, Residual):
            return self._g.node("Add", self._gathered(a, rows), self._apply(last.inner, a, rows))
        return self._gathered(self._operation(last, a), rows)

    def _gathered(self, a: Value, rows: Indices) -> Value:
        return self._g.node("Gather", a, self._g.constant(rows, "rows"), axis=1)

    def _operation(self, operation: Operation, a: Value) -> Value:
        g = self._g
        if isinstance(operation, Dense):
            weight, bias = self._constants(
                operation, lambda: (g.matrix(operation.weight), self._vector(operation.bias))
            )
            return g.gemm(a, weight, bias)
        if isinstance(operation, Scaling):
            scale, shift = self._constants(
                operation, lambda: (self._vector(operation.scale), self._vector(operation.shift))
            )
            return g.node("Add", g.node("Mul", a, scale), shift)
        if isinstance(operation, Residual):
            return g.node("Add", a, self._apply(operation.inner, a, None))
        return _activated(g, operation, a)

    def _constants(self, operation: Operation, make: Callable[[], tuple[Value, Value]]) -> tuple[Value, Value]:
        if id(operation) not in self._written:
            self._written[id(operation)] = make()
        return self._written[id(operation)]

    def _vector(self, values: Array) -> Value:
        return self._g.constant(values, "vector")


def _activated(g: GraphBuilder, activation: Activation, a: Value) -> Value:
    """As `networks.activated`; ONNX's own Elu has no float64 kernel on the CPU, its Sigmoid errs far from 0."""
    name = activation.name
    assert name in networks.ACTIVATIONS
    if name in ("relu", "tanh"):
        return g.node(name.capitalize(), a)
    if name == "leaky-relu":
        return g.node("Max" if activation.slope <= 1 else "Min", a, g.node("Mul", a, activation.slope))
    if name == "elu":
        below = g.node("Sub", g.node("Exp", g.node("Min", a, 0.0)), 1.0)
        return g.node("Add", g.node("Max", a, 0.0), below)
    e = exponential(g, a)
    sigmoid = g.node("Div", e.w, e.t)
    return g.node("Mul", a, sigmoid) if name == "silu" else sigmoid
