"""The small networks inside other libraries' layers, in evaluation mode, as `lunet_export.layers.networks`."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lunet_export.importers.classes import first_known, library_of
from lunet_export.importers.parts import Foreign, Refused
from lunet_export.importers.twin import array, row
from lunet_export.layers.networks import Activation, Dense, Gate, Network, Operation, Residual, Scaling, Wave

Array = NDArray[np.float64]

_FUNCTIONS: dict[Foreign, str] = {
    functional.relu: "relu",
    torch.relu: "relu",
    torch.tanh: "tanh",
    functional.tanh: "tanh",
    torch.sigmoid: "sigmoid",
    functional.sigmoid: "sigmoid",
    functional.elu: "elu",
    functional.silu: "silu",
}
_SLOPE = 0.01  # default of `torch.nn.functional.leaky_relu`


def read(module: Foreign, context: Tensor | None = None) -> Network:
    """Return the network that a module computes.

    Args:
        module: The module, in float64.
        context: Context that the module's context input is fixed to, (1, C), for networks of nflows and normflows. None
            leaves it an input: what depends on it becomes conditional.

    Raises:
        Refused: if it holds something that is not supported.
    """
    name = first_known(module, _READERS)
    if name is None:
        raise Refused(f"its network holds a {_called(module)}")
    return tuple(_READERS[name](module, context))


def after(network: Network, matrix: Array, shift: Array | float = 0.0) -> Network:
    """Return the network followed by a matrix and a shift."""
    last = network[-1] if network else None
    if isinstance(last, Dense):
        conditional = after(last.conditional, matrix) if last.conditional else ()
        return (*network[:-1], Dense(matrix @ last.weight, matrix @ last.bias + shift, conditional))
    return (*network, Dense(matrix, np.zeros(len(matrix)) + shift))


def before(network: Network, matrix: Array, bias: Array) -> Network:
    """Return the network preceded by a matrix and a bias."""
    first = network[0] if network else None
    if isinstance(first, Dense) and first.weight.shape[1] == len(matrix):
        moved = Dense(first.weight @ matrix, first.weight @ bias + first.bias, first.conditional)
        return (moved, *network[1:])
    return (Dense(matrix, bias), *network)


def leaving(network: Network) -> int:
    """Return how many numbers the network gives.

    Raises:
        Refused: if it has no matrix from which this can be known.
    """
    for operation in reversed(network):
        if isinstance(operation, Dense):
            return len(operation.bias)
        if isinstance(operation, Scaling):
            return len(operation.scale)
    raise Refused("its network holds no matrix")


def entering(network: Network) -> int:
    """Return how many numbers the network takes.

    Raises:
        Refused: if it does not begin with a matrix, from which this can be known.
    """
    first = network[0] if network else None
    if not isinstance(first, Dense):
        raise Refused("its network does not begin with a matrix")
    return first.weight.shape[1]


def taking(network: Network) -> int | None:
    """Return how many numbers the network takes; None if it takes any count, as activations do."""
    for operation in network:
        if isinstance(operation, Dense):
            return operation.weight.shape[1]
        if isinstance(operation, Scaling) and len(operation.scale) > 1:
            return len(operation.scale)
    return None


def _called(thing: Foreign) -> str:
    return getattr(thing, "__name__", None) or type(thing).__name__


def activation(function: Foreign) -> list[Operation]:
    """Return the activation that a module or a function of PyTorch computes.

    Raises:
        Refused: if it is not supported.
    """
    if isinstance(function, nn.Module):
        return list(read(function))
    if function is functional.leaky_relu:
        return [Activation("leaky-relu", _SLOPE)]
    if function in _FUNCTIONS:
        return [Activation(_FUNCTIONS[function])]
    raise Refused(f"its network's activation is {_called(function)}")


def _nothing(module: Foreign, context: Tensor | None) -> list[Operation]:
    return []


def _named(name: str) -> Callable[[Foreign, Tensor | None], list[Operation]]:
    return lambda module, context: [Activation(name)]


def _elu(module: Foreign, context: Tensor | None) -> list[Operation]:
    if module.alpha != 1:
        raise Refused(f"its network's ELU has alpha {module.alpha:g}, not 1")
    return [Activation("elu")]


def _leaky_relu(module: Foreign, context: Tensor | None) -> list[Operation]:
    slope = float(module.negative_slope)
    return [Activation("leaky-relu", slope) if slope else Activation("relu")]


def _sequence(module: Foreign, context: Tensor | None) -> list[Operation]:
    found: list[Operation] = []
    for layer in module:
        found += _scaled(layer, found) if first_known(layer, ("normflows.ConstScaleLayer",)) else read(layer)
    return found


def _scaled(layer: Foreign, so_far: list[Operation]) -> list[Operation]:
    count = leaving(tuple(so_far))
    return [Scaling(np.full(count, row(layer.scale).item()), np.zeros(count))]


def _residual(module: Foreign, context: Tensor | None) -> list[Operation]:
    return [Residual(tuple(_sequence(module, context)))]


def _linear(module: Foreign, context: Tensor | None) -> list[Operation]:
    weight = array(module.weight)
    if weight.ndim != 2:
        raise Refused("its network holds a stack of matrices")
    return [Dense(weight, np.zeros(len(weight)) if module.bias is None else array(module.bias))]


def _masked_linear(module: Foreign, context: Tensor | None) -> list[Operation]:
    bias = np.zeros(len(module.weight)) if module.bias is None else array(module.bias)
    return [Dense(array(module.weight * module.mask), bias)]


def _batch_norm(module: Foreign, context: Tensor | None) -> list[Operation]:
    if module.running_mean is None:
        raise Refused("its network's batch norm keeps no statistics, so that rows depend on each other")
    scale = 1 / np.sqrt(array(module.running_var) + module.eps)
    shift = -array(module.running_mean) * scale
    if module.weight is not None:
        gain = array(module.weight)
        scale, shift = scale * gain, shift * gain + array(module.bias)
    return [Scaling(scale, shift)]


def _mlp_of_normflows(module: Foreign, context: Tensor | None) -> list[Operation]:
    return _sequence(module.net, context)


def _mlp_of_nflows(module: Foreign, context: Tensor | None) -> list[Operation]:
    found = _linear(module._input_layer, None)
    for layer in [*module._hidden_layers, module._output_layer]:
        found += [*activation(module._activation), *_linear(layer, None)]
    return found + (activation(module._activation) if module._activate_output else [])


def _residual_net(module: Foreign, context: Tensor | None) -> list[Operation]:
    """Read a `ResidualNet` of nflows or normflows; a context enters the first matrix and the blocks' gates."""
    takes = module.context_features or 0
    _agree(takes, context)
    first = fixed(tuple(_linear(module.initial_layer, None)), context, module.initial_layer.in_features - takes)
    before = [] if getattr(module, "preprocessing", None) is None else read(module.preprocessing)
    return [*before, *first, *_blocks(module, context), *_linear(module.final_layer, None)]


