"""Affine autoregressive layers, couplings among them."""

from collections.abc import Callable
from copy import copy
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from lunet_export.layers import AffineAutoregressive, ScaleMap
from lunet_export.torch_layers.bijection import Bijection
from lunet_export.torch_layers.networks import NetworkModule


class Autoregressive(Bijection):
    """This module computes y_i = s_i x_i + t_i with s and t from a network of x.

    The inverse takes one pass of the network per level.
    """

    inputs: Tensor
    changed: Tensor

    def __init__(self, layer: AffineAutoregressive) -> None:
        super().__init__()
        self.dim, self.scale = layer.dim, layer.scale
        self.register_buffer("inputs", torch.from_numpy(layer.inputs.copy()))
        self.register_buffer("changed", torch.from_numpy(layer.changed.copy()))
        self.network = NetworkModule(layer.network)
        self._context: Tensor | None = None
        self._levels = [torch.from_numpy(level.copy()) for level in layer.levels]

    @classmethod
    def of(cls, layer: AffineAutoregressive) -> Self:
        return cls(layer)

    def given(self, context: Tensor | None) -> Self:
        found = copy(self)
        found._context = context
        return found

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._scale_and_shift(x)
        y = x.index_copy(1, self.changed, x[:, self.changed] * log_scale.exp() + shift)
        return y, log_scale.sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = z.index_fill(1, self.changed, 0.0)
        log_det = z.new_zeros(len(z))
        for level in self._levels:
            log_scale, shift = (part[:, level] for part in self._scale_and_shift(x))
            columns = self.changed[level]
            x = x.index_copy(1, columns, (z[:, columns] - shift) * (-log_scale).exp())
            log_det = log_det - log_scale.sum(-1)
        return x, log_det

    def layer(self) -> AffineAutoregressive:
        inputs, changed = (columns.cpu().numpy().copy() for columns in (self.inputs, self.changed))
        return AffineAutoregressive(self.dim, inputs, changed, self.network.arrays(), self.scale)

    def _scale_and_shift(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return scale_and_shift(self.network(x[:, self.inputs], self._context), self.scale)


def scale_and_shift(found: Tensor, scale: ScaleMap) -> tuple[Tensor, Tensor]:
    """Return log s and t from what a network gives, (N, C) or (N, 2 C)."""
    if scale.counts == 1:
        return torch.zeros_like(found), found
    shift, u = found.chunk(2, dim=1)
    return _LOG_SCALES[scale.kind](u, scale), shift


def _centred(log_scale: Tensor) -> Tensor:
    return log_scale - log_scale.mean(-1, keepdim=True)


_LOG_SCALES: dict[str, Callable[[Tensor, ScaleMap], Tensor]] = {
    "exp": lambda u, scale: u,
    "soft-exp": lambda u, scale: u / (1 + u.abs() / scale.offset),
    "softplus": lambda u, scale: (-functional.logsigmoid(-u) + scale.floor).log(),
    "sigmoid": lambda u, scale: (torch.sigmoid(u + scale.offset) + scale.floor).log(),
    "reciprocal-sigmoid": lambda u, scale: -functional.logsigmoid(u + scale.offset),
    "atan": lambda u, scale: scale.offset * u.atan(),
    "tanh": lambda u, scale: scale.offset * u.tanh(),
    "centred-atan": lambda u, scale: _centred(scale.offset * u.atan()),
    "centred-tanh": lambda u, scale: _centred(scale.offset * u.tanh()),
}
