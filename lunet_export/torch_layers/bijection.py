"""The contract of every map in this folder: the trainable PyTorch module of a layer."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from lunet_export.layers import Layer


class Bijection(nn.Module, ABC):
    """An invertible map of rows. Both directions return (value, log_det).

    `forward` goes from data to latent, `inverse` back. `log_det` is log|det| of the Jacobian of the direction that
    was applied, in nats. Shapes: (N, D) -> (N, D), (N,).
    """

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x -> (z, log|det dz/dx|)."""

    @abstractmethod
    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z -> (x, log|det dx/dz|)."""

    @classmethod
    def of(cls, layer: Any) -> Self:  # noqa: ANN401
        """The module of a layer, in float64."""
        raise NotImplementedError(f"{cls.__name__} of {layer}")

    def layer(self) -> Layer:
        """What the module has become, as float64 arrays."""
        raise NotImplementedError(type(self).__name__)

    def onto(self, layers: Sequence[Layer]) -> list[Layer]:
        """The layers of a chain so far, and this one behind them."""
        return [*layers, self.layer()]

    def decode(self, z: Tensor) -> Tensor:
        """The value of `inverse` alone, where that takes less."""
        return self.inverse(z)[0]

    def along(self, x: Tensor, probe: Tensor) -> tuple[Tensor, Tensor]:
        """`forward`, with a divergence estimated along the probes e (N, D) where there is one."""
        del probe
        found: tuple[Tensor, Tensor] = self(x)
        return found

    def prepare_to_compile(self, dtype: torch.dtype) -> None:
        """Settle what `compilable_decode` needs to know of the dtype."""

    def compilable_decode(self, z: Tensor) -> Tensor:
        """`decode` without a loop that data ends, for `torch.compile`; `prepare_to_compile` comes before it."""
        return self.decode(z)

    def decaying(self) -> Iterable[tuple[nn.Parameter, Tensor]]:
        """Parameters that weight decay shrinks, and what of each: by default matrices, and no vectors."""
        return ((parameter, parameter.detach()) for parameter in self.parameters() if parameter.ndim > 1)


def numbers(tensor: Tensor) -> Any:  # noqa: ANN401
    """A tensor in float64 NumPy, a copy."""
    return tensor.detach().cpu().double().numpy().copy()
