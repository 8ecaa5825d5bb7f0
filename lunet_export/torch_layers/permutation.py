"""Columns in another order."""

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lunet_export.layers import Permutation
from lunet_export.torch_layers.bijection import Bijection


class Reordering(Bijection):
    """This module computes y = x[:, order]. Shapes: (N, D) -> (N, D), (N,)."""

    order: Tensor
    back: Tensor

    def __init__(self, order: NDArray[np.int64]) -> None:
        super().__init__()
        self.register_buffer("order", torch.from_numpy(order.copy()))
        self.register_buffer("back", torch.from_numpy(np.argsort(order)))

    @classmethod
    def of(cls, layer: Permutation) -> Self:
        return cls(layer.order)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, self.order], x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z[:, self.back], z.new_zeros(len(z))

    def layer(self) -> Permutation:
        return Permutation(self.order.cpu().numpy().copy())
