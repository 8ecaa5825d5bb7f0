"""The inverse of a bijection."""

from collections.abc import Iterable

from torch import Tensor, nn

from lunet_export.layers import Layer
from lunet_export.layers.inverse import inverse_of
from lunet_export.torch_layers.bijection import Bijection


class Inverted(Bijection):
    """This module is the inverse of another: x -> f^-1(x)."""

    def __init__(self, inner: Bijection) -> None:
        super().__init__()
        self.inner = inner

    def given(self, context: Tensor | None) -> "Inverted":
        return Inverted(self.inner.given(context))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner.inverse(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.inner(z)
        return found

    def layer(self) -> Layer:
        return inverse_of(self.inner.layer())

    def decaying(self) -> Iterable[tuple[nn.Parameter, Tensor]]:
        return self.inner.decaying()
