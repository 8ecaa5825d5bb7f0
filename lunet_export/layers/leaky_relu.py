"""The piecewise linear activation: for tools that take nothing else, and runtimes without an exponential."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import BadInputError
from lunet_export.layers.elementwise import Activation, number
from lunet_export.layers.errors import Errors
from lunet_export.layers.graph import Graph, Track, Value

Array = NDArray[np.float64]

_FLATTEST = 1e-6  # with a flatter slope, inverses overflow float32


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """This activation is y = x where x >= 0, and alpha x elsewhere; alpha > 0, and below 1 in an LU-Net.

    The slope jumps where x is 0, and with it log p, by |log alpha|; no condition number shows this. A runtime whose
    rounding moves an x across 0 is right to be off by the jump, so an x that a few of its own rounding errors could
    move across counts with the slope of the other side. Few rows are that near in float32. With products of float16 or
    TF32 all rows of a wide network are, and their log p has a tolerance of several jumps.
    """

    option = "leaky-relu"
    per_unit = True
    branches = ((-inf, 0.0), (0.0, inf))

    alpha: float | Array

    @property
    def least(self) -> float:
        return min(float(np.min(self.alpha)), 1.0)

    @property
    def most(self) -> float:
        return max(float(np.max(self.alpha)), 1.0)

    def within_limits(self) -> bool:
        """Return whether all slopes are above 0; one for all units may be above 1, several are below."""
        return bool(np.min(self.alpha) > 0) and (isinstance(self.alpha, float) or bool(np.max(self.alpha) < 1))

    def value(self, x: Array) -> Array:
        return np.where(x >= 0, x, self.alpha * x)

    def slope(self, x: Array) -> Array:
        return np.where(x < 0, self.alpha, 1.0)

    def root(self, y: Array) -> Array:
        return np.where(y >= 0, y, y / self.alpha)

    def looked_at(self, x: Array, errors: Errors) -> Array:
        return errors.across(x)

    def size_of_value(self, y: Array) -> Array:
        """Return the error of one product with the slope, which is exact near 0."""
        return 2 * np.abs(y)

    def settings(self) -> dict[str, Any]:
        return {"slope": float(self.alpha)} if isinstance(self.alpha, float) else {}

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.name, "slope": self.alpha}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        return cls(entry["slope"])

    def nodes(self, track: Track) -> None:
        g, x = track.g, track.rows()
        track.replace(g.node("Max" if self.most <= 1 else "Min", x, g.node("Mul", x, number(g, self.alpha, "alpha"))))
        track.slope(self._slope(g, x), self.least, self.most)

    def inverse_nodes(self, track: Track) -> None:
        if self.least < _FLATTEST:
            raise BadInputError(f"Expected an alpha of at least {_FLATTEST} to export a leaky ReLU; got {self.alpha}.")
        g, y = track.g, track.rows()
        x = g.node("Min" if self.most <= 1 else "Max", y, g.node("Div", y, number(g, self.alpha, "alpha")))
        track.replace(x)
        if track.wants_density:
            track.slope(self._slope(g, x), self.least, self.most)

    def _slope(self, g: Graph, x: Value) -> Value:
        return g.node("Where", g.node("Less", x, 0.0), number(g, self.alpha, "alpha"), 1.0)
