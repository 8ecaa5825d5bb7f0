"""The small networks inside a layer, in PyTorch."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lunet_export.layers.networks import Activation, Dense, Gate, Network, Operation, Residual, Scaling, Wave
from lunet_export.torch_layers.bijection import numbers


class OperationModule(nn.Module, ABC):
    """This module is one step of a network: a (N, in) -> (N, out)."""

    @abstractmethod
    def forward(self, a: Tensor, context: Tensor | None) -> Tensor:
        """Return the values of the step; what depends on no context ignores it."""

    @abstractmethod
    def arrays(self) -> Operation:
        """Return the step as float64 arrays."""


class NetworkModule(nn.Module):
    """This module is a `networks.Network`.

    Args:
        network: The network.
        masked: Whether weights that are 0 stay 0 in training. Those of a network of columns may be masked; those of a
            network of the context are not.
    """

    def __init__(self, network: Network, *, masked: bool = True) -> None:
        super().__init__()
        self.operations = nn.ModuleList(_MODULES[type(operation)](operation) for operation in network)
        if not masked:
            for module in self.modules():
                if isinstance(module, _Dense):
                    module.mask = torch.ones_like(module.mask)

    def forward(self, a: Tensor, context: Tensor | None = None) -> Tensor:
        for operation in self.operations:
            a = operation(a, context)
        return a

    def arrays(self) -> Network:
        """Return the network as float64 arrays."""
        return tuple(operation.arrays() for operation in cast(Iterable[OperationModule], self.operations))

    def hold_scalings(self) -> None:
        """Keep scalings as they are in training."""
        for operation in self.operations:
            if isinstance(operation, _Scaling):
                operation.requires_grad_(requires_grad=False)


class _Dense(OperationModule):
    mask: Tensor

    def __init__(self, operation: Dense) -> None:
        super().__init__()
        self.weight, self.bias = _parameter(operation.weight), _parameter(operation.bias)
        self.register_buffer("mask", torch.from_numpy(operation.weight != 0))
        self.conditional = NetworkModule(operation.conditional, masked=False)

    def forward(self, a: Tensor, context: Tensor | None) -> Tensor:
        found = functional.linear(a, self.weight * self.mask, self.bias)
        if not len(self.conditional.operations):
            return found
        assert context is not None
        return found + self.conditional(context)

    def arrays(self) -> Operation:
        return Dense(numbers(self.weight * self.mask), numbers(self.bias), self.conditional.arrays())


class _Scaling(OperationModule):
    def __init__(self, operation: Scaling) -> None:
        super().__init__()
        self.scale, self.shift = _parameter(operation.scale), _parameter(operation.shift)

    def forward(self, a: Tensor, context: Tensor | None) -> Tensor:
        return a * self.scale + self.shift

    def arrays(self) -> Operation:
        return Scaling(numbers(self.scale), numbers(self.shift))


class _Wave(OperationModule):
    def __init__(self, operation: Wave) -> None:
        super().__init__()
        self.amplitude, self.phase = _parameter(operation.amplitude), _parameter(operation.phase)
        self.register_buffer("frequency", torch.from_numpy(operation.frequency.copy()))
        self.register_buffer("straight", torch.from_numpy(operation.straight.copy()))

    frequency: Tensor
    straight: Tensor

    def forward(self, a: Tensor, context: Tensor | None) -> Tensor:
        return self.amplitude * torch.sin(a * self.frequency + self.phase) + self.straight * a

    def arrays(self) -> Operation:
        return Wave(*map(numbers, (self.amplitude, self.frequency, self.phase, self.straight)))


class _Gate(OperationModule):
    def __init__(self, operation: Gate) -> None:
        super().__init__()
        self.conditional = NetworkModule(operation.conditional, masked=False)

    def forward(self, a: Tensor, context: Tensor | None) -> Tensor:
        assert context is not None
        return a * self.conditional(context)

    def arrays(self) -> Operation:
        return Gate(self.conditional.arrays())


_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "elu": functional.elu,
    "silu": functional.silu,
    "sigmoid": torch.sigmoid,
}


class _Activation(OperationModule):
    def __init__(self, operation: Activation) -> None:
        super().__init__()
        self._operation = operation

    def forward(self, a: Tensor, context: Tensor | None) -> Tensor:
        if self._operation.name == "leaky-relu":
            return functional.leaky_relu(a, self._operation.slope)
        return _FUNCTIONS[self._operation.name](a)

    def arrays(self) -> Operation:
        return self._operation


class _Residual(OperationModule):
    def __init__(self, operation: Residual) -> None:
        super().__init__()
        self.inner = NetworkModule(operation.inner)

    def forward(self, a: Tensor, context: Tensor | None) -> Tensor:
        return a + self.inner(a, context)

    def arrays(self) -> Operation:
        return Residual(self.inner.arrays())


def _parameter(values: NDArray[np.float64]) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.array(values)))


_MODULES: dict[type[Operation], Callable[[Any], OperationModule]] = {
    Dense: _Dense,
    Scaling: _Scaling,
    Activation: _Activation,
    Residual: _Residual,
    Gate: _Gate,
    Wave: _Wave,
}
