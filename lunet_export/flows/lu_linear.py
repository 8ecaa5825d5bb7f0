"""The linear layer of LU-Net (arXiv 2302.10524, section 3), packed."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.linalg import solve_triangular

from lunet_export.flows.bijection import Bijection
from lunet_export.weights import LUBlock


class LULinear(Bijection):
    """x -> L (U x) + b with L unit lower and U upper triangular; log_det = sum log|diag U|.

    One D x D parameter `packed` holds both factors: L below the diagonal, U above it, and log|diag U| on it, so that
    gradient steps can never make an entry 0. The signs of diag U are a buffer: +1 at the start, a loaded
    checkpoint's own otherwise. Shapes: (N, D) -> (N, D), (N,). Cost: O(N D^2) in both directions.
    """

    packed: nn.Parameter
    bias: nn.Parameter
    sign: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.packed = nn.Parameter(torch.zeros(dim, dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("sign", torch.ones(dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = x @ self.upper().T
        return y @ self.lower().T + self.bias, self._log_det(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        # Each solve reads its own triangle only, so L needs no masked copy.
        y = solve_triangular(self.packed, (z - self.bias).T, upper=False, unitriangular=True)
        upper = torch.diagonal_scatter(self.packed, self.diagonal())
        return solve_triangular(upper, y, upper=True).T, -self._log_det(z)

    def diagonal(self) -> Tensor:
        """diag U, (D,)."""
        return self.sign * self.packed.diagonal().exp()

    def upper(self) -> Tensor:
        """U, (D, D)."""
        return torch.diagonal_scatter(self.packed.triu(), self.diagonal())

    def lower(self) -> Tensor:
        """L, (D, D)."""
        return torch.diagonal_scatter(self.packed.tril(), torch.ones_like(self.sign))

    def _log_det(self, x: Tensor) -> Tensor:
        return self.packed.diagonal().sum().expand(len(x))

    @torch.no_grad()
    def load(self, block: LUBlock) -> None:
        """Take over the factors of `block`, rounded to this layer's dtype."""
        diagonal = np.diag(block.upper)
        packed = np.tril(block.lower, -1) + np.triu(block.upper, 1) + np.diag(np.log(np.abs(diagonal)))
        for target, value in ((self.packed, packed), (self.bias, block.bias), (self.sign, np.sign(diagonal))):
            target.copy_(torch.from_numpy(value))

    @torch.no_grad()
    def to_block(self) -> LUBlock:
        """The factors as float64 arrays. The exponential of the diagonal is taken in float64."""
        packed = self.packed.cpu().double().numpy()
        with np.errstate(over="ignore"):  # an infinite entry is refused by LUNetWeights, with its place
            diagonal = self.sign.cpu().double().numpy() * np.exp(np.diag(packed))
        lower = np.tril(packed, -1) + np.eye(len(packed))
        return LUBlock(lower, np.triu(packed, 1) + np.diag(diagonal), self.bias.cpu().double().numpy().copy())
