"""The small networks inside a layer: affine maps, activations and residual blocks, as plain float64 arrays.

Rounding errors in units: |W| |a| + |b| of W a + b, the componentwise bound of a dot product; 4 max(1, |v|) of an
activation's value v; |scale a| + |shift| of a scaling.

A network may depend on a context c (N, C) beside its own input. `given` settles what depends on c alone, once: what
stays is a network with numbers of its own for every row.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError, brief
from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.graph import Graph, Indices, Value, exponential, gathered
from lunet_export.layers.layer import plain
from lunet_export.layers.softplus import softplus

Array = NDArray[np.float64]
Truths = NDArray[np.bool_]


class Writer:
    """A writer writes a network's nodes; what does not depend on its input is written once, however often it runs.

    Args:
        g: Graph that nodes are added to.
        context: The context [batch, width], for networks that depend on one.
    """

    def __init__(self, g: Graph, context: Value | None = None) -> None:
        self.g, self._context = g, context
        self._written: dict[int, tuple[Value, ...]] = {}

    def once(self, operation: "Operation", make: Callable[[], tuple[Value, Value]]) -> tuple[Value, Value]:
        """Return the two constants of an operation."""
        first, second = self._kept(operation, make)
        return first, second

    def of_context(self, network: "Network") -> Value:
        """Write what a network makes of the context."""
        assert self._context is not None
        (found,) = self._kept(network, lambda: (nodes(network, self, self._context or ""),))
        return found

    def _kept(self, key: object, make: "Callable[[], tuple[Value, ...]]") -> "tuple[Value, ...]":
        if id(key) not in self._written:
            self._written[id(key)] = make()
        return self._written[id(key)]

    def vector(self, values: Array) -> Value:
        """Write a constant vector."""
        return self.g.constant(values, "vector")


class Operation(ABC):
    """An operation is one step of a network: a (N, in) -> (N, out). Every operation is a frozen dataclass."""

    @abstractmethod
    def apply(self, a: Array, errors: Errors = EXACT) -> Array:
        """Return the operation's values."""

    @abstractmethod
    def nodes(self, writer: Writer, a: Value) -> Value:
        """Write the operation's nodes into a graph."""

    def some_nodes(self, writer: Writer, a: Value, rows: Indices) -> Value:
        """Write the nodes of some of the outputs alone."""
        return gathered(writer.g, self.nodes(writer, a), rows, "rows")

    def given(self, context: Array, errors: Errors = EXACT) -> "Operation":
        """Return the operation for a context (N, C), for rows (N, in) that belong to it."""
        del context, errors
        return self

    def of_context(self) -> "Iterator[Network]":
        """Yield the networks of the context."""
        return iter(())

    def arrays(self) -> list[Array]:
        """Return all arrays, in the order in which they are applied."""
        return [value for value in self._fields().values() if isinstance(value, np.ndarray)]

    @property
    def word(self) -> str:
        """Return what the arrays do not tell."""
        return type(self).__name__

    def dependencies(self, reached: Truths) -> Truths:
        """Return which outputs depend on which inputs of the network, (out, in).

        `reached` (width, in) says the same of what enters.
        """
        return reached

    @abstractmethod
    def width(self, entering: int, where: str) -> int:
        """Return how many numbers leave when `entering` numbers enter.

        Raises:
            CheckpointError: if that many numbers cannot enter, or a setting is unknown.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return plain values and arrays by name, for a model file; empty networks are left out."""
        kept = {name: plain(value) for name, value in self._fields().items() if not isinstance(value, tuple) or value}
        return {"kind": type(self).__name__, **kept}

    def _fields(self) -> dict[str, Any]:
        """Return the fields of the dataclass by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]


Network = tuple[Operation, ...]


@dataclass(frozen=True)
class Dense(Operation):
    """This operation computes W a + b, or W a + b + n(c) with a network n of the context.

    Shapes: weight (out, in); bias (out,), and (N, out) once the context is given.
    """

    weight: Array
    bias: Array
    conditional: Network = ()

    def apply(self, a: Array, errors: Errors = EXACT) -> Array:
        y = a @ self.weight.T + self.bias
        return errors.product(y, lambda: np.abs(a) @ np.abs(self.weight).T + np.abs(self.bias), constant=self.bias)

    def given(self, context: Array, errors: Errors = EXACT) -> "Dense":
        if not self.conditional:
            return self
        return Dense(self.weight, self.bias + apply(self.conditional, context, errors))

    def of_context(self) -> Iterator[Network]:
        if self.conditional:
            yield self.conditional

    def nodes(self, writer: Writer, a: Value) -> Value:
        weight, bias = writer.once(self, lambda: (writer.g.matrix(self.weight), self.addend(writer)))
        return writer.g.gemm(a, weight, bias)

    def addend(self, writer: Writer) -> Value:
        """Write b, or b + n(c)."""
        if not self.conditional:
            return writer.vector(self.bias)
        moved = writer.of_context(self.conditional)
        return writer.g.node("Add", moved, writer.vector(self.bias)) if self.bias.any() else moved

    def some_nodes(self, writer: Writer, a: Value, rows: Indices) -> Value:
        if not self.conditional:
            return writer.g.gemm(a, self.weight[rows], self.bias[rows])
        _, bias = writer.once(self, lambda: ("", self.addend(writer)))
        return writer.g.gemm(a, self.weight[rows], gathered(writer.g, bias, rows, "rows"))

    def arrays(self) -> list[Array]:
        return [self.weight, self.bias, *arrays(self.conditional)]

    @property
    def word(self) -> str:
        return f"Dense given {shape(self.conditional)}" if self.conditional else super().word

    def dependencies(self, reached: Truths) -> Truths:
        return ((self.weight != 0).astype(np.float64) @ reached.astype(np.float64)) > 0

    def width(self, entering: int, where: str) -> int:
        out = self.bias.shape[0] if self.bias.ndim == 1 else -1
        if self.weight.shape != (out, entering) or out < 1:
            raise CheckpointError(
                f"Expected a matrix of {entering} columns with its bias in the network of {where}; got shapes "
                f"{self.weight.shape} and {self.bias.shape}."
            )
        return out


@dataclass(frozen=True)
class Scaling(Operation):
    """This operation computes scale a + shift, as a batch norm in evaluation mode does. Shapes: (width,)."""

    scale: Array
    shift: Array

    def apply(self, a: Array, errors: Errors = EXACT) -> Array:
        grown = a * self.scale
        return errors.value(grown + self.shift, lambda: np.abs(grown) + np.abs(self.shift))

    def nodes(self, writer: Writer, a: Value) -> Value:
        scale, shift = writer.once(self, lambda: (writer.vector(self.scale), writer.vector(self.shift)))
        return writer.g.node("Add", writer.g.node("Mul", a, scale), shift)

    def width(self, entering: int, where: str) -> int:
        if self.scale.shape != (entering,) or self.shift.shape != (entering,):
            raise CheckpointError(f"Expected a scaling of {entering} numbers in the network of {where}.")
        return entering


@dataclass(frozen=True)
class Gate(Operation):
    """This operation computes n(c) a, elementwise, with a network n of the context."""

    conditional: Network

    def apply(self, a: Array, errors: Errors = EXACT) -> Array:
        raise ValueError("a gate has no value before its context is given")

    def given(self, context: Array, errors: Errors = EXACT) -> "Operation":
        factor = apply(self.conditional, context, errors)
        return Scaling(factor, np.zeros(factor.shape[1]))

    def of_context(self) -> Iterator[Network]:
        yield self.conditional

    def nodes(self, writer: Writer, a: Value) -> Value:
        return writer.g.node("Mul", a, writer.of_context(self.conditional))

    def arrays(self) -> list[Array]:
        return arrays(self.conditional)

    @property
    def word(self) -> str:
        return f"Gate({shape(self.conditional)})"

    def width(self, entering: int, where: str) -> int:
        del where
        return entering


@dataclass(frozen=True)
class Wave(Operation):
    """This operation computes amplitude sin(frequency a + phase) + straight a, elementwise. Shapes: (width,) each.

    It makes periodic features of columns on a circle; with amplitude 0 and straight 1 a column passes.
    Rounding errors in units: amplitude (4 + |frequency a| + |phase|), and |straight a|.
    """

    amplitude: Array
    frequency: Array
    phase: Array
    straight: Array

    def apply(self, a: Array, errors: Errors = EXACT) -> Array:
        angle = a * self.frequency
        found = self.amplitude * np.sin(angle + self.phase) + self.straight * a
        swing = np.abs(self.amplitude)
        return errors.value(found, lambda: swing * (4 + np.abs(angle) + np.abs(self.phase)) + np.abs(self.straight * a))

    def nodes(self, writer: Writer, a: Value) -> Value:
        g, vector = writer.g, writer.vector
        angle = g.node("Add", g.node("Mul", a, vector(self.frequency)), vector(self.phase))
        found = g.node("Mul", g.node("Sin", angle), vector(self.amplitude))
        return g.node("Add", found, g.node("Mul", a, vector(self.straight))) if self.straight.any() else found

    def width(self, entering: int, where: str) -> int:
        if any(array.shape != (entering,) for array in vars(self).values()):  # `arrays` leaves out what is none
            raise CheckpointError(f"Expected waves of {entering} numbers in the network of {where}.")
        return entering


@dataclass(frozen=True)
class Function:
    """An activation of a network has values, and nodes."""

    value: Callable[[Array, float], Array]
    nodes: Callable[[Graph, Value, float], Value]


def _elu_nodes(g: Graph, a: Value, slope: float) -> Value:
    """Write ELU from other operators: ONNX's own Elu has no float64 kernel on the CPU."""
    del slope
    below = g.node("Sub", g.node("Exp", g.node("Min", a, 0.0)), 1.0)
    return g.node("Add", g.node("Max", a, 0.0), below)


