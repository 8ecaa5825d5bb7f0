"""The hyperbolic tangent."""

from math import log

import torch
from torch import Tensor

from lunet_export.layers import Tanh
from lunet_export.torch_layers.elementwise import Fixed


class TanhBijection(Fixed[Tanh]):
    """This module is tanh x."""

    def value(self, x: Tensor) -> Tensor:
        return torch.tanh(x)

    def log_slope(self, x: Tensor) -> Tensor:
        return log_slope(x)

    def root(self, y: Tensor) -> Tensor:
        return torch.atanh(y)


def log_slope(x: Tensor) -> Tensor:
    """Return log(1 - tanh^2 x), without what a difference from 1 would lose."""
    return 2 * (log(2) - x.abs() - torch.log1p((-2 * x.abs()).exp()))
