"""The velocity field of a block in PyTorch, and its divergence."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import sqrt
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lunet_export.layers import Velocity as VelocityLayer
from lunet_export.layers import VelocityField
from lunet_export.torch_layers.bijection import Bijection

#: e^-40 is less than rounding in float64, so above it softplus is x itself, and its slope 1, to the last digit.
_THRESHOLD = 40.0
#: Below, both are e^-60 and not less: far below rounding, and processors take ten times as long for denormal numbers.
_LEAST = -60.0
Trace = Callable[[list[Tensor]], Tensor]  # the slopes of the hidden layers -> div v, (N,)


class Velocity(nn.Module):
    """This network is v(x, t), softplus layers whose first bias grows with time: `lunet_export.layers.VelocityField`.

    It starts with v = 0: the flow is the identity. Shapes: (N, D), t -> (N, D).

    Args:
        dim: Number of dimensions D.
        hidden: Widths of the hidden layers, one or more.
        beta: Sharpness of the softplus.
    """

    def __init__(self, dim: int, hidden: Sequence[int], *, beta: float) -> None:
        super().__init__()
        self.beta = beta
        widths = [dim, *hidden, dim]
        linears = [nn.Linear(into, out) for into, out in pairwise(widths)]
        self.layers = nn.ModuleList(linears)
        self.time = nn.Parameter(torch.empty(hidden[0]).uniform_(-1 / sqrt(dim + 1), 1 / sqrt(dim + 1)))
        nn.init.zeros_(linears[-1].weight)
        nn.init.zeros_(linears[-1].bias)

    def linears(self) -> list[nn.Linear]:
        """Return the linear layers, in the order in which they are applied."""
        return list(self.layers)  # type: ignore[arg-type]

    def forward(self, x: Tensor, t: float) -> Tensor:
        return self.with_slopes(x, t)[0]

    def with_slopes(self, x: Tensor, t: float) -> tuple[Tensor, list[Tensor]]:
        """Return v(x, t), and s' of every hidden layer, (N, H_l)."""
        a, slopes = x, []
        for number, layer in enumerate(self.layers[:-1]):
            before = layer(a)
            if number == 0 and t:
                before = before + t * self.time
            sharp = (self.beta * before).clamp(min=_LEAST)
            a = functional.softplus(sharp, 1.0, _THRESHOLD) / self.beta
            slopes.append(torch.sigmoid(sharp))
        return self.layers[-1](a), slopes

    def exact_trace(self) -> Trace:
        """Return a function for div v = trace of dv/dx: closed forms for one and two hidden layers, tangents for more.

        The weights that the closed forms need are computed here, once for all evaluations; more layers take one tangent
        per dimension.
        """
        matrices: list[Tensor] = [layer.weight for layer in self.linears()]
        if len(matrices) == 2:
            diagonal = (matrices[0] * matrices[1].T).sum(1)
            return lambda slopes: slopes[0] @ diagonal
        if len(matrices) == 3:
            product = (matrices[0] @ matrices[2]) * matrices[1].T
            return lambda slopes: ((slopes[0] @ product) * slopes[1]).sum(1)
        first, *middle, last = matrices

        def trace(slopes: list[Tensor]) -> Tensor:
            tangents = first.T * slopes[0][:, None]
            for matrix, slope in zip(middle, slopes[1:], strict=True):
                tangents = (tangents @ matrix.T) * slope[:, None]
            return (tangents * last).sum((1, 2))

        return trace

    def trace_along(self, probe: Tensor) -> Trace:
        """Return a function for Hutchinson's estimate e^T (dv/dx) e (1990) with the given probes e (N, D)."""

        *hidden, last = self.linears()

        def trace(slopes: list[Tensor]) -> Tensor:
            tangent = probe
            for layer, slope in zip(hidden, slopes, strict=True):
                tangent = (tangent @ layer.weight.T) * slope
            return ((tangent @ last.weight.T) * probe).sum(1)

        return trace

    @classmethod
    @torch.no_grad()
    def of(cls, field: VelocityField, *, beta: float) -> Self:
        """Return the network of these arrays, in float64."""
        found = cls(field.layers[0][0].shape[1], field.hidden, beta=beta).double()
        for layer, (matrix, bias) in zip(found.linears(), field.layers, strict=True):
            layer.weight.copy_(torch.from_numpy(matrix))
            layer.bias.copy_(torch.from_numpy(bias))
        found.time.copy_(torch.from_numpy(field.time))
        return found

    def arrays(self) -> VelocityField:
        """Return the network as float64 arrays."""

        def array(tensor: Tensor) -> np.ndarray:
            return tensor.detach().cpu().double().numpy().copy()

        layers = tuple((array(layer.weight), array(layer.bias)) for layer in self.linears())
        return VelocityField(layers, array(self.time))


class FlowBlock(Bijection):
    """This module is the flow of dx/dt = v(x, t) over [0, 1], by equal steps of Kutta's 3/8 rule (1901), of order 4.

    log_det is the integral of div v by the same steps, so neither it nor the inverse, which takes t from 1 to 0, is
    that of the steps themselves: both are those of the flow, up to an error of order steps^-4.
    Shapes: (N, D) -> (N, D), (N,).
    """

    def __init__(self, velocity: Velocity, steps: int) -> None:
        super().__init__()
        self.velocity, self.steps = velocity, steps

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._integrated(x, self.velocity.exact_trace(), 1.0)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._integrated(z, self.velocity.exact_trace(), -1.0)

    @classmethod
    def of(cls, layer: VelocityLayer) -> Self:
        return cls(Velocity.of(layer.field, beta=layer.beta), layer.steps)

    def layer(self) -> VelocityLayer:
        return VelocityLayer(self.velocity.arrays(), self.steps, self.velocity.beta)

    def along(self, x: Tensor, probe: Tensor) -> tuple[Tensor, Tensor]:
        """Return `forward` with div v estimated along the probes e, (N, D): e^T (dv/dx) e."""
        return self._integrated(x, self.velocity.trace_along(probe), 1.0)

    def decode(self, z: Tensor) -> Tensor:
        """Return the value of `inverse` alone, for a third less work."""
        return self._integrated(z, None, -1.0)[0]

    def extra_repr(self) -> str:
        return f"steps={self.steps}"

    def _integrated(self, x: Tensor, trace: Trace | None, sign: float) -> tuple[Tensor, Tensor]:
        h, t = sign / self.steps, 0.0 if sign > 0 else 1.0
        total = x.new_zeros(len(x))
        f = self._evaluation(trace)
        for _ in range(self.steps):
            k1, q1 = f(x, t)
            k2, q2 = f(x + k1 * (h / 3), t + h / 3)
            k3, q3 = f(x + (k2 - k1 / 3) * h, t + 2 * h / 3)
            k4, q4 = f(x + (k1 - k2 + k3) * h, t + h)
            x = x + (k1 + 3 * (k2 + k3) + k4) * (h / 8)
            total = total + (q1 + 3 * (q2 + q3) + q4) * (h / 8)
            t += h
        return x, total

    def _evaluation(self, trace: Trace | None) -> Callable[[Tensor, float], tuple[Tensor, Tensor]]:
        def evaluate(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
            v, slopes = self.velocity.with_slopes(x, t)
            return v, trace(slopes) if trace else v.new_zeros(())

        return evaluate
