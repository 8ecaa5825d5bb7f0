"""The activation of LU-Net (arXiv 2302.10524, section 3)."""

import torch
from torch import Tensor
from torch.nn import functional

from lunet_export.layers import LeakySoftplus
from lunet_export.torch_layers.newton import NewtonBijection


class LeakySoftplusBijection(NewtonBijection):
    r"""This module is f(x) = alpha x + (1 - alpha) log(1 + e^x), elementwise, 0 < alpha < 1.

    Its slope alpha + (1 - alpha) sigmoid(x) lies in (alpha, 1). Shapes: (N, D) -> (N, D), (N,).
    """

    LAYER = LeakySoftplus

    def value(self, x: Tensor) -> Tensor:
        # -logsigmoid(-x), because functional.softplus returns x itself above 20: an error of 2e-9 in float64.
        alpha = self.alpha
        return alpha * x - (1 - alpha) * functional.logsigmoid(-x)

    def slope(self, x: Tensor) -> Tensor:
        alpha = self.alpha
        return alpha + (1 - alpha) * torch.sigmoid(x)

    def start(self, z: Tensor) -> Tensor:
        return torch.minimum(z, z / self.alpha)  # right of the root, and f is convex: Newton only descends
