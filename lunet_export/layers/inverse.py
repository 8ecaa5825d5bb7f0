"""The inverse of a layer, as a layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.graph import Track
from lunet_export.layers.layer import EVERYWHERE, Ends, Interval, Layer, Step, Stretch
from lunet_export.layers.linearised import Inverted, Linearised, RoundTrip

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Inverse(Layer):
    """This layer computes y = layer^-1(x). Every answer is that of the inner layer with both directions exchanged."""

    layer: Layer

    @property
    def columnwise(self) -> bool:  # type: ignore[override]
        return self.layer.columnwise

    @property
    def solves(self) -> bool:  # type: ignore[override]
        return self.layer.solves

    @property
    def dtypes(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.layer.dtypes

    @property
    def label(self) -> str:
        return f"inverse of {self.layer.label}"

    @property
    def takes(self) -> tuple[Ends, Ends]:
        return self.layer.range

    @property
    def range(self) -> tuple[Ends, Ends]:
        return EVERYWHERE

    @property
    def takes_ends(self) -> bool:
        return self.layer.takes_ends

    def fills(self, low: Array, high: Array) -> bool:
        return self.layer.fills(low, high)

    @property
    def has_seams(self) -> bool:
        return self.layer.has_seams

    def at_seams(self, x: Array) -> Array:
        return self.layer.forward(self.layer.at_seams(self.layer.inverse(x))).rows if self.has_seams else x[:0]

    @property
    def margin(self) -> float:
        return self.layer.margin

    @property
    def width(self) -> int | None:
        return self.layer.width

    @property
    def work(self) -> float:
        return self.layer.work

    @property
    def takes_context(self) -> int:
        return self.layer.takes_context

    def given(self, context: Array, errors: Errors = EXACT) -> "Inverse":
        return Inverse(self.layer.given(context, errors))

    @property
    def levels_back(self) -> int:
        return self.layer.levels_back

    def spread(self, dim: int) -> "Inverse":
        return Inverse(self.layer.spread(dim))

    def forward(self, x: Array, errors: Errors = EXACT) -> Step:
        y = self.layer.inverse(x, errors)
        found = self.layer.forward(y, errors)
        return Step(y, -found.log_det, found.size)

    def inverse(self, y: Array, errors: Errors = EXACT) -> Array:
        return self.layer.forward(y, errors).rows

    def nodes(self, track: Track) -> None:
        with track.negated():
            self.layer.inverse_nodes(track)

    def inverse_nodes(self, track: Track) -> None:
        with track.negated():
            self.layer.nodes(track)

    def box(self, low: Array, high: Array, *, forward: bool) -> Interval:
        return self.layer.box(low, high, forward=not forward)

    def arrays(self) -> list[NDArray[Any]]:
        return self.layer.arrays()

    @property
    def free(self) -> int:
        return self.layer.free

    def settings(self) -> dict[str, Any]:
        return self.layer.settings()

    def stretch(self, dim: int) -> Stretch | None:
        found = self.layer.stretch(dim)
        if found is None:
            return None
        forward, inverse, low, high, size = found
        return Stretch(inverse, forward, -high, -low, size)

    def linearised(self, x: Array) -> Linearised | None:
        found = self.layer.linearised(self.layer.inverse(x))
        return None if found is None else Inverted(found)

    def round_trip(self, x: Array, y: Array) -> RoundTrip:
        found = self.layer.round_trip(y, x)
        # What the layer puts at its own x is at this one's y, and vice versa.
        return RoundTrip(found.at_y, found.products_at_y, found.products_at_x, found.at_x)

    def validate(self, dim: int, where: str) -> None:
        if isinstance(self.layer, Inverse):
            raise CheckpointError(f"Expected a layer inverted once in {where}; got twice. Leave both out.")
        if self.layer.forth_only:
            raise CheckpointError(
                f"Expected a layer with a log-determinant in both directions in {where}; {self.layer.name} sums it "
                "from data to latent only. It cannot be inverted."
            )
        self.layer.validate(dim, where)

    def to_dict(self) -> dict[str, Any]:
        return {"inverse": True, **self.layer.to_dict()}


def inverted(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return the layers of the inverse map: in reverse order, each inverted."""
    return tuple(map(inverse_of, reversed(layers)))


def inverse_of(layer: Layer) -> Layer:
    """Return the inverse of a layer as a layer; the inverse of an `Inverse` is its inner layer."""
    return layer.layer if isinstance(layer, Inverse) else Inverse(layer)
