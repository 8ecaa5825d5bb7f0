"""The contract of every map in this folder."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


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
