"""An activation that compresses both tails."""

import torch
from torch import Tensor

from lunet_export.layers import LeakyTanh
from lunet_export.torch_layers.newton import NewtonBijection


class LeakyTanhBijection(NewtonBijection):
    r"""This module is f(x) = alpha x + (1 - alpha) tanh x, elementwise, 0 < alpha < 1.

    Its slope alpha + (1 - alpha) (1 - tanh^2 x) lies in (alpha, 1]. Shapes: (N, D) -> (N, D), (N,).
    """

    LAYER = LeakyTanh

    def value(self, x: Tensor) -> Tensor:
        alpha = self.alpha
        return alpha * x + (1 - alpha) * torch.tanh(x)

    def slope(self, x: Tensor) -> Tensor:
        curvature = 4 * torch.sigmoid(2 * x) * torch.sigmoid(-2 * x)  # 1 - tanh^2 x, without what the difference loses
        alpha = self.alpha
        return alpha + (1 - alpha) * curvature

    def start(self, z: Tensor) -> Tensor:
        # |f| is at most |x| and alpha |x| + 1 - alpha: this is between 0 and the root, f is concave in |x| there, and
        # Newton only climbs.
        size = torch.maximum(z.abs(), (z.abs() - (1 - self.alpha)) / self.alpha)
        return torch.copysign(size, z)
