"""An elementwise affine map."""

from typing import Self

import torch
from torch import Tensor, nn

from lunet_export.layers import Affine
from lunet_export.torch_layers.bijection import Bijection, numbers


class ElementwiseAffine(Bijection):
    """This module computes scale x + shift. Shapes: (N, D) -> (N, D), (N,)."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(scale), nn.Parameter(shift)

    @classmethod
    def of(cls, layer: Affine) -> Self:
        return cls(torch.tensor(layer.scale), torch.tensor(layer.shift))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * self.scale + self.shift, self.scale.abs().log().sum().expand(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return (z - self.shift) / self.scale, -self.scale.abs().log().sum().expand(len(z))

    def layer(self) -> Affine:
        return Affine(numbers(self.scale), numbers(self.shift))