def _sigmoid_nodes(g: Graph, a: Value, slope: float) -> Value:
    """Write the sigmoid from other operators: ONNX's own Sigmoid is inaccurate far from 0."""
    del slope
    e = exponential(g, a)
    return g.node("Div", e.w, e.t)


def _leaky_nodes(g: Graph, a: Value, slope: float) -> Value:
    return g.node("Max" if slope <= 1 else "Min", a, g.node("Mul", a, slope))


#: Functions by name; only `leaky-relu` has a parameter, its slope to the left of 0.
FUNCTIONS: dict[str, Function] = {
    "relu": Function(lambda a, _: np.maximum(a, 0.0), lambda g, a, _: g.node("Relu", a)),
    "leaky-relu": Function(lambda a, slope: np.where(a >= 0, a, slope * a), _leaky_nodes),
    "tanh": Function(lambda a, _: np.tanh(a), lambda g, a, _: g.node("Tanh", a)),
    "elu": Function(lambda a, _: np.where(a > 0, a, np.expm1(np.minimum(a, 0.0))), _elu_nodes),
    "silu": Function(
        lambda a, _: a * np.exp(-softplus(-a)), lambda g, a, slope: g.node("Mul", a, _sigmoid_nodes(g, a, slope))
    ),
    "sigmoid": Function(lambda a, _: np.exp(-softplus(-a)), _sigmoid_nodes),
}
ACTIVATIONS = tuple(FUNCTIONS)


