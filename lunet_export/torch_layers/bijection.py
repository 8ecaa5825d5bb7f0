"""The contract of every map in this folder: the trainable PyTorch module of a layer."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from lunet_export.layers import Layer


class Bijection(nn.Module, ABC):
    """A bijection is an invertible map of rows. Both directions return (value, log_det).

    `forward` goes from data to latent, `inverse` back. `log_det` is log|det| of the Jacobian of the direction that
    was applied, in nats. Shapes: (N, D) -> (N, D), (N,).
    """

    def given(self, context: Tensor | None) -> "Bijection":
        """Return the bijection for a context (N, K) as layers see it; one that takes none is itself."""
        del context
        return self

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and log|det dz/dx| for x."""

    @abstractmethod
    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and log|det dx/dz| for z."""

    @classmethod
    def of(cls, layer: Any) -> Self:  # noqa: ANN401
        """Return the module of a layer, in float64."""
        raise NotImplementedError(f"{cls.__name__} of {layer}")

    def layer(self) -> Layer:
        """Return the module's present state as a layer of float64 arrays."""
        raise NotImplementedError(type(self).__name__)

    def onto(self, layers: Sequence[Layer]) -> list[Layer]:
        """Return the layers of a chain so far, followed by this one."""
        return [*layers, self.layer()]

    def decode(self, z: Tensor) -> Tensor:
        """Return the value of `inverse` alone, where that takes less."""
        return self.inverse(z)[0]

    def along(self, x: Tensor, probe: Tensor) -> tuple[Tensor, Tensor]:
        """Return `forward`, with a divergence, where there is one, estimated along the probes e (N, D)."""
        del probe
        found: tuple[Tensor, Tensor] = self(x)
        return found

    def prepare_to_compile(self, dtype: torch.dtype) -> None:
        """Settle what `compilable_decode` needs to know of the dtype."""

    def compilable_decode(self, z: Tensor) -> Tensor:
        """Return `decode` without a data-dependent loop, for `torch.compile`; call `prepare_to_compile` first."""
        return self.decode(z)

    def decaying(self) -> Iterable[tuple[nn.Parameter, Tensor]]:
        """Return parameters that weight decay shrinks, and the part of each that shrinks: by default whole matrices."""
        return ((parameter, parameter.detach()) for parameter in self.parameters() if parameter.ndim > 1)


def numbers(tensor: Tensor) -> Any:  # noqa: ANN401
    """Return a tensor in float64 NumPy, as a copy."""
    return tensor.detach().cpu().double().numpy().copy()
