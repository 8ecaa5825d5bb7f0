"""The data's own whitening in front of a JKO-iFlow."""

from typing import Self

import torch
from torch import Tensor
from torch.linalg import solve_triangular

from lunet_export.layers import Whitening
from lunet_export.torch_layers.bijection import Bijection, numbers


class WhiteningBijection(Bijection):
    """This module computes R (x - m) with R upper triangular, both constants of the data.

    Shapes: (N, D) -> (N, D), (N,).
    """

    centre: Tensor
    root: Tensor

    def __init__(self, centre: Tensor, root: Tensor) -> None:
        super().__init__()
        self.register_buffer("centre", centre)
        self.register_buffer("root", root)

    @classmethod
    def of(cls, layer: Whitening) -> Self:
        return cls(torch.from_numpy(layer.centre.copy()), torch.from_numpy(layer.root.copy()))

    def layer(self) -> Whitening:
        return Whitening(numbers(self.centre), numbers(self.root))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x - self.centre) @ self.root.T, self.root.diagonal().log().sum().expand(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = solve_triangular(self.root, z.T, upper=True).T + self.centre
        return x, -self.root.diagonal().log().sum().expand(len(z))
