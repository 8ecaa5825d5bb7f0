"""The piecewise linear activation: for tools that take nothing else, and runtimes without an exponential."""

from math import log
from typing import Self

import torch
from torch import Tensor

from lunet_export.errors import BadInputError
from lunet_export.layers import LeakyReLU
from lunet_export.torch_layers.bijection import Bijection

_WIDTH = 0.3  # the best of 0.1, 0.3 and 1 by the likelihood of the digits


class LeakyReLUBijection(Bijection):
    r"""This module is f(x) = x for x >= 0 and alpha x below, elementwise, alpha > 0; in an LU-Net alpha is below 1.

    log_det is log alpha times a count, and the kink has no gradient: an optimizer would not see that the likelihood
    falls when rows cross it, and training ends above the Gaussian. In expectation the likelihood falls by |log alpha|
    times the density of x at 0. In training mode log_det therefore has the gradient of a smooth surrogate, log alpha
    sum sigmoid(-x / 0.3), which estimates this density by a kernel. Values are exact in both modes. Shapes: (N, D) ->
    (N, D), (N,).

    Raises:
        BadInputError: if alpha is not above 0.
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        if not alpha > 0:
            raise BadInputError(f"Expected an alpha above 0; got {alpha}. The paper uses 0.1.")
        self.alpha = alpha

    @classmethod
    def of(cls, layer: LeakyReLU) -> Self:
        return cls(layer.alpha)

    def layer(self) -> LeakyReLU:
        return LeakyReLU(self.alpha)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = self._log_det(x)
        if self.training:
            smooth = log(self.alpha) * torch.sigmoid(-x / _WIDTH).sum(-1)
            log_det = log_det + (smooth - smooth.detach())
        return torch.where(x < 0, self.alpha * x, x), log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(z < 0, z / self.alpha, z), -self._log_det(z)

    def _log_det(self, x: Tensor) -> Tensor:
        return log(self.alpha) * (x < 0).sum(-1).to(x.dtype)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"
