"""The affine function of affine autoregressive layers and couplings."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.graph import Track, Value
from lunet_export.layers.scale_map import ScaleMap
from lunet_export.layers.transformer import FunctionNodes, Functions, Transformer

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class AffineFunctions(Functions):
    """These are y = s x + t, with log s and t (N, C).

    Rounding errors: |s x| (4 + 2 |log s|) + |t| of y, and (|y| + |t|) / s (4 + 2 |log s|) of the inverse.
    """

    log_scale: Array
    shift: Array
    errors: Errors

    def forward(self, x: Array) -> tuple[Array, Array]:
        grown = x * np.exp(self.log_scale)
        size = lambda: np.abs(grown) * (4 + 2 * np.abs(self.log_scale)) + np.abs(self.shift)  # noqa: E731
        return self.errors.value(grown + self.shift, size), self.log_scale

    def inverse(self, y: Array) -> Array:
        back = np.exp(-self.log_scale)
        return self.errors.value(
            (y - self.shift) * back,
            lambda: (np.abs(y) + np.abs(self.shift)) * back * (4 + 2 * np.abs(self.log_scale)),
        )


@dataclass(frozen=True)
class _Nodes(FunctionNodes):
    """log s is a tensor [contexts, C], numbers (C,), or None for s = 1."""

    track: Track
    log_scale: Value | Array | None
    shift: Value
    count: int

    def forward(self, x: Value) -> Value:
        track, g = self.track, self.track.g
        if isinstance(self.log_scale, str):
            x = g.node("Mul", x, g.node("Exp", self.log_scale))
            track.log_slope(self.log_scale, self.count)
        elif self.log_scale is not None:
            track.constant(float(self.log_scale.sum()))
            x = g.node("Mul", x, g.constant(np.exp(self.log_scale), "scale"))
        return g.node("Add", x, self.shift)

    def inverse(self, y: Value) -> Value:
        track, g = self.track, self.track.g
        moved = g.node("Sub", y, self.shift)
        if isinstance(self.log_scale, str):
            track.log_slope(self.log_scale, self.count)
            return g.node("Mul", moved, g.node("Exp", g.node("Neg", self.log_scale)))
        if self.log_scale is not None:
            track.constant(float(self.log_scale.sum()))
            return g.node("Mul", moved, g.constant(np.exp(-self.log_scale), "scale"))
        return moved


@dataclass(frozen=True)
class AffineTransformer(Transformer):
    """This transformer makes y = s x + t of all t, then all u, with s made of u by a scale map."""

    scale: ScaleMap

    @property
    def count(self) -> int:
        return self.scale.counts

    @property
    def mixes(self) -> bool:
        return self.scale.centred

    def places(self, columns: Indices, count: int) -> Indices:
        return columns if self.count == 1 else np.concatenate([columns, count + columns])

    def of(self, numbers: Array, errors: Errors = EXACT) -> AffineFunctions:
        if self.count == 1:
            return AffineFunctions(np.zeros_like(numbers), numbers, errors)
        shift, u = np.split(numbers, 2, axis=1)
        return AffineFunctions(self.scale.log(u, errors), shift, errors)

    def written(self, track: Track, numbers: Value | Array, count: int) -> FunctionNodes:
        g = track.g
        if not isinstance(numbers, str):
            known = self.of(numbers[None])
            return _Nodes(
                track, None if self.count == 1 else known.log_scale[0], g.constant(known.shift[0], "shift"), count
            )
        if self.count == 1:
            return _Nodes(track, None, numbers, count)
        shift, u = g.split(numbers, [count, count])
        return _Nodes(track, self.scale.nodes(g, u, count), shift, count)

    def validate(self, where: str) -> None:
        self.scale.validate(where)

    def to_dict(self) -> dict[str, Any]:
        return self.scale.to_dict()
