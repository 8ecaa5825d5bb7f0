"""Which activations use their curvature: a flow whose units all stay on one branch is an affine map."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lunet_export import layers

Array = NDArray[np.float64]

COLLAPSED = 0.01  # share of a unit's rows off its branch, below which it counts as affine


@dataclass(frozen=True)
class Activation:
    """This is one activation over all rows and units.

    Attributes:
        number: Number of the activation, from 1.
        in_bend: Share of (row, unit) on none of the layer's `branches`.
        active: Share of (row, unit) off the branch that the unit's rows mostly take; 0 makes the activation affine.
        log_slope: Mean log f'(a) in nats/dim, between `log_slope_floor` and 0; at either end all rows are on straight
            lines.
        log_slope_floor: log alpha.
    """

    number: int
    in_bend: float
    active: float
    log_slope: float
    log_slope_floor: float


class Tally:
    """This counts what enters each activation for some rows; give it to `Source.density` as its callback.

    Args:
        activations: The layers, in order.
    """

    def __init__(self, activations: Sequence[layers.Activation]) -> None:
        self._activations = activations
        self._counts: dict[int, _Counts] = {}

    def __call__(self, number: int, a: Array) -> None:
        """Count a (n, D), the input of activation `number`."""
        f = self._activations[number - 1]
        on = np.stack([((a >= low) & (a < high)).sum(axis=0) for low, high in f.branches])
        self._add(number, _Counts(len(a), on, float(f.log_slope(a).sum())))

    def merge(self, other: "Tally") -> None:
        """Add what `other` has counted."""
        for number, counts in other._counts.items():
            self._add(number, counts)

    def _add(self, number: int, more: "_Counts") -> None:
        counts = self._counts.get(number)
        self._counts[number] = more if counts is None else counts + more

    def result(self) -> tuple[Activation, ...]:
        """Return the activations in order."""
        floors = [float(np.log(f.least)) for f in self._activations]
        return tuple(counts.activation(number, floors[number - 1]) for number, counts in sorted(self._counts.items()))

    def unit_shares(self) -> tuple[Array, ...]:
        """Return, for each activation, the share of every unit's rows off the branch that most of them take, (D,)."""
        return tuple(counts.active for _, counts in sorted(self._counts.items()))


@dataclass(frozen=True)
class _Counts:
    """These are the number of rows, each unit's numbers on each branch (branches, D), and the sum of log f'."""

    rows: int
    on: NDArray[np.int64]
    log_slope: float

    def __add__(self, other: "_Counts") -> "_Counts":
        return _Counts(self.rows + other.rows, self.on + other.on, self.log_slope + other.log_slope)

    @property
    def active(self) -> Array:
        """Return the share of each unit's rows off its branch, (D,)."""
        return 1 - self.on.max(axis=0) / self.rows

    def activation(self, number: int, floor: float) -> Activation:
        return Activation(
            number=number,
            in_bend=float((1 - (self.on / self.rows).sum(axis=0)).mean()),
            active=float(self.active.mean()),
            log_slope=self.log_slope / (self.rows * self.on.shape[1]),
            log_slope_floor=floor,
        )
