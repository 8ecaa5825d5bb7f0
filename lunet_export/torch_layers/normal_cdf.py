"""The distribution function of the normal distribution."""

from math import log, pi, sqrt

import torch
from torch import Tensor

from lunet_export.layers import NormalCDF
from lunet_export.layers.normal_cdf import LEAST
from lunet_export.torch_layers.elementwise import Fixed


class NormalCDFBijection(Fixed[NormalCDF]):
    """This module is Phi(x) in some columns or in all; see `lunet_export.layers.NormalCDF`."""

    columns: Tensor

    def __init__(self, layer: NormalCDF) -> None:
        super().__init__(layer)
        self.register_buffer("columns", torch.from_numpy(layer.columns.copy()), persistent=False)

    def value(self, x: Tensor) -> Tensor:
        # `torch.special.ndtr` is 0 in the lower tail.
        return torch.where(self.columns, 0.5 * torch.erfc(-sqrt(0.5) * x), x)

    def log_slope(self, x: Tensor) -> Tensor:
        return torch.where(self.columns, -0.5 * x * x - 0.5 * log(2 * pi), 0.0)

    def root(self, y: Tensor) -> Tensor:
        return torch.where(self.columns, torch.special.ndtri(torch.where(self.columns, y, 0.5)), y)

    def _inside(self, y: Tensor) -> Tensor:
        return torch.where(self.columns, y.clamp(LEAST, 1 - torch.finfo(y.dtype).eps / 2), y)
