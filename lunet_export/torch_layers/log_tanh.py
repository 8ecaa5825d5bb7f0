"""A hyperbolic tangent with logarithmic tails."""

from math import log

import torch
from torch import Tensor

from lunet_export.layers import LogTanh
from lunet_export.torch_layers import tanh
from lunet_export.torch_layers.elementwise import Fixed


class LogTanhBijection(Fixed[LogTanh]):
    """This module is nflows' `LogTanh`; see `lunet_export.layers.LogTanh`."""

    def value(self, x: Tensor) -> Tensor:
        f = self.settings
        far = f.image + f.tail * (x.abs() / f.cut).clamp(min=1).log()
        return torch.where(x.abs() > f.cut, x.sign() * far, torch.tanh(x))

    def log_slope(self, x: Tensor) -> Tensor:
        f = self.settings
        far = log(f.tail) - x.abs().clamp(min=f.cut).log()
        return torch.where(x.abs() > f.cut, far, tanh.log_slope(x))

    def root(self, y: Tensor) -> Tensor:
        f, away = self.settings, y.abs()
        far = f.cut * ((away - f.image) / f.tail).exp()
        return torch.where(away > f.image, y.sign() * far, torch.atanh(y.clamp(-f.image, f.image)))
