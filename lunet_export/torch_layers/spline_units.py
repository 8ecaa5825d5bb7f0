"""A spline per unit, as training learns it in place of an activation."""

from dataclasses import replace
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lunet_export.layers import SplineAutoregressive
from lunet_export.layers.networks import Dense
from lunet_export.torch_layers.bijection import Bijection, numbers
from lunet_export.torch_layers.transformers import SplineTensors


class SplineUnits(Bijection):
    """This module is y_i = f(x_i; p_i) with a rational-quadratic spline f per unit, whose numbers p_i are parameters.

    The slopes at both ends of the box are held, so that splines with identity tails stay smooth if they begin smooth. A
    step along the parameters moves the numbers `pace` times as far: Adam's steps are as long as its rate whatever is
    learned, and the rate that suits a matrix moves its few splines too slowly. Shapes: (N, D) -> (N, D), (N,).

    Args:
        layer: Layer of all splines, which has no inputs and changes all columns in their order.
        pace: Pace of the numbers.
    """

    ends: Tensor

    def __init__(self, layer: SplineAutoregressive, *, pace: float = 1.0) -> None:
        super().__init__()
        self._layer, self._spline, self._pace = layer, layer.spline, pace
        knots = torch.from_numpy(_dense(layer).bias.reshape(layer.dim, 3, layer.spline.bins + 1).copy())
        self.shares = nn.Parameter(knots[:, :2, :-1] / pace)
        self.slopes = nn.Parameter(knots[:, 2, 1:-1] / pace)
        self.register_buffer("ends", knots[:, 2, [0, -1]])

    @classmethod
    def of(cls, layer: SplineAutoregressive) -> Self:
        return cls(layer)

    def layer(self) -> SplineAutoregressive:
        return replace(self._layer, network=(replace(_dense(self._layer), bias=numbers(self._numbers)[0]),))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value, log_slope = SplineTensors(self._numbers, self._spline).forward(x)
        return value, log_slope.sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        value, log_slope = SplineTensors(self._numbers, self._spline).inverse(z)
        return value, -log_slope.sum(-1)

    @property
    def _numbers(self) -> Tensor:
        """Return the numbers of all units in a row, (1, D P); the last share of a column counts for nothing."""
        shares = functional.pad(self._pace * self.shares, (0, 1))
        slopes = torch.cat([self.ends[:, :1], self._pace * self.slopes, self.ends[:, 1:]], dim=1)
        return torch.cat([shares, slopes[:, None]], dim=1).reshape(1, -1)


def _dense(layer: SplineAutoregressive) -> Dense:
    """Return the only operation of a network without inputs."""
    return cast(Dense, layer.network[0])
