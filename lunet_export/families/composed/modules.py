"""The small networks inside a layer, in PyTorch."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lunet_export.families.composed import networks
from lunet_export.families.composed.networks import Activation, Dense, Network, Operation, Residual, Scaling


class NetworkModule(nn.Module):
    """A `networks.Network`; entries that are 0 stay 0 when it is trained: they may be masked."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.operations = nn.ModuleList(_module(operation) for operation in network)

    def forward(self, a: Tensor) -> Tensor:
        for operation in self.operations:
            a = operation(a)
        return a

    def arrays(self) -> Network:
        """The network as float64 arrays."""
        return tuple(operation.arrays() for operation in self.operations)  # type: ignore[operator]


class _Dense(nn.Module):
    mask: Tensor

    def __init__(self, operation: Dense) -> None:
        super().__init__()
        self.weight, self.bias = _parameter(operation.weight), _parameter(operation.bias)
        self.register_buffer("mask", torch.from_numpy(operation.weight != 0))

    def forward(self, a: Tensor) -> Tensor:
        return functional.linear(a, self.weight * self.mask, self.bias)

    def arrays(self) -> Operation:
        return Dense(array(self.weight * self.mask), array(self.bias))


class _Scaling(nn.Module):
    def __init__(self, operation: Scaling) -> None:
        super().__init__()
        self.scale, self.shift = _parameter(operation.scale), _parameter(operation.shift)

    def forward(self, a: Tensor) -> Tensor:
        return a * self.scale + self.shift

    def arrays(self) -> Operation:
        return Scaling(array(self.scale), array(self.shift))


class _Activation(nn.Module):
    def __init__(self, operation: Activation) -> None:
        super().__init__()
        self._operation = operation

    def forward(self, a: Tensor) -> Tensor:
        name = self._operation.name
        if name == "leaky-relu":
            return functional.leaky_relu(a, self._operation.slope)
        functions = {
            "relu": torch.relu,
            "tanh": torch.tanh,
            "elu": functional.elu,
            "silu": functional.silu,
            "sigmoid": torch.sigmoid,
        }
        return functions[name](a)

    def arrays(self) -> Operation:
        return self._operation


class _Residual(nn.Module):
    def __init__(self, operation: Residual) -> None:
        super().__init__()
        self.inner = NetworkModule(operation.inner)

    def forward(self, a: Tensor) -> Tensor:
        return a + self.inner(a)

    def arrays(self) -> Operation:
        return Residual(self.inner.arrays())


def _module(operation: Operation) -> nn.Module:
    if isinstance(operation, Dense):
        return _Dense(operation)
    if isinstance(operation, networks.Scaling):
        return _Scaling(operation)
    return _Activation(operation) if isinstance(operation, Activation) else _Residual(operation)


def _parameter(values: NDArray[np.float64]) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.array(values)))


def array(tensor: Tensor) -> NDArray[np.float64]:
    """The numbers of a tensor in float64, a copy."""
    return tensor.detach().cpu().double().numpy().copy()


def matrices(module: nn.Module) -> Iterable[nn.Parameter]:
    """The parameters of a network that are matrices."""
    return (parameter for parameter in module.parameters() if parameter.ndim > 1)