def _made(module: Foreign, context: Tensor | None) -> list[Operation]:
    """Read a `MADE` of nflows or normflows (arXiv 1502.03509)."""
    _agree(module.context_layer.in_features if hasattr(module, "context_layer") else 0, context)
    ours = library_of(module) == "nflows"
    found = _masked_linear(module.initial_layer, None)
    if hasattr(module, "context_layer"):
        found = [_shifted(found[0], module.context_layer, module.activation if ours else None, context)]
    if ours and not module.use_residual_blocks:
        found += activation(module.activation)
    if not ours:
        found = [*read(module.preprocessing), *found]
    return [*found, *_blocks(module, context), *_masked_linear(module.final_layer, None)]


def _blocks(module: Foreign, context: Tensor | None) -> Network:
    return tuple(operation for block in module.blocks for operation in read(block, context))


def _feedforward_block(module: Foreign, context: Tensor | None) -> list[Operation]:
    norm = _batch_norm(module.batch_norm, None) if module.batch_norm else []
    return [*norm, *_masked_linear(module.linear, None), *activation(module.activation)]


def _residual_block(module: Foreign, context: Tensor | None) -> list[Operation]:
    """Read a block; a context shifts between the matrices of nflows' masked blocks, and gates the end of all others."""
    inner: list[Operation] = []
    for number, layer in enumerate(module.linear_layers):
        if module.use_batch_norm:
            inner += _batch_norm(module.batch_norm_layers[number], None)
        inner += [*activation(module.activation), *read(layer)]
        if hasattr(module, "context_layer") and number == 0 and _shifts(module):
            inner[-1] = _shifted(inner[-1], module.context_layer, None, context)
    if hasattr(module, "context_layer") and not _shifts(module):
        inner.append(_gate(module.context_layer, context))
    return [Residual(tuple(inner))]


def _shifts(module: Foreign) -> bool:
    return library_of(module) == "nflows" and type(module).__name__ == "MaskedResidualBlock"


def _shifted(operation: Operation, layer: Foreign, function: Foreign | None, context: Tensor | None) -> Dense:
    """Return W a + b with what a layer, and a function behind it, make of the context added."""
    assert isinstance(operation, Dense)
    if context is None:
        behind = [] if function is None else activation(function)
        return replace(operation, conditional=(*_linear(layer, None), *behind))
    shift = layer(context) if function is None else function(layer(context))
    return replace(operation, bias=operation.bias + row(shift))


def _gate(layer: Foreign, context: Tensor | None) -> Operation:
    """Return the product with the sigmoid of what a layer makes of the context."""
    if context is None:
        return Gate((*_linear(layer, None), Activation("sigmoid")))
    gate = row(torch.sigmoid(layer(context)))
    return Scaling(gate, np.zeros(len(gate)))


