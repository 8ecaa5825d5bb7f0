"""Elementwise layers without parameters, in PyTorch."""

from abc import abstractmethod
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor

from lunet_export.layers import Elementwise
from lunet_export.torch_layers.bijection import Bijection

E = TypeVar("E", bound=Elementwise)


class Fixed(Bijection, Generic[E]):
    """This module applies a function of one number with a value, a slope and a root. Shapes: (N, D) -> (N, D), (N,)."""

    def __init__(self, layer: E) -> None:
        super().__init__()
        self.settings = layer

    @classmethod
    def of(cls, layer: E) -> Self:
        return cls(layer)

    @abstractmethod
    def value(self, x: Tensor) -> Tensor:
        """Return f(x)."""

    @abstractmethod
    def log_slope(self, x: Tensor) -> Tensor:
        """Return log f'(x), in nats."""

    @abstractmethod
    def root(self, y: Tensor) -> Tensor:
        """Return the x with f(x) = y."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.value(x), self.log_slope(x).sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = self.root(self._inside(z))
        return x, -self.log_slope(x).sum(-1)

    def layer(self) -> E:
        return self.settings

    def extra_repr(self) -> str:
        return repr(self.settings)

    def _inside(self, y: Tensor) -> Tensor:
        """Return y within the open interval of values: a number near an end may round onto it."""
        least, most = (torch.tensor(end, dtype=y.dtype, device=y.device) for end in self.settings.range)
        return y.clamp(torch.nextafter(least, most), torch.nextafter(most, least)) if least.isfinite() else y
