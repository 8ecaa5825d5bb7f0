"""Bijections in a row."""

from collections.abc import Iterable, Iterator
from typing import cast

from torch import Tensor, nn

from lunet_export.torch_layers.bijection import Bijection


class Chain(Bijection):
    """This module composes bijections: x -> f_k(... f_1(x)); log_dets add up. Shapes: (N, D) -> (N, D), (N,)."""

    def __init__(self, bijections: Iterable[Bijection]) -> None:
        super().__init__()
        self.bijections = nn.ModuleList(bijections)

    def __iter__(self) -> Iterator[Bijection]:
        return cast(Iterator[Bijection], iter(self.bijections))

    def backwards(self) -> Iterator[Bijection]:
        """Return the bijections, starting from the last."""
        return cast(Iterator[Bijection], reversed(self.bijections))

    def given(self, context: Tensor | None) -> "Chain":
        return Chain(bijection.given(context) for bijection in self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = x.new_zeros(len(x))
        for bijection in self:
            x, term = bijection(x)
            log_det = log_det + term
        return x, log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        log_det = z.new_zeros(len(z))
        for bijection in self.backwards():
            z, term = bijection.inverse(z)
            log_det = log_det + term
        return z, log_det

    def along(self, x: Tensor, probe: Tensor) -> tuple[Tensor, Tensor]:
        log_det = x.new_zeros(len(x))
        for bijection in self:
            x, term = bijection.along(x, probe)
            log_det = log_det + term
        return x, log_det

    def decode(self, z: Tensor) -> Tensor:
        for bijection in self.backwards():
            z = bijection.decode(z)
        return z

    def compilable_decode(self, z: Tensor) -> Tensor:
        for bijection in self.backwards():
            z = bijection.compilable_decode(z)
        return z
