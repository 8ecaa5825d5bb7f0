"""The sigmoid, whose inverse is a logit."""

import torch
from torch import Tensor
from torch.nn import functional

from lunet_export.layers import Sigmoid
from lunet_export.torch_layers.elementwise import Fixed


class SigmoidBijection(Fixed[Sigmoid]):
    """This module is 1 / (1 + e^-x); see `lunet_export.layers.Sigmoid`."""

    def value(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def log_slope(self, x: Tensor) -> Tensor:
        return functional.logsigmoid(x) + functional.logsigmoid(-x)

    def root(self, y: Tensor) -> Tensor:
        y = y.clamp(self.settings.margin, 1 - self.settings.margin)
        return y.log() - torch.log1p(-y)
