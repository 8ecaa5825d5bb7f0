"""The networks inside couplings."""

from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lunet_export.layers import ConvNet, DenseNet
from lunet_export.layers.convolution import EPSILON
from lunet_export.layers.networks import Network
from lunet_export.torch_layers.networks import NetworkModule


class _Residual(nn.Module):
    def __init__(self, planes: int) -> None:
        super().__init__()
        self.first, self.second = _conv(planes, planes), _conv(planes, planes)

    def forward(self, h: Tensor) -> Tensor:
        inner = functional.relu(functional.instance_norm(self.first(h), eps=EPSILON))
        return functional.relu(h + functional.instance_norm(self.second(inner), eps=EPSILON))


class Convolutions(nn.Module):
    """This module is a `ConvNet`: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int, planes: int, *, residuals: int = 2) -> None:
        super().__init__()
        self.first, self.last = _conv(channels, planes), _conv(planes, channels)
        self.residuals = nn.ModuleList(_Residual(planes) for _ in range(residuals))

    def forward(self, h: Tensor) -> Tensor:
        h = self.first(h)
        for residual in self.residuals:
            h = residual(h)
        found: Tensor = self.last(h)
        return found

    @classmethod
    def of(cls, net: ConvNet) -> "Convolutions":
        """Return the module of these arrays, in float64."""
        planes, channels = net.first.shape[:2]
        found = cls(channels, planes, residuals=len(net.residuals))
        return _loaded(found, net)

    def arrays(self) -> ConvNet:
        """Return the network as float64 arrays."""
        first, *inner, last = (kernel.detach().cpu().double().numpy() for kernel in self.ordered())
        return ConvNet(first, tuple(zip(inner[::2], inner[1::2], strict=True)), last)

    def ordered(self) -> list[Tensor]:
        """Return the parameters, in the order of `ConvNet.arrays`."""
        pairs: list[Tensor] = [kernel for residual in self.residuals for kernel in residual.parameters()]
        return [self.first.weight, *pairs, self.last.weight]


class Dense(nn.Module):
    """This module is a `DenseNet` through the given widths: (N, widths[0]) -> (N, widths[-1]).

    Args:
        widths: Numbers that enter, those of each hidden layer, and those that leave.
        conditional: Network of the context that the first layer adds. It has a bias, so that of the layer is held.
    """

    def __init__(self, widths: list[int], conditional: Network = ()) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(into, out) for into, out in pairwise(widths))
        self.layers[0].bias.requires_grad = not conditional
        self.conditional = NetworkModule(conditional, masked=False)

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        for number, layer in enumerate(self.layers):
            h = layer(functional.relu(h) if number else h)
            if not number and len(self.conditional.operations):
                assert context is not None
                h = h + self.conditional(context)
        return h

    @classmethod
    def of(cls, net: DenseNet) -> "Dense":
        """Return the module of these arrays, in float64."""
        widths = [net.layers[0][0].shape[1], *(len(bias) for _, bias in net.layers)]
        return _loaded(cls(widths, net.conditional), net)

    def arrays(self) -> DenseNet:
        """Return the network as float64 arrays."""
        found = [array.detach().cpu().double().numpy() for array in self.ordered()]
        return DenseNet(tuple(zip(found[::2], found[1::2], strict=True)), self.conditional.arrays())

    def ordered(self) -> list[Tensor]:
        """Return the parameters, in the order of `DenseNet.arrays`."""
        return list(self.layers.parameters())


def _conv(into: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(into, out, 3, padding=1, bias=False)


N = TypeVar("N", Convolutions, Dense)


@torch.no_grad()
def _loaded(module: N, net: ConvNet | DenseNet) -> N:
    for parameter, array in zip(module.double().ordered(), net.arrays(), strict=True):
        parameter.copy_(torch.from_numpy(array))
    return module
