"""The velocity field of a block in PyTorch, and its divergence."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import sqrt
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lunet_export.families.jko.weights import VelocityField

#: e^-40 is less than rounding in float64, so above it softplus is x itself, and its slope 1, to the last digit.
_THRESHOLD = 40.0
#: Below, both are e^-60 and not less: far under rounding, and processors take ten times as long over denormal numbers.
_LEAST = -60.0
Trace = Callable[[list[Tensor]], Tensor]  # the slopes of the hidden layers -> div v, (N,)


class Velocity(nn.Module):
    """v(x, t), a network of softplus layers whose first bias grows with time: `weights.VelocityField`.

    Starts with v = 0: the flow is the identity. Shapes: (N, D), t -> (N, D).

    Args:
        dim: Number of dimensions D.
        hidden: Numbers of the hidden layers, one or more.
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
        """The linear layers, in the order in which they are applied."""
        return list(self.layers)  # type: ignore[arg-type]

    def forward(self, x: Tensor, t: float) -> Tensor:
        return self.with_slopes(x, t)[0]

    def with_slopes(self, x: Tensor, t: float) -> tuple[Tensor, list[Tensor]]:
        """v(x, t), and s' of every hidden layer, (N, H_l)."""
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
        """div v = trace of dv/dx: closed forms for one and two hidden layers, a tangent a dimension for more.

        What the closed forms need of the weights is made here, once for all evaluations.
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
        """Hutchinson's estimate e^T (dv/dx) e (1990) with the given probes e (N, D)."""

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
        """The network of these arrays, in float64."""
        found = cls(field.layers[0][0].shape[1], field.hidden, beta=beta).double()
        for layer, (matrix, bias) in zip(found.linears(), field.layers, strict=True):
            layer.weight.copy_(torch.from_numpy(matrix))
            layer.bias.copy_(torch.from_numpy(bias))
        found.time.copy_(torch.from_numpy(field.time))
        return found

    def arrays(self) -> VelocityField:
        """The network as float64 arrays."""

        def array(tensor: Tensor) -> np.ndarray:
            return tensor.detach().cpu().double().numpy().copy()

        layers = tuple((array(layer.weight), array(layer.bias)) for layer in self.linears())
        return VelocityField(layers, array(self.time))
