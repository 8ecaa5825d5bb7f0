"""An elementwise affine map: normalisations in evaluation mode, scales and shifts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.graph import Track
from lunet_export.layers.layer import Interval, Layer, Step, Stretch, step, up
from lunet_export.layers.linearised import Diagonal, Linearised, RoundTrip

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Affine(Layer):
    """This layer computes y = scale x + shift, elementwise. Shapes: (D,) each, no scale being 0.

    They are (N, D) where rows have numbers of their own, by their context: bounds then hold for each pair of rows of
    one context.

    Its rounding errors are |scale x| + |y|; those of its inverse are (|y| + |shift|) / |scale| + |x|.
    """

    columnwise = True

    scale: Array
    shift: Array

    @property
    def width(self) -> int | None:
        longest = max(self.scale.size, self.shift.size)
        return longest if longest > 1 else None

    def spread(self, dim: int) -> "Affine":
        wide = [np.full(dim, array.item()) if array.size == 1 else array for array in (self.scale, self.shift)]
        return Affine(*wide)

    def forward(self, x: Array, errors: Errors = EXACT) -> Step:
        y = x * self.scale + self.shift
        y = errors.value(y, lambda: self._size(x, y))
        return step(y, np.broadcast_to(np.log(np.abs(self.scale)), x.shape))

    def inverse(self, y: Array, errors: Errors = EXACT) -> Array:
        x = (y - self.shift) / self.scale
        return errors.value(x, lambda: self._size_back(x, y))

    def _size(self, x: Array, y: Array) -> Array:
        return np.abs(self.scale * x) + np.abs(y)

    def _size_back(self, x: Array, y: Array) -> Array:
        return (np.abs(y) + np.abs(self.shift)) / np.abs(self.scale) + np.abs(x)

    def nodes(self, track: Track) -> None:
        track.stretch(self.scale, self.shift)
        track.constant(float(np.log(np.abs(self.scale)).sum()))

    def inverse_nodes(self, track: Track) -> None:
        track.stretch(1 / self.scale, -self.shift / self.scale)
        track.constant(float(np.log(np.abs(self.scale)).sum()))

    def box(self, low: Array, high: Array, *, forward: bool) -> Interval:
        with np.errstate(all="ignore"):  # ends may be infinite
            ends = [
                end * self.scale + self.shift if forward else (end - self.shift) / self.scale for end in (low, high)
            ]
        return np.minimum(*ends), np.maximum(*ends)

    def stretch(self, dim: int) -> Stretch:
        scale = np.atleast_2d(self.scale)
        size = np.abs(np.broadcast_to(scale, (len(scale), dim)))
        logs = np.log(size)
        totals, sizes = logs.sum(axis=1), np.abs(logs).sum(axis=1)
        ends = float(totals.min()), float(totals.max())
        return Stretch(float(size.max()), up(float(1 / size.min())), *ends, float(sizes.max()))

    def linearised(self, x: Array) -> Linearised:
        del x
        return Diagonal(self.scale)

    def round_trip(self, x: Array, y: Array) -> RoundTrip:
        return RoundTrip(at_x=[self._size_back(x, y)], at_y=[self._size(x, y)])

    def validate(self, dim: int, where: str) -> None:
        if self.scale.shape != (dim,) or self.shift.shape != (dim,):
            raise CheckpointError(
                f"Expected a scale and a shift of {dim} numbers in {where}; got shapes {self.scale.shape} and "
                f"{self.shift.shape}."
            )
        if not (np.isfinite(self.scale).all() and np.isfinite(self.shift).all() and self.scale.all()):
            raise CheckpointError(f"Expected finite numbers and no scale of 0 in {where}; got others.")
