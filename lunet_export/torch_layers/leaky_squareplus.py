"""An activation whose inverse is closed."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lunet_export.layers import LeakySquareplus
from lunet_export.torch_layers.activation import ActivationBijection


class LeakySquareplusBijection(ActivationBijection):
    r"""This module is f(x) = p x + q sqrt(x^2 + 4), p = (1 + alpha) / 2, q = (1 - alpha) / 2, elementwise.

    alpha, 0 < alpha < 1, is one number or one for each unit, (D,). The slope p + q x / sqrt(x^2 + 4) lies in (alpha,
    1); both directions are closed, see `lunet_export.layers.LeakySquareplus`. Shapes: (N, D) -> (N, D), (N,).
    """

    LAYER = LeakySquareplus

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = _Squareplus.apply(x, torch.as_tensor(self.alpha, dtype=x.dtype, device=x.device))  # type: ignore[no-untyped-call]
        return value, slope.log().sum(-1)

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


class _Squareplus(torch.autograd.Function):
    """This function is f and f' with closed gradients: those of its operations take four times as many passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        s, size = (x * x).add_(4).sqrt_(), x.abs()
        gap = (2 - 2 * alpha) / size.add_(s)  # 4 q / (s + |x|)
        curvature = gap / s
        slope = torch.where(x < 0, alpha + curvature, 1 - curvature)
        ctx.save_for_backward(x, alpha, s, size, slope)
        return torch.maximum(x, alpha * x).add_(gap), slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_value: Tensor, of_slope: Tensor) -> tuple[Tensor, Tensor | None]:  # noqa: ANN401
        x, alpha, s, size, slope = ctx.saved_tensors
        of_x = of_value * slope
        of_x.addcdiv_(of_slope * (2 - 2 * alpha), s * s * s)
        if not ctx.needs_input_grad[1]:
            return of_x, None
        half = 2 / size
        share = half / s  # (1 - |x| / s) / 2
        of_alpha = (of_value * (x.clamp(max=0) - half)).addcmul_(of_slope, torch.where(x < 0, 1 - share, share))
        return of_x, of_alpha.sum_to_size(alpha.shape)
