"""PyTorch without anything that a compiler or a benchmark need not see: the fastest rival that PyTorch offers."""

from math import log

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.linalg import solve_triangular
from torch.nn import functional

from lunet_export.layers import LU, Chain
from lunet_export.preprocessing import largest_below
from lunet_export.torch_layers import standard_normal_log_prob
from lunet_export.torch_layers.leaky_softplus import LeakySoftplusBijection
from lunet_export.torch_layers.newton import newton_steps

Floats = NDArray[np.floating]


class LeanFlow(nn.Module):
    """Both directions of an LU-Net in float32: L and U as they are, and no log_det where it is not needed.

    Newton's iteration has a fixed number of steps, because a loop that depends on its data would break the graph of
    `torch.compile`.
    """

    def __init__(self, weights: Chain) -> None:
        super().__init__()
        self.alpha, self.preprocessing = weights.kind.alpha, weights.preprocessing
        self.steps = newton_steps(LeakySoftplusBijection(weights.kind.alpha), torch.float32)
        self.blocks = len(weights.of(LU))
        for number, block in enumerate(weights.of(LU)):
            for name in ("lower", "upper", "bias"):
                array = torch.from_numpy(getattr(block, name)).float()
                self.register_buffer(f"{name}{number}", array, persistent=False)
        diagonals = [np.log(np.abs(np.diag(block.upper))).sum() for block in weights.of(LU)]
        self.log_det = float(np.sum(diagonals))

    def decode(self, z: Tensor) -> Tensor:
        """z (N, D) -> x (N, D), images clamped."""
        h = z
        for number in reversed(range(self.blocks)):
            lower, upper, bias = self._block(number)
            y = solve_triangular(lower, (h - bias).T, upper=False, unitriangular=True)
            h = solve_triangular(upper, y, upper=True).T
            if number:
                h = self._inverse_activation(h)
        p = self.preprocessing
        if p is None:
            return h
        x = (h.sigmoid() - p.margin / 2) * (p.levels / (1 - p.margin))
        return x.clamp(0.0, float(largest_below(p.levels, np.dtype("float32"))))

    def density(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, D) -> z (N, D), log_prob (N,) in nats."""
        h, log_det, p = x, x.new_full((len(x),), self.log_det), self.preprocessing
        if p:
            scale = (1 - p.margin) / p.levels
            log_s = (scale * x + p.margin / 2).log()
            log_rest = (scale * (p.levels - x) + p.margin / 2).log()
            h, log_det = log_s - log_rest, log_det + (log(scale) - log_s - log_rest).sum(-1)
        for number in range(self.blocks):
            if number:
                log_det = log_det + self._slope(h).log().sum(-1)
                h = self._activation(h)
            lower, upper, bias = self._block(number)
            h = h @ upper.T @ lower.T + bias
        return h, standard_normal_log_prob(h) + log_det

    def _block(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        lower, upper, bias = (getattr(self, f"{name}{number}") for name in ("lower", "upper", "bias"))
        return lower, upper, bias

    def _activation(self, a: Tensor) -> Tensor:
        return self.alpha * a + (1 - self.alpha) * functional.softplus(a)

    def _slope(self, a: Tensor) -> Tensor:
        return self.alpha + (1 - self.alpha) * a.sigmoid()

    def _inverse_activation(self, h: Tensor) -> Tensor:
        a = torch.minimum(h, h / self.alpha)
        for _ in range(self.steps):
            a = a - (self._activation(a) - h) / self._slope(a)
        return a


class LeanRunner:
    """NumPy rows in and out of `LeanFlow`; `compiled` puts `torch.compile` in its default mode around both."""

    def __init__(self, weights: Chain, *, compiled: bool = False) -> None:
        flow = LeanFlow(weights).eval()
        # dynamic=False: every batch gets code for its own size, the fastest that torch.compile has.
        wrap = (lambda call: torch.compile(call, dynamic=False)) if compiled else (lambda call: call)
        self._decode, self._density = wrap(flow.decode), wrap(flow.density)

    @torch.no_grad()
    def decode(self, z: Floats) -> Floats:
        """z (N, D) -> x (N, D)."""
        return self._decode(torch.from_numpy(z)).numpy()

    @torch.no_grad()
    def density(self, x: Floats) -> tuple[Floats, Floats]:
        """x (N, D) -> z (N, D), log_prob (N,)."""
        z, log_prob = self._density(torch.from_numpy(x))
        return z.numpy(), log_prob.numpy()
