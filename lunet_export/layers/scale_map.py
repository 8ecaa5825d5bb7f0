"""The positive scale of affine layers, made of a number of a network."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError, NarrowDtypeError
from lunet_export.layers.arctangent import atan_nodes
from lunet_export.layers.errors import EXACT, Errors, of_elementwise
from lunet_export.layers.graph import Graph, Value, exponential
from lunet_export.layers.softplus import softplus

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ScaleMap:
    """A scale map turns a number u of the network into a positive scale.

    none                 1; the network gives no u
    exp                  e^u
    softplus             log(1 + e^u) + floor, the floor above 0
    clipped-softplus     the least of that and offset
    sigmoid              1 / (1 + e^-(u + offset)) + floor
    reciprocal-sigmoid   1 + e^-(u + offset)
    soft-exp             e^(u / (1 + |u| / offset)), between e^-offset and e^offset
    atan                 e^(offset atan u)
    tanh                 e^(offset tanh u), between e^-offset and e^offset
    centred-atan         that of `atan`, divided by the geometric mean of a row's scales: their product is 1
    centred-tanh         the same of `tanh`

    Rounding errors of log s, in units: 4 max(1, |log s|); of softplus, clipped or not, also those of a small scale
    over the scale, of `tanh` also 4 |offset|, and of those that are centred also the mean of all these over the row.
    """

    kind: str
    offset: float = 0.0
    floor: float = 0.0

    def log(self, u: Array, errors: Errors = EXACT) -> Array:
        """Return log s for the network's u, (N, C) of all the columns that the layer changes."""
        kind = _SCALES[self.kind]
        log_scale = kind.log(u, self)

        def size() -> Array:
            return of_elementwise(log_scale) + kind.lost(u, self)

        if not self.centred:
            return errors.value(log_scale, size)
        centred = log_scale - log_scale.mean(axis=-1, keepdims=True)
        return errors.value(centred, lambda: size() + size().mean(axis=-1, keepdims=True))

    def nodes(self, g: Graph, u: Value, count: int) -> Value:
        """Write the nodes of log s into a graph, for the numbers u [batch, count] of all columns that change.

        Raises:
            NarrowDtypeError: if the floor is no number of the graph's dtype, so that s could be 0 there.
        """
        tiny = float(np.finfo(g.dtype).tiny)
        if 0 < self.floor < tiny:
            raise NarrowDtypeError.of(
                f"Expected scales with a floor of at least {tiny:.1e} in {g.dtype}; got {self.floor:.1e}.",
                "Export with `dtype='float64'`.",
            )
        kind = _SCALES[self.kind]
        log_scale = kind.nodes(g, u, self)
        if not self.centred:
            return log_scale
        return g.node("Sub", log_scale, g.node("Mul", g.sum_columns(log_scale, keep=True), 1 / count))

    @property
    def centred(self) -> bool:
        """Return whether the scale of a column depends on the numbers u of the others."""
        return self.kind.startswith(_CENTRED)

    @property
    def counts(self) -> int:
        """Return how many numbers the network gives for each column."""
        return 1 if self.kind == "none" else 2

    def validate(self, where: str) -> None:
        """Raise unless the scale is always positive.

        Raises:
            CheckpointError: if the scale may be 0 or negative, or the kind is unknown.
        """
        if self.kind not in SCALES or not all(isinstance(v, float) and isfinite(v) for v in (self.offset, self.floor)):
            raise CheckpointError(f"Expected a scale map of {', '.join(SCALES)} in {where}; got {self}.")
        needed = {
            "soft-exp": self.offset,
            "softplus": self.floor,
            "clipped-softplus": min(self.floor, self.offset),
        }.get(self.kind, 1.0)
        if self.floor < 0 or needed <= 0:  # softplus alone rounds to 0 far to the left
            raise CheckpointError(f"Expected a scale map that stays positive in {where}; got {self}.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for a model file."""
        return dict(vars(self))


@dataclass(frozen=True)
class _Scale:
    """A scale has its logarithm, its nodes, and the error that it adds to that of an elementwise function."""

    log: Callable[[Array, ScaleMap], Array]
    nodes: Callable[[Graph, Value, ScaleMap], Value]
    lost: Callable[[Array, ScaleMap], Array | float] = lambda u, scale: 0.0


def _softplus_lost(u: Array, scale: ScaleMap) -> Array:
    """Return the error that a rounded scale, which may be small, makes in its logarithm."""
    value = softplus(u)
    return of_elementwise(value) / (value + scale.floor)


def _softplus_nodes(g: Graph, u: Value, scale: ScaleMap) -> Value:
    return g.node("Log", _raised(g, u, scale))


def _clipped_nodes(g: Graph, u: Value, scale: ScaleMap) -> Value:
    return g.node("Log", g.node("Min", _raised(g, u, scale), scale.offset))


def _raised(g: Graph, u: Value, scale: ScaleMap) -> Value:
    """Write log(1 + e^u) + floor."""
    return g.node("Add", g.node("Max", u, g.node("Log", exponential(g, u).t)), scale.floor)


def _sigmoid_log(u: Array, scale: ScaleMap) -> Array:
    return np.log(np.exp(-softplus(-u - scale.offset)) + scale.floor)


def _sigmoid_nodes(g: Graph, u: Value, scale: ScaleMap) -> Value:
    e = exponential(g, g.node("Add", u, scale.offset))
    return g.node("Log", g.node("Add", g.node("Div", e.w, e.t), scale.floor))


def _reciprocal_nodes(g: Graph, u: Value, scale: ScaleMap) -> Value:
    negative = g.node("Sub", g.node("Neg", u), scale.offset)
    return g.node("Max", negative, g.node("Log", exponential(g, negative).t))


def _soft_nodes(g: Graph, u: Value, scale: ScaleMap) -> Value:
    return g.node("Div", u, g.node("Add", g.node("Mul", g.node("Abs", u), 1 / scale.offset), 1.0))


_ATAN = _Scale(lambda u, scale: scale.offset * np.arctan(u), lambda g, u, scale: atan_nodes(g, u, scale.offset))
_TANH = _Scale(
    lambda u, scale: scale.offset * np.tanh(u),
    lambda g, u, scale: g.node("Mul", g.node("Tanh", u), scale.offset),
    lambda u, scale: 4 * abs(scale.offset),  # an error of the tanh, which is at most 1, times the offset
)
_CENTRED = "centred-"
_SCALES: dict[str, _Scale] = {
    "none": _Scale(lambda u, scale: np.zeros_like(u), lambda g, u, scale: u),
    "exp": _Scale(lambda u, scale: u, lambda g, u, scale: u),
    "softplus": _Scale(lambda u, scale: np.log(softplus(u) + scale.floor), _softplus_nodes, _softplus_lost),
    "clipped-softplus": _Scale(
        lambda u, scale: np.log(np.minimum(softplus(u) + scale.floor, scale.offset)), _clipped_nodes, _softplus_lost
    ),
    "sigmoid": _Scale(_sigmoid_log, _sigmoid_nodes),
    "reciprocal-sigmoid": _Scale(lambda u, scale: softplus(-u - scale.offset), _reciprocal_nodes),
    "soft-exp": _Scale(lambda u, scale: u / (1 + np.abs(u) / scale.offset), _soft_nodes),
    "atan": _ATAN,
    "tanh": _TANH,
    f"{_CENTRED}atan": _ATAN,
    f"{_CENTRED}tanh": _TANH,
}
SCALES = tuple(_SCALES)
