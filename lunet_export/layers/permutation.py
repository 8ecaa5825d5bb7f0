"""Columns in another order."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.graph import Track
from lunet_export.layers.layer import Interval, Layer, Step, Stretch
from lunet_export.layers.linearised import Linearised, Reordered, RoundTrip

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Permutation(Layer):
    """This layer computes y = x[:, order]. Shape: order (D,)."""

    columnwise = True

    order: Indices

    @cached_property
    def back(self) -> Indices:
        """Return the order that undoes `order`."""
        return np.argsort(self.order)

    @property
    def width(self) -> int:
        return len(self.order)

    def forward(self, x: Array, errors: Errors = EXACT) -> Step:
        del errors
        nothing = np.zeros(len(x))
        return Step(x[:, self.order], nothing, nothing)

    def inverse(self, y: Array, errors: Errors = EXACT) -> Array:
        del errors
        return y[:, self.back]

    def nodes(self, track: Track) -> None:
        track.permute(self.order)

    def inverse_nodes(self, track: Track) -> None:
        track.permute(self.back)

    def box(self, low: Array, high: Array, *, forward: bool) -> Interval:
        order = self.order if forward else self.back
        return low[order], high[order]

    def arrays(self) -> list[Indices]:
        return [self.order]

    def stretch(self, dim: int) -> Stretch:
        del dim
        return Stretch(1.0, 1.0, 0.0, 0.0)

    def linearised(self, x: Array) -> Linearised:
        del x
        return Reordered(self.order)

    def round_trip(self, x: Array, y: Array) -> RoundTrip:
        del x, y
        return RoundTrip()

    def validate(self, dim: int, where: str) -> None:
        if self.order.dtype != np.int64 or not np.array_equal(np.sort(self.order), np.arange(dim)):
            raise CheckpointError(f"Expected an order of {dim} columns in {where}; got another.")
