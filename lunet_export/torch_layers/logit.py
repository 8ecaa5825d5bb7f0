"""From grey levels to real numbers (Dinh et al. 2017, arXiv 1605.08803, section 4.1), with the exact Jacobian."""

from math import log

from torch import Tensor
from torch.nn import functional

from lunet_export.preprocessing import Logit
from lunet_export.torch_layers.bijection import Bijection


class LogitPreprocessing(Bijection):
    """This module computes h = log s - log(1 - s) with s = (1 - a) x / levels + a / 2.

    log_det = sum log((1 - a) / levels) - log s - log(1 - s).

    x in [0, levels) is a grey level plus dequantisation noise. `inverse` does not clamp: beyond the logits of the
    two borders x lies outside [0, levels). Shapes: (N, D) -> (N, D), (N,).
    """

    def __init__(self, settings: Logit) -> None:
        super().__init__()
        self.settings = settings
        self._scale = (1 - settings.margin) / settings.levels

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        half = self.settings.margin / 2
        log_s = (self._scale * x + half).log()
        log_rest = (self._scale * (self.settings.levels - x) + half).log()  # never 1 - s: 1 % wrong near white
        return log_s - log_rest, (log(self._scale) - log_s - log_rest).sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = (z.sigmoid() - self.settings.margin / 2) / self._scale
        log_det = (functional.logsigmoid(z) + functional.logsigmoid(-z) - log(self._scale)).sum(-1)
        return x, log_det

    def extra_repr(self) -> str:
        return f"levels={self.settings.levels}, margin={self.settings.margin}"