def fixed(network: Network, context: Tensor | None, count: int) -> Network:
    """Turn a network of `count` numbers and a context side by side into a network of these numbers alone.

    The context's part of the first matrix joins its bias; without a context it stays a part that depends on one.

    Raises:
        Refused: if the network takes another count of numbers.
    """
    takes, first = entering(network) - count, network[0]
    assert isinstance(first, Dense)
    if takes < 0:
        raise Refused(f"its network takes {entering(network)} numbers, not {count}")
    _agree(takes, context)
    if not takes:
        return network
    if context is None:
        of_context = Dense(first.weight[:, count:], np.zeros(len(first.bias)))
        return (Dense(first.weight[:, :count], first.bias, (of_context,)), *network[1:])
    return (Dense(first.weight[:, :count], first.bias + first.weight[:, count:] @ row(context)), *network[1:])


def _agree(takes: int, context: Tensor | None) -> None:
    """Raise Refused if a fixed context does not fit what a network takes."""
    if context is not None and not takes:
        raise Refused("it takes no context, and one was given")
    if context is not None and takes != context.numel():
        raise Refused(f"it takes a context of {takes} numbers, and {context.numel()} were given")


def _standardize(module: Foreign, context: Tensor | None) -> list[Operation]:
    """Read sbi's z-scoring; it may hold one number for all columns."""
    mean, std = array(module._mean), array(module._std)
    if max(mean.ndim, std.ndim) > 1:
        raise Refused(f"its network standardises numbers of the shape {mean.shape}, not a row's")
    scale, shift = np.broadcast_arrays(1 / np.atleast_1d(std), np.atleast_1d(-mean / std))
    return [Scaling(scale.copy(), shift.copy())]


def _periodic(module: Foreign, context: Tensor | None) -> list[Operation]:
    """Read w1 sin(s f) + w2 cos(s f) of some columns, which is one sine with a phase; the others pass."""
    count = module.ndim
    amplitude, frequency, phase, straight = np.zeros(count), np.ones(count), np.zeros(count), np.ones(count)
    places, weights = module.ind.numpy(), array(module.weights)
    amplitude[places] = np.hypot(weights[:, 0], weights[:, 1])
    phase[places] = np.arctan2(weights[:, 1], weights[:, 0])
    frequency[places], straight[places] = row(module.scale), 0.0
    found: list[Operation] = [Wave(amplitude, frequency, phase, straight)]
    if module.apply_bias:
        shift = np.zeros(count)
        shift[places] = array(module.bias)
        found.append(Scaling(np.ones(count), shift))
    if type(module.activation) is not nn.Identity:
        raise Refused("its network's periodic features have an activation")
    return found


def _of_context_alone(module: Foreign, context: Tensor | None) -> list[Operation]:
    """Read sbi's `ContextSplineMap`, which ignores the columns."""
    network = read(module.spline_predictor)
    nothing = np.zeros((leaving(network), 0))
    if context is None:
        return [Dense(nothing, np.zeros(len(nothing)), network)]
    return [Dense(nothing, row(module.spline_predictor(context)))]


def _fully_connected(module: Foreign, context: Tensor | None) -> list[Operation]:
    return _sequence(module.net, context)


_READERS: dict[str, Callable[[Foreign, Tensor | None], list[Operation]]] = {
    "torch.nn.Identity": _nothing,
    "torch.nn.Dropout": _nothing,
    "torch.nn.ReLU": _named("relu"),
    "torch.nn.Tanh": _named("tanh"),
    "torch.nn.Sigmoid": _named("sigmoid"),
    "torch.nn.SiLU": _named("silu"),
    "torch.nn.ELU": _elu,
    "torch.nn.LeakyReLU": _leaky_relu,
    "torch.nn.BatchNorm1d": _batch_norm,
    "torch.nn.Linear": _linear,
    "torch.nn.Sequential": _sequence,
    "zuko.Linear": _linear,
    "zuko.MLP": _sequence,
    "zuko.MaskedMLP": _sequence,
    "zuko.MaskedLinear": _masked_linear,
    "zuko.Residual": _residual,
    "nflows.MLP": _mlp_of_nflows,
    "normflows.MLP": _mlp_of_normflows,
    "sbi.Standardize": _standardize,
    "sbi.FCEmbedding": _fully_connected,
    "sbi.ContextSplineMap": _of_context_alone,
    "normflows.PeriodicFeaturesElementwise": _periodic,
}
for _library in ("nflows", "normflows"):
    _READERS |= {
        f"{_library}.MaskedLinear": _masked_linear,
        f"{_library}.MaskedFeedforwardBlock": _feedforward_block,
        f"{_library}.MaskedResidualBlock": _residual_block,
        f"{_library}.ResidualBlock": _residual_block,
        f"{_library}.ResidualNet": _residual_net,
        f"{_library}.MADE": _made,
    }
