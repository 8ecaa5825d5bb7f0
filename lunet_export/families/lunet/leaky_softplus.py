"""The activation of LU-Net (arXiv 2302.10524, section 3)."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from lunet_export.errors import BadInputError
from lunet_export.flows import Bijection

_MOST_STEPS = 200  # Newton needs 4 to 12; a NaN ends the loop at once
_MOST_FIXED_STEPS = 64  # alpha 0.001 in float64 needs 13


class LeakySoftplus(Bijection):
    r"""Elementwise f(x) = alpha x + (1 - alpha) log(1 + e^x), 0 < alpha < 1.

    Its slope alpha + (1 - alpha) sigmoid(x) lies in (alpha, 1). The inverse has no closed form; Newton's iteration
    finds it to the last digits, and its derivative 1 / f'(x) comes from the implicit function theorem.
    Shapes: (N, D) -> (N, D), (N,).

    Raises:
        BadInputError: alpha is outside (0, 1).
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        if not 0.0 < alpha < 1.0:
            raise BadInputError(f"Expected alpha in (0, 1); got {alpha}. The paper uses 0.1.")
        self.alpha = alpha

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _value(x, self.alpha), _slope(x, self.alpha).log().sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = _Inverse.apply(z, self.alpha)  # type: ignore[no-untyped-call]
        return x, -_slope(x, self.alpha).log().sum(-1)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


def _value(x: Tensor, alpha: float) -> Tensor:
    # -logsigmoid(-x), because functional.softplus returns x itself above 20: an error of 2e-9 in float64.
    return alpha * x - (1 - alpha) * functional.logsigmoid(-x)


def _slope(x: Tensor, alpha: float) -> Tensor:
    return alpha + (1 - alpha) * torch.sigmoid(x)


class _Inverse(torch.autograd.Function):
    """y -> x with f(x) = y. The backward pass is written in differentiable operations of x, so it nests."""

    @staticmethod
    def forward(ctx: FunctionCtx, y: Tensor, alpha: float) -> Tensor:
        x = torch.minimum(y, y / alpha)  # right of the root, and f is convex: Newton only descends
        for _ in range(_MOST_STEPS):
            step = (_value(x, alpha) - y) / _slope(x, alpha)
            x = x - step
            if not (step.abs() > 4 * torch.finfo(y.dtype).eps * x.abs().clamp(min=1)).any():
                break
        ctx.save_for_backward(x)
        ctx.alpha = alpha  # type: ignore[attr-defined]
        return x

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradients[0] / _slope(x, ctx.alpha), None  # type: ignore[attr-defined]


def newton(activation: LeakySoftplus, y: Tensor, steps: int) -> Tensor:
    """x with f(x) = y after `steps` of Newton's iteration, from the start of `LeakySoftplus.inverse`."""
    alpha = activation.alpha
    x = torch.minimum(y, y / alpha)  # right of the root, and f is convex: Newton only descends
    for _ in range(steps):
        slope = alpha + (1 - alpha) * torch.sigmoid(x)
        x = x - (activation(x)[0] - y) / slope
    return x


def newton_steps(alpha: float, dtype: torch.dtype) -> int:
    """The fewest steps that bring every y within 4 units of rounding of what many steps give."""
    activation = LeakySoftplus(alpha)
    y = torch.cat([torch.linspace(-60, 60, 4801, dtype=dtype), torch.tensor([-1e6, 1e6], dtype=dtype)])[:, None]
    exact = newton(activation, y, _MOST_FIXED_STEPS)
    allowed = 4 * torch.finfo(dtype).eps * exact.abs().clamp(min=1)
    for steps in range(1, _MOST_FIXED_STEPS):
        if ((newton(activation, y, steps) - exact).abs() <= allowed).all():
            return steps
    return _MOST_FIXED_STEPS
