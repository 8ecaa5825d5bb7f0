"""Layers that apply one increasing function to every number: y_i = f(x_i)."""

from abc import abstractmethod
from dataclasses import fields
from math import inf, isfinite
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.layers.domain import Domain
from lunet_export.layers.errors import EXACT, Errors, of_elementwise
from lunet_export.layers.graph import Graph, Track, Value
from lunet_export.layers.layer import Interval, Layer, Step, Stretch, step, up
from lunet_export.layers.linearised import Diagonal, Linearised, RoundTrip

Array = NDArray[np.float64]


class Elementwise(Layer):
    """This layer applies a function of one number, given by a value, a slope and a root.

    Its rounding errors are 4 max(1, |y|) of a value and 4 max(1, |x|) of a root, beside |y| of y itself. Where a slope
    jumps, log p jumps with it, and a row near the jump may fall on either side. Slopes are therefore taken at points
    that are moved by some of their own errors.
    """

    columnwise = True

    @abstractmethod
    def value(self, x: Array) -> Array:
        """Return f(x)."""

    @abstractmethod
    def log_slope(self, x: Array) -> Array:
        """Return log f'(x), in nats."""

    @abstractmethod
    def root(self, y: Array) -> Array:
        """Return the x with f(x) = y."""

    def within_limits(self) -> bool:
        """Return whether the settings give an invertible map."""
        return True

    def forward(self, x: Array, errors: Errors = EXACT) -> Step:
        rows = self.value(x)
        rows = rows if errors.exact else self._inside(errors.value(rows))
        return step(rows, self.log_slope(errors.nearby(x)))

    def inverse(self, y: Array, errors: Errors = EXACT) -> Array:
        return errors.value(self.root(self._inside(errors.value(y, lambda: np.abs(y)))))

    def validate(self, dim: int, where: str) -> None:
        del dim
        values = [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]
        if not all(isinstance(value, float) and isfinite(value) for value in values) or not self.within_limits():
            raise CheckpointError(f"Expected {self.name} with floats within its limits in {where}; got {self}.")

    def box(self, low: Array, high: Array, *, forward: bool) -> Interval:
        """Return the images of an interval's ends; at infinity and at the ends of the range, the limits.

        A margin is ignored: rows between it and the end are in the domain, and moved onto the margin.
        """
        least, most = self.range
        with np.errstate(all="ignore"):  # ends may be infinite
            if forward:
                low, high = (
                    np.where(np.isinf(end), np.where(end > 0, most, least), self.value(end)) for end in (low, high)
                )
            else:
                low, high = (
                    np.where(end >= most, inf, np.where(end <= least, -inf, self.root(self._inside(end))))
                    for end in (low, high)
                )
        return low, high

    def _inside(self, y: Array) -> Array:
        """Return y within the open interval of values: a number near an end may round onto it."""
        least, most = self.range
        return np.clip(y, np.nextafter(least, most), np.nextafter(most, least)) if np.isfinite(least).all() else y

    def inside_nodes(self, g: Graph, y: Value) -> Value:
        """Write y clipped into the open interval of values."""
        least, most = (np.array([end]) for end in self.range)
        low, high = Domain(least, most, closed=False).ends(g.dtype)
        return g.node("Clip", y, float(low[0]), float(high[0]))


class Activation(Elementwise):
    """An activation of an LU-Net increases with slopes in [least, 1], so both directions are bounded.

    Scale and shift of its values are chosen so that the nodes are few; the linear maps around absorb them at no cost.
    """

    #: Intervals where f is nearly straight: f' is within 0.05 (1 - alpha) of alpha or 1. Between them f is curved.
    branches: ClassVar[tuple[tuple[float, float], ...]]
    #: Name for `--activation`.
    option: ClassVar[str]
    #: Whether alpha may be an array with one number per unit.
    per_unit: ClassVar[bool] = False

    alpha: float | Array

    @property
    def least(self) -> float:
        """Return the smallest slope."""
        return float(np.min(self.alpha))

    @property
    def width(self) -> int | None:
        return self.alpha.size if isinstance(self.alpha, np.ndarray) else None

    @property
    def most(self) -> float:
        """Return the largest slope."""
        return 1.0

    @abstractmethod
    def slope(self, x: Array) -> Array:
        """Return f'(x)."""

    def log_slope(self, x: Array) -> Array:
        return np.log(self.slope(x))

    def validate(self, dim: int, where: str) -> None:
        if isinstance(self.alpha, np.ndarray) and not (self.per_unit and self.alpha.shape == (dim,)):
            several = f", or {dim}," if self.per_unit else ""
            raise CheckpointError(f"Expected one alpha{several} in {where}; got an array of shape {self.alpha.shape}.")
        alpha = np.asarray(self.alpha)
        if alpha.dtype != np.float64 or not np.isfinite(alpha).all() or not self.within_limits():
            raise CheckpointError(f"Expected {self.name} with floats within its limits in {where}; got {self}.")

    def within_limits(self) -> bool:
        return bool(((np.asarray(self.alpha) > 0) & (np.asarray(self.alpha) < 1)).all())

    def forward(self, x: Array, errors: Errors = EXACT) -> Step:
        return step(self.rounded(self.value(x), errors), self.log_slope(self.looked_at(x, errors)))

    def inverse(self, y: Array, errors: Errors = EXACT) -> Array:
        x = self.root(y)
        return errors.value(x, lambda: self.size_of_root(x, y))

    def rounded(self, y: Array, errors: Errors) -> Array:
        """Return a value of f with its rounding error."""
        return errors.value(y, lambda: self.size_of_value(y))

    def looked_at(self, x: Array, errors: Errors) -> Array:
        """Return the point at which the slope is taken: x itself, unless the slope jumps."""
        del errors
        return x

    def size_of_value(self, y: Array) -> Array:
        """Return the size of the error of a value of f, in units."""
        return of_elementwise(y)

    def size_of_root(self, x: Array, y: Array) -> Array:
        """Return the size of the error of a root x of f(x) = y, in units: its own, and what rounding of y becomes."""
        return self.size_of_value(x) + np.abs(y) / self.slope(x)

    def stretch(self, dim: int) -> Stretch | None:
        low, high = (dim * float(np.log(slope)) for slope in (self.least, self.most))
        return Stretch(self.most, up(1 / self.least), low, high, abs(low) + abs(high))

    def linearised(self, x: Array) -> Linearised:
        return Diagonal(self.slope(x))

    def round_trip(self, x: Array, y: Array) -> RoundTrip:
        return RoundTrip(at_x=[self.size_of_value(y) / self.slope(x), self.size_of_root(x, y)])


def scaled(track: Track, value: Value, scale: float | Array) -> None:
    """Continue with values in units of `scale`."""
    track.replace(value)
    track.stretch(scale, 0.0)


def number(g: Graph, value: float | Array, name: str) -> Value | float:
    """Return one number, or a constant with one for each unit."""
    return g.constant(value, name) if isinstance(value, np.ndarray) else float(value)
