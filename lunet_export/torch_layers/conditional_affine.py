"""An elementwise affine map whose numbers depend on the context alone."""

from copy import copy
from typing import Self

from torch import Tensor

from lunet_export.layers import ConditionalAffine, ScaleMap
from lunet_export.torch_layers.bijection import Bijection
from lunet_export.torch_layers.networks import NetworkModule
from lunet_export.torch_layers.transformers import scale_and_shift


class ConditionalAffineBijection(Bijection):
    """This module computes s(c) x + t(c) once its context c is given. Shapes: (N, D) -> (N, D), (N,)."""

    def __init__(self, network: NetworkModule, scale: ScaleMap) -> None:
        super().__init__()
        self.network, self.scale = network, scale
        self._context: Tensor | None = None

    @classmethod
    def of(cls, layer: ConditionalAffine) -> Self:
        return cls(NetworkModule(layer.network, masked=False), layer.scale)

    def given(self, context: Tensor | None) -> Self:
        found = copy(self)
        found._context = context
        return found

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._numbers()
        return x * log_scale.exp() + shift, log_scale.sum(-1).expand(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._numbers()
        return (z - shift) * (-log_scale).exp(), -log_scale.sum(-1).expand(len(z))

    def layer(self) -> ConditionalAffine:
        return ConditionalAffine(self.network.arrays(), self.scale)

    def _numbers(self) -> tuple[Tensor, Tensor]:
        """Return log s and t, (N, D) each."""
        assert self._context is not None
        return scale_and_shift(self.network(self._context), self.scale)