@dataclass(frozen=True)
class Activation(Operation):
    """This operation is an elementwise function, given by a name of FUNCTIONS."""

    name: str
    slope: float = 0.0  # slope of leaky-relu

    def apply(self, a: Array, errors: Errors = EXACT) -> Array:
        return errors.value(FUNCTIONS[self.name].value(a, self.slope))

    def nodes(self, writer: Writer, a: Value) -> Value:
        return FUNCTIONS[self.name].nodes(writer.g, a, self.slope)

    @property
    def word(self) -> str:
        return f"{self.name} {self.slope!r}"

    def width(self, entering: int, where: str) -> int:
        if self.name not in FUNCTIONS or not np.isfinite(self.slope):
            raise CheckpointError(f"Expected an activation of {', '.join(FUNCTIONS)} in {where}; got {self.name}.")
        return entering


@dataclass(frozen=True)
class Residual(Operation):
    """This operation computes a + inner(a)."""

    inner: Network

    def apply(self, a: Array, errors: Errors = EXACT) -> Array:
        return a + apply(self.inner, a, errors)

    def given(self, context: Array, errors: Errors = EXACT) -> "Operation":
        return Residual(given(self.inner, context, errors))

    def of_context(self) -> Iterator[Network]:
        for operation in self.inner:
            yield from operation.of_context()

    def nodes(self, writer: Writer, a: Value) -> Value:
        return writer.g.node("Add", a, nodes(self.inner, writer, a))

    def some_nodes(self, writer: Writer, a: Value, rows: Indices) -> Value:
        kept = gathered(writer.g, a, rows, "rows")
        return writer.g.node("Add", kept, some_nodes(self.inner, writer, a, rows))

    def arrays(self) -> list[Array]:
        return arrays(self.inner)

    @property
    def word(self) -> str:
        return f"Residual({shape(self.inner)})"

    def dependencies(self, reached: Truths) -> Truths:
        return reached | dependencies(self.inner, reached)

    def width(self, entering: int, where: str) -> int:
        if width(self.inner, entering, where) != entering:
            raise CheckpointError(f"Expected a residual block that keeps its width in {where}; got another.")
        return entering


