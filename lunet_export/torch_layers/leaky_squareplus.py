"""An activation whose inverse is closed."""

import torch
from torch import Tensor

from lunet_export.layers import LeakySquareplus
from lunet_export.torch_layers.activation import ActivationBijection


class LeakySquareplusBijection(ActivationBijection):
    r"""This module is f(x) = p x + q sqrt(x^2 + 4), p = (1 + alpha) / 2, q = (1 - alpha) / 2, elementwise.

    alpha, 0 < alpha < 1, is one number or one for each unit, (D,). The slope p + q x / sqrt(x^2 + 4) lies in (alpha,
    1); both directions are closed, see `lunet_export.layers.LeakySquareplus`. Shapes: (N, D) -> (N, D), (N,).
    """

    LAYER = LeakySquareplus

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        alpha, q = self.alpha, self._halves[1]
        curvature = 4 * q / ((x * x + 4).sqrt() + x.abs())
        return torch.maximum(x, alpha * x) + curvature, self._log_slope(x).sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        p, q = self._halves
        root = q * (z * z + 4 * self.alpha).sqrt()
        left = (p * z - root) / self.alpha
        right = (z - 2 * q) * ((z + 2 * q) / (p * z.clamp(min=0) + root))
        x = torch.where(z < 0, left, right)
        return x, -self._log_slope(x).sum(-1)

    @property
    def _halves(self) -> tuple[Tensor | float, Tensor | float]:
        alpha = self.alpha
        return (1 + alpha) / 2, (1 - alpha) / 2

    def _log_slope(self, x: Tensor) -> Tensor:
        """Return log f'(x); left of 0, f' is alpha + 4 q / (s (s - x)), where nothing cancels.

        Right of 0 it is 1 - 4 q / (s (s + x)).
        """
        _, q = self._halves
        s = (x * x + 4).sqrt()
        curvature = 4 * q / (s * (s + x.abs()))
        return torch.where(x < 0, self.alpha + curvature, 1 - curvature).log()
