"""A smooth clip."""

import torch
from torch import Tensor

from lunet_export.layers import Softclip
from lunet_export.torch_layers.elementwise import Fixed


class SoftclipBijection(Fixed[Softclip]):
    """This module is x / (1 + |x| / bound)."""

    def value(self, x: Tensor) -> Tensor:
        return x / (1 + x.abs() / self.settings.bound)

    def log_slope(self, x: Tensor) -> Tensor:
        return -2 * torch.log1p(x.abs() / self.settings.bound)

    def root(self, y: Tensor) -> Tensor:
        return y / ((self.settings.bound - y.abs()) / self.settings.bound)
