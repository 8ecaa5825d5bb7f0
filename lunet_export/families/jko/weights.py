"""A trained JKO-iFlow as plain float64 arrays, checked once."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import BadInputError, CheckpointError
from lunet_export.preprocessing import Logit
from lunet_export.weights import Weights

Array = NDArray[np.float64]

MOST_STEPS = 1000


@dataclass(frozen=True)
class VelocityField:
    """v(x, t) = W_m a_{m-1} + b_m,  a_l = s(W_l a_{l-1} + b_l),  a_0 = x,  and b_1 grows with time by `time` t.

    s(x) = log(1 + e^(beta x)) / beta, elementwise. At least one hidden layer.

    Shapes: layers of pairs, matrices (out, in) and biases (out,), D -> ... -> D; time (H_1,).
    """

    layers: tuple[tuple[Array, Array], ...]
    time: Array

    @property
    def hidden(self) -> tuple[int, ...]:
        """Numbers of the hidden layers."""
        return tuple(len(bias) for _, bias in self.layers[:-1])

    @cached_property
    def product(self) -> Array:
        """What the divergence of one or two hidden layers needs.

        One: c_i = (W_1 W_2)_ii with div v = d . c; two: C = (W_1 W_3) o W_2^T with div v = d_1^T C d_2. d_l are the
        slopes s'. Shapes (H_1,), (H_1, H_2).
        """
        matrices = [matrix for matrix, _ in self.layers]
        if len(matrices) == 2:
            return (matrices[0] * matrices[1].T).sum(axis=1)
        first, middle, last = matrices
        return (first @ last) * middle.T

    def arrays(self) -> list[Array]:
        """Matrices and biases in the order in which they are applied, then `time`."""
        return [*(array for layer in self.layers for array in layer), self.time]

    def halves(self) -> tuple["VelocityField", "VelocityField"]:
        """v(x, t / 2) / 2 and v(x, (1 + t) / 2) / 2, whose flows over [0, 1] in a row are this field's."""
        matrix, bias = self.layers[-1]
        (first, start), *inner = self.layers[:-1]
        slow = (matrix / 2, bias / 2)
        found = [
            VelocityField(((first, start + offset * self.time), *inner, slow), self.time / 2) for offset in (0.0, 0.5)
        ]
        return found[0], found[1]


@dataclass(frozen=True)
class JKOWeights:
    """h_0 = R (x - m) behind an optional logit, then the flow of each velocity field over [0, 1].

    Shapes: centre m (D,), root R (D, D) upper triangular with a positive diagonal.

    Raises:
        CheckpointError: A shape does not fit, a number is not finite, or R is not invertible.
    """

    family: ClassVar[str] = "jko"
    domain: ClassVar[None] = None

    centre: Array
    root: Array
    fields: tuple[VelocityField, ...]
    steps: int  # of the Runge-Kutta method, a field
    beta: float  # sharpness of s
    preprocessing: Logit | None = None  # None: x is the network's own input

    def __post_init__(self) -> None:
        dim = self.centre.size
        if self.centre.ndim != 1 or dim == 0 or self.root.shape != (dim, dim):
            raise CheckpointError(
                f"Expected a centre (D,) and a root (D, D); got {self.centre.shape} and {self.root.shape}. Train again."
            )
        if not self.fields:
            raise CheckpointError("Expected at least one velocity field; got none. The file holds no network.")
        if type(self.steps) is not int or not 1 <= self.steps <= MOST_STEPS:
            raise CheckpointError(f"Expected 1 to {MOST_STEPS} steps a block; got {self.steps!r}. Train it again.")
        if not (isinstance(self.beta, float) and 0 < self.beta < np.inf):
            raise CheckpointError(f"Expected a positive beta; got {self.beta!r}. Train it again.")
        _refuse_infinite([self.centre, self.root], "the affine map in front")
        if np.tril(self.root, -1).any() or not (np.diag(self.root) > 0).all():
            raise CheckpointError(
                "Expected an upper triangular root with a positive diagonal; got another. Train it again."
            )
        for number, field in enumerate(self.fields, 1):
            _check_field(field, dim, f"block {number} of {len(self.fields)}")

    @property
    def dim(self) -> int:
        """Number of dimensions D."""
        return self.centre.size

    @property
    def hidden(self) -> tuple[int, ...]:
        """Numbers of the hidden layers of the first field."""
        return self.fields[0].hidden

    @property
    def stored(self) -> int:
        """Numbers that the fields hold."""
        return sum(array.size for field in self.fields for array in field.arrays())

    def facts(self) -> dict[str, Any]:
        """As `lunet_export.weights.Weights.facts`. Free: the fields; the affine map in front is the data's own."""
        return {
            "blocks": len(self.fields),
            "hidden": list(self.hidden),
            "steps": self.steps,
            "free_parameters": self.stored,
        }

    def without_preprocessing(self) -> Self:
        """The same network on its own input, the logit left out."""
        return replace(self, preprocessing=None)

    def with_steps(self, steps: int) -> Self:
        """The same fields, integrated by another number of steps."""
        return replace(self, steps=steps)

    def digest(self) -> str:
        """SHA-256 over every number and setting, the identity of the model in manifests."""
        settings = f"jko preprocessing={self.preprocessing!r} steps={self.steps} beta={self.beta!r}"
        state = hashlib.sha256(settings.encode())
        for array in (self.centre, self.root, *(array for field in self.fields for array in field.arrays())):
            state.update(f"{array.shape}".encode() + np.ascontiguousarray(array, dtype="<f8").tobytes())
        return state.hexdigest()


def only_jko(weights: Weights, what: str) -> JKOWeights:
    """The weights, if they are a JKO-iFlow's.

    Raises:
        BadInputError: They are not; `what` is what cannot be done with them.
    """
    if not isinstance(weights, JKOWeights):
        raise BadInputError(f"Expected a JKO-iFlow for {what}; got a {weights.family} model. Give a JKO-iFlow.")
    return weights


def _check_field(field: VelocityField, dim: int, where: str) -> None:
    widths = [dim, *field.hidden, dim]
    wanted = [shape for out, into in zip(widths[1:], widths[:-1], strict=True) for shape in ((out, into), (out,))]
    got = [array.shape for array in field.arrays()]
    if len(field.layers) < 2 or 0 in widths or got != [*wanted, (widths[1],)]:
        raise CheckpointError(
            f"Expected layers {' -> '.join(map(str, widths))} with a time for the first in {where}; got shapes {got}."
        )
    _refuse_infinite(field.arrays(), where)


def _refuse_infinite(arrays: list[Array], where: str) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise CheckpointError(
            f"Expected finite numbers in {where}; got NaN or infinity. The training diverged or the file is damaged; "
            "use an earlier checkpoint."
        )
