"""The piecewise linear activation, for those who want to verify a network or to run it where nothing else is."""

from math import log

import torch
from torch import Tensor

from lunet_export.families.lunet.newton import checked
from lunet_export.flows import Bijection


class LeakyReLU(Bijection):
    r"""Elementwise f(x) = max(x, alpha x), 0 < alpha < 1: slope alpha below 0, 1 from 0 on.

    Shapes: (N, D) -> (N, D), (N,).

    Raises:
        BadInputError: alpha is outside (0, 1).
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = checked(alpha)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(x < 0, self.alpha * x, x), self._log_det(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(z < 0, z / self.alpha, z), -self._log_det(z)

    def _log_det(self, x: Tensor) -> Tensor:
        return log(self.alpha) * (x < 0).sum(-1).to(x.dtype)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"
