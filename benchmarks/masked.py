"""The LU layer as the paper's code trains it: two dense D x D parameters, their gradients masked."""

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lunet_export.layers import LU, Chain
from lunet_export.torch_layers import Bijection, Flow
from lunet_export.torch_layers.lu_linear import LULinear


class MaskedLULinear(Bijection):
    """x -> L (U x) + b; log_det = sum log|diag U|. Restated from the paper's code, not copied.

    L and U are whole matrices. The entries on the wrong side, and the ones on L's diagonal, are stored, multiplied,
    given gradients and passed through the optimizer; the mask makes those gradients 0.
    """

    def __init__(self, block: LU, dtype: torch.dtype) -> None:
        super().__init__()
        self.lower, self.upper, self.bias = (
            nn.Parameter(torch.from_numpy(array).to(dtype, copy=True))
            for array in (block.lower, block.upper, block.bias)
        )
        ones = torch.ones_like(self.lower)
        for parameter, mask in ((self.lower, ones.tril(-1)), (self.upper, ones.triu())):
            parameter.register_hook(partial(torch.mul, mask))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = self.upper.diagonal().abs().log().sum().expand(len(x))
        return x @ self.upper.T @ self.lower.T + self.bias, log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.linalg.solve_triangular(self.lower, (z - self.bias).T, upper=False, unitriangular=True)
        x = torch.linalg.solve_triangular(self.upper, y, upper=True).T
        return x, -self.upper.diagonal().abs().log().sum().expand(len(z))


def packed(weights: Chain, dtype: torch.dtype) -> Flow:
    """Return our network, with one D x D parameter per layer."""
    return Flow.of(weights, dtype=dtype)


def masked(weights: Chain, dtype: torch.dtype) -> Flow:
    """Return the same network with the paper's layers."""
    flow, blocks = Flow.of(weights, dtype=dtype), iter(weights.of(LU))
    for number, layer in enumerate(flow.chain.bijections):
        if isinstance(layer, LULinear):
            flow.chain.bijections[number] = MaskedLULinear(next(blocks), dtype)
    return flow


def gradient_gap(ours: Flow, theirs: Flow) -> float:
    """Return the largest difference of two networks' gradients over the largest gradient, in terms of L, U and b.

    Ours has log|diag U| where theirs has diag U: d/d log|u| = u d/du.
    """
    worst = 0.0
    for layer, wide in zip(_layers(ours, LULinear), _layers(theirs, MaskedLULinear), strict=True):
        expected = _gradient(wide.lower) + np.triu(_gradient(wide.upper), 1)
        expected += np.diag(np.diag(wide.upper.detach().double().numpy()) * np.diag(_gradient(wide.upper)))
        for got, wanted in ((_gradient(layer.packed), expected), (_gradient(layer.bias), _gradient(wide.bias))):
            worst = max(worst, float(np.abs(got - wanted).max() / np.abs(wanted).max()))
    return worst


def _layers(flow: Flow, kind: type) -> list[Any]:
    return [layer for layer in flow.chain.bijections if isinstance(layer, kind)]


def _gradient(parameter: nn.Parameter) -> NDArray[np.float64]:
    return parameter.grad.double().numpy()
