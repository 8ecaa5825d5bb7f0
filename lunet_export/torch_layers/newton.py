"""Elementwise maps whose inverse has no closed form, and Newton's iteration for it."""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from lunet_export.torch_layers.activation import ActivationBijection

_MOST_STEPS = 200  # Newton needs 4 to 12; a NaN ends the loop at once
_MOST_FIXED_STEPS = 64  # alpha 0.001 in float64 needs 13


class NewtonBijection(ActivationBijection):
    """This module is an elementwise f with slopes in (alpha, 1], inverted by Newton's iteration to the last digits.

    The derivative 1 / f' of the inverse comes from the implicit function theorem. Shapes: (N, D) -> (N, D), (N,).
    """

    def __init__(self, alpha: Tensor | float, *, learned: bool = False, pace: float = 1.0) -> None:
        super().__init__(alpha, learned=learned, pace=pace)
        self._steps = 0

    @abstractmethod
    def value(self, x: Tensor) -> Tensor:
        """Return f(x)."""

    @abstractmethod
    def slope(self, x: Tensor) -> Tensor:
        """Return f'(x)."""

    @abstractmethod
    def start(self, z: Tensor) -> Tensor:
        """Return a point on the side of the root of f(x) = z from which Newton's steps never pass it."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.value(x), self.slope(x).log().sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = _Inverse.apply(z, self)  # type: ignore[no-untyped-call]
        return x, -self.slope(x).log().sum(-1)

    def prepare_to_compile(self, dtype: torch.dtype) -> None:
        self._steps = newton_steps(self, dtype)

    def compilable_decode(self, z: Tensor) -> Tensor:
        """Return `decode` by as many of Newton's steps as this activation and dtype need, whatever the data."""
        return newton(self, z, self._steps)


class _Inverse(torch.autograd.Function):
    """This function maps z to x with f(x) = z. Its backward pass is differentiable in x, so it nests."""

    @staticmethod
    def forward(ctx: FunctionCtx, z: Tensor, f: NewtonBijection) -> Tensor:
        x = f.start(z)
        for _ in range(_MOST_STEPS):
            slope = f.slope(x)
            step = (f.value(x) - z) / slope
            x = x - step
            if not (step.abs() > 4 * _units(x, z, slope)).any():
                break
        ctx.save_for_backward(x)
        ctx.f = f  # type: ignore[attr-defined]
        return x

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradients[0] / ctx.f.slope(x), None  # type: ignore[attr-defined]


def _units(x: Tensor, z: Tensor, slope: Tensor) -> Tensor:
    """Return units of rounding of x with f(x) = z: its own, and what one of z becomes."""
    return torch.finfo(x.dtype).eps * torch.maximum(x.abs(), (z / slope).abs()).clamp(min=1)


def newton(f: NewtonBijection, z: Tensor, steps: int) -> Tensor:
    """Return x with f(x) = z after `steps` of Newton's iteration, from the start of `NewtonBijection.inverse`."""
    x = f.start(z)
    for _ in range(steps):
        x = x - (f.value(x) - z) / f.slope(x)
    return x


def newton_steps(f: NewtonBijection, dtype: torch.dtype) -> int:
    """Return the fewest steps that bring every z within 4 `_units` of what many steps give."""
    z = torch.cat([torch.linspace(-60, 60, 4801, dtype=dtype), torch.tensor([-1e6, 1e6], dtype=dtype)])[:, None]
    exact = newton(f, z, _MOST_FIXED_STEPS)
    allowed = 4 * _units(exact, z, f.slope(exact))
    for steps in range(1, _MOST_FIXED_STEPS):
        if ((newton(f, z, steps) - exact).abs() <= allowed).all():
            return steps
    return _MOST_FIXED_STEPS
