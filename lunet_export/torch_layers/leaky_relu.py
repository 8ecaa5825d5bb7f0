"""The piecewise linear activation: for tools that take nothing else, and runtimes without an exponential."""

from math import log

import torch
from torch import Tensor

from lunet_export.errors import BadInputError
from lunet_export.layers import LeakyReLU
from lunet_export.torch_layers.activation import ActivationBijection

_WIDTH = 0.3  # the best of 0.1, 0.3 and 1 by the likelihood of the digits


class LeakyReLUBijection(ActivationBijection):
    r"""This module is f(x) = x for x >= 0 and alpha x below, elementwise, alpha > 0; in an LU-Net alpha is below 1.

    log_det is log alpha times a count, and the kink has no gradient: an optimizer would not see that the likelihood
    falls when rows cross it, and training ends above the Gaussian. In expectation the likelihood falls by |log alpha|
    times the density of x at 0. In training mode log_det therefore has the gradient of a smooth surrogate, log alpha
    sum sigmoid(-x / 0.3), which estimates this density by a kernel. Values are exact in both modes. Shapes: (N, D) ->
    (N, D), (N,).

    Raises:
        BadInputError: if alpha is not above 0.
    """

    LAYER = LeakyReLU

    @classmethod
    def validate(cls, alpha: Tensor | float) -> None:
        if not bool((torch.as_tensor(alpha) > 0).all()):
            raise BadInputError(f"Expected an alpha above 0; got {alpha}. The paper uses 0.1.")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = self._log_det(x)
        if self.training:
            smooth = self._of_units(torch.sigmoid(-x / _WIDTH))
            log_det = log_det + (smooth - smooth.detach())
        return torch.where(x < 0, self.alpha * x, x), log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(z < 0, z / self.alpha, z), -self._log_det(z)

    def _log_det(self, x: Tensor) -> Tensor:
        return self._of_units((x < 0).to(x.dtype))

    def _of_units(self, share: Tensor) -> Tensor:
        """Return the sum over units of log alpha times a share (N, D)."""
        alpha = self.alpha
        return (alpha.log() * share).sum(-1) if isinstance(alpha, Tensor) else log(alpha) * share.sum(-1)