def apply(network: Network, a: Array, errors: Errors = EXACT) -> Array:
    """Return the network's values, (N, in) -> (N, out)."""
    for operation in network:
        a = operation.apply(a, errors)
    return a


def given(network: Network, context: Array, errors: Errors = EXACT) -> Network:
    """Return the network for a context (N, C), for rows that belong to it."""
    return tuple(operation.given(context, errors) for operation in network)


def takes_context(network: Network) -> int:
    """Return how many numbers of a context the network depends on; 0 if on none.

    Raises:
        CheckpointError: if its parts take different counts, or one does not begin with a matrix.
    """
    parts = [part for operation in network for part in operation.of_context()]
    counts = {part[0].weight.shape[1] if part and isinstance(part[0], Dense) else 0 for part in parts}
    if len(counts) > 1 or (parts and counts == {0}):
        raise CheckpointError(f"Expected parts that take one context; got contexts of {sorted(counts)} numbers.")
    return counts.pop() if counts else 0


def nodes(network: Network, writer: Writer, a: Value) -> Value:
    """Write the network's nodes into a graph."""
    for operation in network:
        a = operation.nodes(writer, a)
    return a


def some_nodes(network: Network, writer: Writer, a: Value, rows: Indices) -> Value:
    """Write the nodes of some of the network's outputs alone."""
    if not network:
        return gathered(writer.g, a, rows, "rows")
    return network[-1].some_nodes(writer, nodes(network[:-1], writer, a), rows)


def arrays(network: Network) -> list[Array]:
    """Return all arrays, in the order in which they are applied."""
    return [array for operation in network for array in operation.arrays()]


def shape(network: Network) -> str:
    """Return what the arrays do not tell: the operations by name."""
    return ", ".join(operation.word for operation in network)


def dependencies(network: Network, reached: Truths) -> Truths:
    """Return which outputs depend on which inputs, (out, in), by the weights that are not 0.

    `reached` (width, in) says the same of what enters.
    """
    for operation in network:
        reached = operation.dependencies(reached)
    return reached


def width(network: Network, entering: int, where: str) -> int:
    """Return how many numbers leave when `entering` numbers enter; errors are those of `validate`."""
    context = takes_context(network)
    for operation in network:
        entering = operation.width(entering, where)
        for part in () if isinstance(operation, Residual) else operation.of_context():
            validate(part, context, entering, where)
    if not all(np.isfinite(array).all() for array in arrays(network)):
        raise CheckpointError(f"Expected finite numbers in the network of {where}; got NaN or infinity.")
    return entering


def validate(network: Network, entering: int, leaving: int, where: str) -> None:
    """Raise unless the operations fit each other, and `entering` and `leaving` numbers.

    Raises:
        CheckpointError: if they do not fit, a number is not finite, or an activation is unknown.
    """
    found = width(network, entering, where)
    if found != leaving:
        raise CheckpointError(f"Expected a network that gives {leaving} numbers in {where}; got {found}.")


_NETWORKS = ("inner", "conditional")  # fields that hold networks
_OPERATIONS: dict[str, type[Operation]] = {
    kind.__name__: kind for kind in (Dense, Activation, Scaling, Residual, Gate, Wave)
}


def from_list(entries: Iterable[Mapping[str, Any]]) -> Network:
    """Return the network that a model file holds as a list.

    Raises:
        CheckpointError: if an operation is unknown.
        LookupError, TypeError, ValueError: if the list describes no network.
    """
    return tuple(_operation(entry) for entry in entries)


def _operation(entry: Mapping[str, Any]) -> Operation:
    name = entry["kind"]
    if name not in _OPERATIONS:
        raise CheckpointError(
            f"Expected operations of {', '.join(_OPERATIONS)}; got {brief(repr(name))}. Install the lunet-export that "
            "wrote it."
        )
    kind = _OPERATIONS[name]
    found = {
        field.name: entry[field.name]
        for field in fields(kind)  # type: ignore[arg-type]
        if field.default is MISSING or field.name in entry
    }
    return kind(**{name: from_list(value) if name in _NETWORKS else value for name, value in found.items()})
