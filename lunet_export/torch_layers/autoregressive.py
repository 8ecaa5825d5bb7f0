"""Autoregressive layers, couplings among them."""

from copy import copy
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from lunet_export.layers import Autoregressive
from lunet_export.torch_layers.bijection import Bijection
from lunet_export.torch_layers.networks import NetworkModule
from lunet_export.torch_layers.transformers import functions_of


class AutoregressiveBijection(Bijection):
    """This module computes y_i = f(x_i; p_i) with the numbers p from a network of x, and f from its transformer.

    The inverse takes one pass of the network per level.
    """

    inputs: Tensor
    changed: Tensor

    def __init__(self, layer: Autoregressive) -> None:
        super().__init__()
        self._layer, self._transformer = layer, layer.transformer
        self.register_buffer("inputs", torch.from_numpy(layer.inputs.copy()))
        self.register_buffer("changed", torch.from_numpy(layer.changed.copy()))
        self.network = NetworkModule(layer.network)
        self._context: Tensor | None = None
        self._levels = [torch.from_numpy(level.copy()) for level in layer.levels]
        count = len(layer.changed)
        self._places = [torch.from_numpy(layer.transformer.places(level, count)) for level in layer.levels]

    @classmethod
    def of(cls, layer: Autoregressive) -> Self:
        return cls(layer)

    def given(self, context: Tensor | None) -> Self:
        found = copy(self)
        found._context = context
        return found

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        functions = functions_of(self._numbers(x), self._transformer)
        changed, log_slope = functions.forward(x[:, self.changed])
        return x.index_copy(1, self.changed, changed), log_slope.sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = z.index_fill(1, self.changed, 0.0)
        log_det = z.new_zeros(len(z))
        for level, places in zip(self._levels, self._places, strict=True):
            columns = self.changed[level]
            functions = functions_of(self._numbers(x)[:, places], self._transformer)
            found, log_slope = functions.inverse(z[:, columns])
            x = x.index_copy(1, columns, found)
            log_det = log_det - log_slope.sum(-1)
        return x, log_det

    def layer(self) -> Autoregressive:
        return replace(self._layer, network=self.network.arrays())

    def _numbers(self, x: Tensor) -> Tensor:
        return self.network(x[:, self.inputs], self._context)
