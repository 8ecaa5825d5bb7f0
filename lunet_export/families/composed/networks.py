"""The small networks inside a layer: affine maps, activations and residual blocks, as plain float64 arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks.reference import softplus
from lunet_export.errors import CheckpointError

Array = NDArray[np.float64]

#: By name; `leaky-relu` alone has a parameter, its slope to the left of 0.
ACTIVATIONS = ("relu", "leaky-relu", "tanh", "elu", "silu", "sigmoid")


@dataclass(frozen=True)
class Dense:
    """a -> W a + b. Shapes: weight (out, in), bias (out,)."""

    weight: Array
    bias: Array


@dataclass(frozen=True)
class Activation:
    """An elementwise function, a name of ACTIVATIONS."""

    name: str
    slope: float = 0.0  # of leaky-relu


@dataclass(frozen=True)
class Scaling:
    """a -> scale a + shift, as a batch norm in evaluation mode is. Shapes: (width,)."""

    scale: Array
    shift: Array


@dataclass(frozen=True)
class Residual:
    """a -> a + inner(a)."""

    inner: "tuple[Operation, ...]"


Operation = Dense | Activation | Scaling | Residual
Network = tuple[Operation, ...]


def apply(network: Network, a: Array) -> Array:
    """The network's values, (N, in) -> (N, out)."""
    for operation in network:
        if isinstance(operation, Dense):
            a = a @ operation.weight.T + operation.bias
        elif isinstance(operation, Scaling):
            a = a * operation.scale + operation.shift
        elif isinstance(operation, Activation):
            a = activated(operation, a)
        else:
            a = a + apply(operation.inner, a)
    return a


def activated(activation: Activation, a: Array) -> Array:
    """The activation's values."""
    if activation.name == "relu":
        return np.maximum(a, 0.0)
    if activation.name == "leaky-relu":
        return np.where(a >= 0, a, activation.slope * a)
    if activation.name == "tanh":
        return np.tanh(a)
    if activation.name == "elu":
        return np.where(a > 0, a, np.expm1(np.minimum(a, 0.0)))
    sigmoid = np.exp(-softplus(-a))
    return a * sigmoid if activation.name == "silu" else sigmoid


def arrays(network: Network) -> list[Array]:
    """All arrays, in the order in which they are applied."""
    found: list[Array] = []
    for operation in network:
        if isinstance(operation, Dense):
            found += [operation.weight, operation.bias]
        elif isinstance(operation, Scaling):
            found += [operation.scale, operation.shift]
        elif isinstance(operation, Residual):
            found += arrays(operation.inner)
    return found


def shape(network: Network) -> str:
    """What the arrays do not tell: the operations by name."""
    words = []
    for operation in network:
        word = type(operation).__name__
        if isinstance(operation, Activation):
            word = f"{operation.name} {operation.slope!r}"
        elif isinstance(operation, Residual):
            word = f"Residual({shape(operation.inner)})"
        words.append(word)
    return ", ".join(words)


def dependencies(network: Network, reached: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which outputs depend on which inputs, (out, in), by the weights that are not 0.

    Args:
        network: The network.
        reached: The same of what enters it, (width, in).
    """
    for operation in network:
        if isinstance(operation, Dense):
            reached = ((operation.weight != 0).astype(np.float64) @ reached.astype(np.float64)) > 0
        elif isinstance(operation, Residual):
            reached = reached | dependencies(operation.inner, reached)
    return reached


def refuse(network: Network, entering: int, leaving: int, where: str) -> None:
    """Raise unless the operations fit each other, and `entering` and `leaving` numbers.

    Raises:
        CheckpointError: They do not, a number is not finite, or an activation is unknown.
    """
    width = _width(network, entering, where)
    if width != leaving:
        raise CheckpointError(f"Expected a network that gives {leaving} numbers in {where}; got {width}.")


def _width(network: Network, width: int, where: str) -> int:
    for operation in network:
        if isinstance(operation, Dense):
            out = operation.bias.shape[0] if operation.bias.ndim == 1 else -1
            if operation.weight.shape != (out, width) or out < 1:
                raise CheckpointError(
                    f"Expected a matrix of {width} columns with its bias in the network of {where}; got shapes "
                    f"{operation.weight.shape} and {operation.bias.shape}."
                )
            width = out
        elif isinstance(operation, Scaling):
            if operation.scale.shape != (width,) or operation.shift.shape != (width,):
                raise CheckpointError(f"Expected a scaling of {width} numbers in the network of {where}.")
        elif isinstance(operation, Activation):
            if operation.name not in ACTIVATIONS or not np.isfinite(operation.slope):
                raise CheckpointError(
                    f"Expected an activation of {', '.join(ACTIVATIONS)} in {where}; got {operation.name}."
                )
        elif _width(operation.inner, width, where) != width:
            raise CheckpointError(f"Expected a residual block that keeps its width in {where}; got another.")
    if not all(np.isfinite(array).all() for array in arrays(network)):
        raise CheckpointError(f"Expected finite numbers in the network of {where}; got NaN or infinity.")
    return width
