"""The linear layer of LU-Net (arXiv 2302.10524, section 3), packed."""

from collections.abc import Iterable
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.linalg import solve_triangular

from lunet_export.errors import BadInputError
from lunet_export.flows.lunet import exactly_rounded_exp
from lunet_export.layers import LU
from lunet_export.layers.lu import unit_lower
from lunet_export.torch_layers.bijection import Bijection
from lunet_export.torch_layers.packed_product import packed_product, upper_product

Array = NDArray[np.float64]


class LULinear(Bijection):
    """This module computes L (U x) + b with L unit lower and U upper triangular; log_det = sum log|diag U|.

    One D x D parameter `packed` holds both factors: L below the diagonal, U above it, and log|diag U| on it, so that
    gradient steps can never make an entry 0. The signs of diag U are a buffer: +1 at the start, a loaded
    checkpoint's own otherwise. Shapes: (N, D) -> (N, D), (N,). Cost: O(N D^2) in both directions.

    With `whitened`, the entries above the diagonal are those of V in U = V R, and `bias` is b in L (V R (x - m)) + b,
    where R and m are buffers: R upper triangular with R cov(x) R^T = I. The map is the same, but each gradient step is
    one of a layer whose inputs are uncorrelated (Desjardins et al. 2015, arXiv 1507.00210). `whiten` changes the
    coordinates and keeps the map. The third product costs half as much again.

    Args:
        dim: Number of dimensions D.
        whitened: Whether U is held in whitened coordinates, at first those of R = I, m = 0.
        bound: Bound c, for log|u_ii| = c tanh(theta_i / c) with theta on the diagonal of `packed`: |log|u_ii|| < c
            always.
    """

    packed: nn.Parameter
    bias: nn.Parameter
    sign: Tensor
    root: Tensor
    centre: Tensor

    def __init__(self, dim: int, *, whitened: bool = False, bound: float | None = None) -> None:
        super().__init__()
        self.whitened, self.bound = whitened, bound
        self.packed = nn.Parameter(torch.zeros(dim, dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("sign", torch.ones(dim))
        if whitened:
            self.register_buffer("root", torch.eye(dim))
            self.register_buffer("centre", torch.zeros(dim))

    @classmethod
    def of(cls, layer: LU, *, whitened: bool = False, bound: float | None = None) -> Self:
        """Return the module of a layer, in float64; a diagonal of L moves into U."""
        module = cls(layer.width, whitened=whitened, bound=bound).double()
        module.load(unit_lower(layer))
        return module

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_diagonal = self.log_diagonal()
        diagonal = self.sign * log_diagonal.exp()
        if self.whitened:
            x, diagonal = upper_product(x - self.centre, self.root), diagonal / self.root.diagonal()
        return packed_product(x, self.packed, diagonal) + self.bias, log_diagonal.sum().expand(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        # Each solve reads its own triangle only, so L needs no masked copy.
        y = solve_triangular(self.packed, (z - self.bias).T, upper=False, unitriangular=True)
        x = solve_triangular(self._above(), y, upper=True)
        if self.whitened:
            x = solve_triangular(self.root, x, upper=True) + self.centre[:, None]
        return x.T, -self.log_diagonal().sum().expand(len(z))

    def log_diagonal(self) -> Tensor:
        """Return log|diag U|, (D,)."""
        theta = self.packed.diagonal()
        return theta if self.bound is None else self.bound * torch.tanh(theta / self.bound)

    def diagonal(self) -> Tensor:
        """Return diag U, (D,)."""
        return self.sign * self.log_diagonal().exp()

    def upper(self) -> Tensor:
        """Return U, (D, D)."""
        return self._above() @ self.root if self.whitened else self._above()

    def lower(self) -> Tensor:
        """Return L, (D, D)."""
        return torch.diagonal_scatter(self.packed.tril(), torch.ones_like(self.sign))

    def _above(self) -> Tensor:
        """Return U, or V where it is held in whitened coordinates."""
        diagonal = self.diagonal() / self.root.diagonal() if self.whitened else self.diagonal()
        return torch.diagonal_scatter(self.packed.triu(), diagonal)

    @torch.no_grad()
    def load(self, block: LU) -> None:
        """Copy the factors of `block` into this layer, rounded to its dtype.

        Raises:
            BadInputError: if |log|u_ii|| of the block is not below `bound`.
        """
        upper: NDArray[np.floating] = block.upper
        bias, diagonal = block.bias, np.diag(upper)
        theta = np.log(np.abs(diagonal))
        if self.bound is not None:
            if (np.abs(theta) >= self.bound).any():
                raise BadInputError(
                    f"Expected |log diag U| below the bound {self.bound}; got {np.abs(theta).max():.3g} at the start. "
                    "Give a larger bound."
                )
            theta = self.bound * np.arctanh(theta / self.bound)
        if self.whitened:
            root, centre = self._coordinates()
            bias = bias + block.lower @ (upper @ centre)
            upper = np.linalg.solve(root.T, upper.T).T
        packed = np.tril(block.lower, -1) + np.triu(upper, 1) + np.diag(theta)
        for target, value in ((self.packed, packed), (self.bias, bias), (self.sign, np.sign(diagonal))):
            target.copy_(torch.from_numpy(value))

    @torch.no_grad()
    def layer(self) -> LU:
        """Return the factors as float64 arrays. The exponential of the diagonal is exact and rounded once."""
        packed = self.packed.cpu().double().numpy()
        theta, lower = np.diag(packed), np.tril(packed, -1) + np.eye(len(packed))
        if self.bound is not None:
            theta = self.bound * np.tanh(theta / self.bound)
        diagonal = self.sign.cpu().double().numpy() * exactly_rounded_exp(
            theta
        )  # the chain refuses infinite ones by place
        upper, bias = np.triu(packed, 1), self.bias.cpu().double().numpy().copy()
        if self.whitened:
            root, centre = self._coordinates()
            upper = np.triu((upper + np.diag(diagonal / np.diag(root))) @ root, 1)
            bias = bias - lower @ ((upper + np.diag(diagonal)) @ centre)
        return LU(lower, upper + np.diag(diagonal), bias)

    def whiten(self, mean: Array, root: Array) -> None:
        """Hold the same map in other coordinates: m = `mean` (D,), R = `root` (D, D) upper triangular."""
        block = self.layer()
        with torch.no_grad():
            self.root.copy_(torch.from_numpy(root))
            self.centre.copy_(torch.from_numpy(mean))
        self.load(block)

    def decaying(self) -> Iterable[tuple[nn.Parameter, Tensor]]:
        """Yield the entries off the diagonals of L and U (of V where the layer is whitened)."""
        part = self.packed.detach().clone()
        part.diagonal().zero_()
        yield self.packed, part

    def _coordinates(self) -> tuple[Array, Array]:
        return self.root.cpu().double().numpy(), self.centre.cpu().double().numpy()
