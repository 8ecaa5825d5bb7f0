"""A coupling in both directions, and its networks."""

import numpy as np
from numpy.typing import NDArray

from lunet_export.families.realnvp.graphs.columns import Columns
from lunet_export.families.realnvp.reference import EPSILON
from lunet_export.families.realnvp.weights import ConvNet, Coupling, DenseNet
from lunet_export.graphs.builder import GraphBuilder, Value

Array = NDArray[np.float64]


def encode(g: GraphBuilder, columns: Columns, coupling: Coupling) -> Value:
    """y = x e^S + T; returns S less log_scale, [batch, columns that change]."""
    if len(coupling.nets) == 2:
        (x,) = columns.front([coupling.width])
        entering = g.node("Mul", x, g.constant(coupling.mask.astype(np.float64), "mask"))
        bent, log_scale, shift = _convolutional(g, coupling, entering, sign=1.0)
        columns.replace([_forth(g, x, log_scale, shift)])
        return bent
    kept, free, (first, last) = _halves(columns, coupling)
    bent, log_scale, shift = _dense(g, coupling, kept, sign=1.0)
    here = coupling.mask
    passed = _affine(g, kept, np.exp(coupling.log_scale[here]), coupling.shift[here])
    changed = _forth(g, free, log_scale, shift)
    columns.replace(_placed(passed, changed, kept_first=first < last))
    return bent


def decode(g: GraphBuilder, columns: Columns, coupling: Coupling) -> Value:
    """x = (y - T) e^-S; returns log_scale less S, [batch, columns that change]."""
    back = np.exp(-coupling.log_scale)
    if len(coupling.nets) == 2:
        (y,) = columns.front([coupling.width])
        inside = np.where(coupling.mask, back, 0.0)
        entering = _affine(g, y, inside, -coupling.shift * inside)
        bent, log_scale, shift = _convolutional(g, coupling, entering, sign=-1.0)
        columns.replace([_back(g, y, log_scale, shift)])
        return bent
    kept, free, (first, last) = _halves(columns, coupling)
    here = coupling.mask
    passed = _affine(g, kept, back[here], -coupling.shift[here] * back[here])
    bent, log_scale, shift = _dense(g, coupling, passed, sign=-1.0)
    changed = _back(g, free, log_scale, shift)
    columns.replace(_placed(passed, changed, kept_first=first < last))
    return bent


def _forth(g: GraphBuilder, x: Value, log_scale: Value, shift: Value) -> Value:
    return g.node("Add", g.node("Mul", x, g.node("Exp", log_scale)), shift)


def _back(g: GraphBuilder, y: Value, negative: Value, shift: Value) -> Value:
    return g.node("Mul", g.node("Sub", y, shift), g.node("Exp", negative))


def _halves(columns: Columns, coupling: Coupling) -> tuple[Value, Value, tuple[int, int]]:
    """What the mask keeps, what it does not, and where each begins."""
    mask = coupling.mask
    boundary = int(np.argmax(mask != mask[0]))
    first, second = columns.front([boundary, coupling.width - boundary])
    return (first, second, (0, boundary)) if mask[0] else (second, first, (boundary, 0))


def _placed(kept: Value, changed: Value, *, kept_first: bool) -> list[Value]:
    return [kept, changed] if kept_first else [changed, kept]


def _affine(g: GraphBuilder, x: Value, scale: Array, shift: Array) -> Value:
    if (scale == 1.0).all() and not shift.any():
        return x
    return g.node("Add", g.node("Mul", x, g.constant(scale, "scale")), g.constant(shift, "shift"))


def _convolutional(g: GraphBuilder, coupling: Coupling, entering: Value, *, sign: float) -> tuple[Value, Value, Value]:
    """sign (S - log_scale), sign S and T, [batch, k] each."""
    shape = g.constant(np.array([0, *coupling.shape], dtype=np.int64), "shape")
    image = g.node("Reshape", entering, shape)
    found = []
    for name, net in zip(("s", "t"), coupling.nets, strict=True):
        assert isinstance(net, ConvNet)
        with g.scope(name):
            found.append(g.node("Flatten", _conv_net(g, net, image), axis=1))
    bent = g.node("Mul", g.node("Tanh", found[0]), g.constant(sign * coupling.scale_factor, "scale_factor"))
    log_scale = g.node("Add", bent, g.constant(sign * coupling.log_scale, "log_scale"))
    moved = g.node("Mul", found[1], g.constant(coupling.shift_factor, "shift_factor"))
    return bent, log_scale, g.node("Add", moved, g.constant(coupling.shift, "shift"))


def _conv_net(g: GraphBuilder, net: ConvNet, h: Value) -> Value:
    h = _convolved(g, h, net.first)
    for number, (first, second) in enumerate(net.residuals):
        with g.scope(f"residual{number}"):
            inner = g.node("Relu", _normed(g, _convolved(g, h, first), len(first)))
            h = g.node("Relu", g.node("Add", h, _normed(g, _convolved(g, inner, second), len(second))))
    return _convolved(g, h, net.last)


def _convolved(g: GraphBuilder, h: Value, kernel: Array) -> Value:
    return g.node("Conv", h, g.constant(kernel, "kernel"), kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def _normed(g: GraphBuilder, h: Value, planes: int) -> Value:
    scale, bias = (g.constant(np.full(planes, value), name) for name, value in (("ones", 1.0), ("zeros", 0.0)))
    return g.node("InstanceNormalization", h, scale, bias, epsilon=EPSILON)


def _dense(g: GraphBuilder, coupling: Coupling, kept: Value, *, sign: float) -> tuple[Value, Value, Value]:
    """sign (S - log_scale), sign S and T where the mask is not set; T's factor and shift go into the last product."""
    net = coupling.nets[0]
    assert isinstance(net, DenseNet)
    free = ~coupling.mask
    count = int(free.sum())
    *inner, (matrix, bias) = net.layers
    factor = np.concatenate([np.ones(count), coupling.shift_factor[free]])
    matrix, bias = factor[:, None] * matrix, factor * bias
    bias = bias + np.concatenate([np.zeros(count), coupling.shift[free]])
    h = kept
    for weight, addend in inner:
        h = g.node("Relu", g.gemm(h, weight, addend))
    s, shift = g.split(g.gemm(h, matrix, bias), [count, count])
    bent = g.node("Mul", g.node("Tanh", s), g.constant(sign * coupling.scale_factor[free], "scale_factor"))
    return bent, g.node("Add", bent, g.constant(sign * coupling.log_scale[free], "log_scale")), shift
