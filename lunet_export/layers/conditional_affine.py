"""An elementwise affine map whose numbers depend on the context alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.layers import networks
from lunet_export.layers.affine import Affine
from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.graph import Track, Value
from lunet_export.layers.layer import Layer, Step
from lunet_export.layers.networks import Dense, Network, Writer
from lunet_export.layers.scale_map import ScaleMap

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ConditionalAffine(Layer):
    """This layer computes y = s(c) x + t(c), elementwise, with s and t from a network of the context c.

    Shapes: the network takes C numbers and gives t (D) and, except for the scale map `none`, u (D) side by side.
    Given a context it is an `Affine` with numbers of its own for every row.
    """

    network: Network
    scale: ScaleMap

    @property
    def width(self) -> int | None:
        last = self.network[-1] if self.network else None
        return len(last.bias) // self.scale.counts if isinstance(last, Dense) else None

    @property
    def takes_context(self) -> int:
        first = self.network[0] if self.network else None
        return first.weight.shape[1] if isinstance(first, Dense) else 0

    def given(self, context: Array, errors: Errors = EXACT) -> Affine:
        found = networks.apply(self.network, context, errors)
        if self.scale.counts == 1:
            return Affine(np.ones_like(found), found)
        shift, u = np.split(found, 2, axis=1)
        return Affine(np.exp(self.scale.log(u, errors)), shift)

    def forward(self, x: Array, errors: Errors = EXACT) -> Step:
        raise ValueError("a conditional layer has no value before its context is given")

    def inverse(self, y: Array, errors: Errors = EXACT) -> Array:
        raise ValueError("a conditional layer has no value before its context is given")

    def nodes(self, track: Track) -> None:
        source, last = self._written(track)
        dim = track.g.dim
        if self.scale.counts == 1:
            track.displace(source, last.weight)
            track.stretch(1.0, last.bias)
            return
        # s (x + t / s): the product that comes before adds the shift, and only the scale costs something per row.
        log_scale = self._log_scale(track, source, last)
        inverse = track.g.node("Exp", track.g.node("Neg", log_scale))
        shift = track.g.gemm(source, last.weight[:dim], last.bias[:dim])
        track.displace(track.g.node("Mul", shift, inverse), None)
        track.replace(track.g.node("Div", track.rows(), inverse))
        track.log_slope(log_scale, dim)

    def inverse_nodes(self, track: Track) -> None:
        source, last = self._written(track)
        dim = track.g.dim
        if self.scale.counts == 1:
            track.stretch(1.0, -last.bias)
            track.displace(source, -last.weight)
            return
        # y / s - t / s: the solve that comes behind adds the shift.
        log_scale = self._log_scale(track, source, last)
        inverse = track.g.node("Exp", track.g.node("Neg", log_scale))
        shift = track.g.gemm(source, -last.weight[:dim], -last.bias[:dim])
        track.replace(track.g.node("Mul", track.rows(), inverse))
        track.displace(track.g.node("Mul", shift, inverse), None)
        track.log_slope(log_scale, dim)

    def _written(self, track: Track) -> tuple[Value, Dense]:
        """Write what enters the last matrix of the network, which makes the shifts of it, then the numbers u."""
        assert track.context is not None
        last = self.network[-1]
        assert isinstance(last, Dense)
        return networks.nodes(self.network[:-1], Writer(track.g), track.context), last

    def _log_scale(self, track: Track, source: Value, last: Dense) -> Value:
        u = track.g.gemm(source, last.weight[track.g.dim :], last.bias[track.g.dim :])
        return self.scale.nodes(track.g, u, track.g.dim)

    def arrays(self) -> list[NDArray[Any]]:
        return list(networks.arrays(self.network))

    def settings(self) -> dict[str, Any]:
        return {"scale": self.scale, "network": networks.shape(self.network)}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        return cls(networks.from_list(entry["network"]), ScaleMap(**entry["scale"]))

    def validate(self, dim: int, where: str) -> None:
        self.scale.validate(where)
        if not self.takes_context or self.width is None:
            raise CheckpointError(f"Expected a network that begins and ends with a matrix in {where}; got another.")
        networks.validate(self.network, self.takes_context, dim * self.scale.counts, where)
