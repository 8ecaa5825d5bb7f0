"""A coupling of images whose networks are convolutions (arXiv 1605.08803, sections 3.4 to 3.6)."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from lunet_export.layers.coupling import Coupling, Written, affine_nodes, back_nodes, forth_nodes
from lunet_export.layers.errors import EXACT, Errors, of_elementwise
from lunet_export.layers.graph import Graph, Track, Value

Array = NDArray[np.float64]

#: Added to every variance of an instance norm.
EPSILON = 1e-5
_ROWS = 16  # rows at once: columns take 9 times the memory of the image
_MANY = 100  # numbers per row from which convolutions in NumPy are slow


def convolved(h: Array, kernel: Array) -> Array:
    """Return the 3 x 3 correlation with zeros around, (N, C, H, W) and (K, C, 3, 3) -> (N, K, H, W)."""
    if len(h) > _ROWS:
        return np.concatenate([convolved(h[start : start + _ROWS], kernel) for start in range(0, len(h), _ROWS)])
    n, channels, height, width = h.shape
    padded = np.zeros((n, channels, height + 2, width + 2))
    padded[:, :, 1:-1, 1:-1] = h
    row, plane, line, pixel = padded.strides
    windows = as_strided(padded, (n, height, width, channels, 3, 3), (row, line, pixel, plane, line, pixel))
    columns = windows.reshape(n * height * width, channels * 9)
    return (columns @ kernel.reshape(len(kernel), -1).T).reshape(n, height, width, -1).transpose(0, 3, 1, 2)


def instance_norm(h: Array) -> Array:
    """Return every plane of every row with mean 0 and variance 1, (N, C, H, W)."""
    mean, variance = h.mean(axis=(2, 3), keepdims=True), h.var(axis=(2, 3), keepdims=True)
    return (h - mean) / np.sqrt(variance + EPSILON)


@dataclass(frozen=True)
class ConvNet:
    """This network has 3 x 3 convolutions without biases, zeros around: C -> P, residual blocks P -> P -> P, P -> C.

    Shapes: first (P, C, 3, 3), residuals of pairs (P, P, 3, 3), last (C, P, 3, 3). Rounding errors: |W| |h| of a
    convolution; 4 max(1, |v|) + (|h| + mean |h|) / deviation of an instance norm, v being its value.
    """

    first: Array
    residuals: tuple[tuple[Array, Array], ...]
    last: Array

    def arrays(self) -> list[Array]:
        """Return all kernels, in the order in which they are applied."""
        return [self.first, *(kernel for pair in self.residuals for kernel in pair), self.last]

    def apply(self, h: Array, errors: Errors = EXACT) -> Array:
        """Return the network's values, (N, C, H, W) -> (N, C, H, W)."""
        h = _convolved(h, self.first, errors)
        for first, second in self.residuals:
            inner = np.maximum(_normed(_convolved(h, first, errors), errors), 0.0)
            h = np.maximum(h + _normed(_convolved(inner, second, errors), errors), 0.0)
        return _convolved(h, self.last, errors)

    def nodes(self, g: Graph, h: Value) -> Value:
        """Write the network's nodes into a graph."""
        h = _convolved_nodes(g, h, self.first)
        for number, (first, second) in enumerate(self.residuals):
            with g.scope(f"residual{number}"):
                inner = g.node("Relu", _normed_nodes(g, _convolved_nodes(g, h, first), len(first)))
                outer = _normed_nodes(g, _convolved_nodes(g, inner, second), len(second))
                h = g.node("Relu", g.node("Add", h, outer))
        return _convolved_nodes(g, h, self.last)


def _convolved(h: Array, kernel: Array, errors: Errors) -> Array:
    return errors.product(convolved(h, kernel), lambda: convolved(np.abs(h), np.abs(kernel)))


def _normed(h: Array, errors: Errors) -> Array:
    value = instance_norm(h)

    def size() -> Array:
        deviation = np.sqrt(h.var(axis=(2, 3), keepdims=True) + EPSILON)
        return of_elementwise(value) + (np.abs(h) + np.abs(h).mean(axis=(2, 3), keepdims=True)) / deviation

    return errors.value(value, size)


def _convolved_nodes(g: Graph, h: Value, kernel: Array) -> Value:
    return g.node("Conv", h, g.constant(kernel, "kernel"), kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def _normed_nodes(g: Graph, h: Value, planes: int) -> Value:
    scale, bias = (g.constant(np.full(planes, value), name) for name, value in (("ones", 1.0), ("zeros", 0.0)))
    return g.node("InstanceNormalization", h, scale, bias, epsilon=EPSILON)


@dataclass(frozen=True)
class ConvolutionalCoupling(Coupling):
    """This coupling makes s and t by two networks of mask x, an image of `shape` (C, H, W) with k = C H W."""

    dtypes: ClassVar[tuple[str, ...]] = ("float32",)

    nets: tuple[ConvNet, ConvNet]

    def network_arrays(self) -> list[list[Array]]:
        return [net.arrays() for net in self.nets]

    def network_shapes(self) -> list[list[tuple[int, ...]]]:
        if len(self.shape) != 3:
            return []
        net = self.nets[0]
        planes, channels = net.first.shape[0], self.shape[0]
        inner = [(planes, planes, 3, 3)] * (2 * len(net.residuals))
        return [[(planes, channels, 3, 3), *inner, (channels, planes, 3, 3)]] * 2

    @property
    def work(self) -> float:
        return inf if self.width_changed > _MANY else 0.0

    def outputs(self, h: Array, errors: Errors = EXACT) -> tuple[Array, Array]:
        image = (h * self.mask).reshape(len(h), *self.shape)
        s, t = (net.apply(image, errors).reshape(len(h), -1) for net in self.nets)
        return s, t

    def nodes(self, track: Track) -> None:
        g = track.g
        (x,) = track.front([self.width_changed])
        entering = g.node("Mul", x, g.constant(self.mask.astype(np.float64), "mask"))
        written = self._written(g, entering, sign=1.0)
        track.replace(forth_nodes(g, x, written))
        track.log_slope(written.bent, self.width_changed)
        self.add_constant(track)

    def inverse_nodes(self, track: Track) -> None:
        g = track.g
        (y,) = track.front([self.width_changed])
        inside = np.where(self.mask, np.exp(-self.log_scale), 0.0)
        written = self._written(g, affine_nodes(g, y, inside, -self.shift * inside), sign=-1.0)
        track.replace(back_nodes(g, y, written))
        if track.wants_density:
            track.log_slope(g.node("Neg", written.bent), self.width_changed)
        self.add_constant(track)

    def _written(self, g: Graph, entering: Value, *, sign: float) -> Written:
        shape = g.constant(np.array([0, *self.shape], dtype=np.int64), "shape")
        image = g.node("Reshape", entering, shape)
        found = []
        for name, net in zip(("s", "t"), self.nets, strict=True):
            with g.scope(name):
                found.append(g.node("Flatten", net.nodes(g, image), axis=1))
        bent = g.node("Mul", g.node("Tanh", found[0]), g.constant(sign * self.scale_factor, "scale_factor"))
        log_scale = g.node("Add", bent, g.constant(sign * self.log_scale, "log_scale"))
        moved = g.node("Mul", found[1], g.constant(self.shift_factor, "shift_factor"))
        return Written(bent, log_scale, g.node("Add", moved, g.constant(self.shift, "shift")))
