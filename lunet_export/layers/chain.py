"""Layers in a row, from data to latent, after an optional logit: what a flow is as plain float64 arrays.

h_0 = logit(x) or x,    h_m = layer_m(h_{m-1}),    z = h_M
log|det dz/dx| = sum_m log|det dlayer_m| + log|det dh_0/dx|   [nats]
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import BadInputError, CheckpointError
from lunet_export.layers.domain import Domain
from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.layer import Interval, Layer, Step
from lunet_export.layers.lu import LU
from lunet_export.preprocessing import Logit

Array = NDArray[np.float64]
L = TypeVar("L", bound=Layer)

_MANY = 4e7  # products of a row and pass from which tolerances take seconds a row


class Kind(ABC):
    """How a chain is written down: what its files and manifests say, and what its parts are called. A frozen dataclass.

    A kind computes nothing. What a chain can do is asked of its layers.
    """

    #: Of files and manifests.
    name: ClassVar[str]
    #: In sentences.
    title: ClassVar[str]
    #: Manifests name a solver, whether the layers have anything to solve or not.
    names_solver: ClassVar[bool] = False
    #: Any layer may follow any other, so that one can be added.
    open: ClassVar[bool] = False

    @abstractmethod
    def label(self, chain: "Chain", number: int) -> str:
        """What layer `number`, from 0, is called in a graph."""

    def place(self, chain: "Chain", number: int) -> str:
        """Where layer `number`, from 0, stands, for a sentence."""
        return f"layer {number + 1} of {len(chain.layers)} ({chain.layers[number].label})"

    @abstractmethod
    def refuse(self, chain: "Chain") -> None:
        """Raise unless the layers are those of such a chain, each being one that is invertible.

        Raises:
            CheckpointError: They are not.
        """

    @abstractmethod
    def facts(self, chain: "Chain") -> dict[str, Any]:
        """Plain values that tell what kind of network it is, but for `free_parameters`."""

    @abstractmethod
    def identity(self, chain: "Chain") -> Iterator[str | NDArray[Any]]:
        """Words and arrays that make the chain's digest, in a fixed order."""

    @abstractmethod
    def entry(self, chain: "Chain") -> dict[str, Any]:
        """What the manifest's `model` says of it, beside what all manifests say."""

    @classmethod
    @abstractmethod
    def refuse_entry(cls, model: Mapping[str, Any], sampling: Mapping[str, Any]) -> None:
        """Raise KeyError, TypeError or ValueError, whose text names the place, where a manifest's entry is wrong.

        Args:
            model: The entry `model`.
            sampling: That of the sampling graph.
        """

    @classmethod
    @abstractmethod
    def repeated(cls, model: Mapping[str, Any]) -> dict[str, str]:
        """What the metadata of every graph must repeat of the entry."""

    def metadata(self, chain: "Chain") -> dict[str, str]:
        """What each graph says of it."""
        return self.repeated(self.entry(chain))

    @abstractmethod
    def pack(self, chain: "Chain") -> tuple[dict[str, Any], dict[str, Any]]:
        """Settings and arrays of a model file, by key."""

    @classmethod
    @abstractmethod
    def unpack(cls, content: Mapping[str, Any], preprocessing: Logit | None) -> "Chain":
        """The chain in a model file.

        Raises:
            CheckpointError: The arrays are none.
            LookupError, TypeError, AttributeError, RuntimeError, ValueError: A key is missing or of the wrong type.
        """


class Passage(NamedTuple):
    """One layer on the way of some rows."""

    layer: Layer
    x: Array
    step: Step


@dataclass(frozen=True)
class Chain:
    """The layers of a flow.

    Raises:
        CheckpointError: A layer does not fit; one may be fed numbers outside its domain; or the last does not reach all
            of R^D, so that what it gives cannot be normal.
    """

    dim: int
    layers: tuple[Layer, ...]
    preprocessing: Logit | None  # None: x is the network's own input
    kind: Kind

    def __post_init__(self) -> None:
        self.kind.refuse(self)
        for number, layer in enumerate(self.layers):
            layer.refuse(self.dim, self.kind.place(self, number))
        domain = self.domain  # raises where there is none
        if domain and self.preprocessing:
            raise CheckpointError("Expected layers that take any number behind a logit; the first take some only.")

    def passages(self, h: Array, errors: Errors = EXACT) -> Iterator[Passage]:
        """Every layer with what enters and leaves it, of rows h (N, D) behind the pre-processing."""
        for layer in self.layers:
            found = layer.forward(h, errors)
            yield Passage(layer, h, found)
            h = found.rows

    def encode(self, h: Array, errors: Errors = EXACT) -> Step:
        """Rows behind the pre-processing -> z, log|det dz/dh| and the sum of its terms' absolute values."""
        log_det, size = np.zeros(len(h)), np.zeros(len(h))
        for passage in self.passages(h, errors):
            h = passage.step.rows
            log_det, size = log_det + passage.step.log_det, size + passage.step.size
        return Step(h, log_det, size)

    def decode(self, z: Array, errors: Errors = EXACT) -> Array:
        """z -> rows behind the pre-processing."""
        for layer in reversed(self.layers):
            z = layer.inverse(z, errors)
        return z

    def of(self, kind: type[L]) -> tuple[L, ...]:
        """Its layers of one class, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, kind))

    def with_layers(self, layers: Sequence[Layer]) -> Self:
        """The same chain with others in the place of its layers of their class, in order."""
        others = iter(layers)
        kinds = tuple({type(layer) for layer in layers})
        return replace(self, layers=tuple(next(others) if isinstance(layer, kinds) else layer for layer in self.layers))

    def without_preprocessing(self) -> Self:
        """The same network on its own input, the logit left out."""
        return replace(self, preprocessing=None) if self.preprocessing else self

    def fold_latent(self, mean: Array, covariance: Array) -> Self:
        """The network whose latent law N(mean, covariance) has become N(0, I), exactly.

        Its last layer takes that in; where it cannot and the kind is open, an LU layer behind it does.

        Raises:
            BadInputError: Neither can.
            CheckpointError: The shapes do not fit, a number is not finite, or the covariance is not positive definite.
        """
        *others, last = self.layers
        folded = last.folded(mean, covariance)
        if folded is None and self.kind.open:
            identity = LU(np.eye(self.dim), np.eye(self.dim), np.zeros(self.dim))
            others, folded = [*others, last], identity.folded(mean, covariance)
        if folded is None:
            raise BadInputError(
                f"Expected a model whose last layer is an LU layer, to fold latent statistics in; got "
                f"{self.kind.title} that ends with {last.label}. Give an LU-Net or an imported flow."
            )
        return replace(self, layers=(*others, folded))

    @property
    def dear(self) -> bool:
        """A row of tolerances takes a large part of a second."""
        return sum(layer.work for layer in self.layers) > _MANY

    @property
    def stored(self) -> int:
        """Numbers that the arrays hold."""
        return sum(layer.stored for layer in self.layers)

    @property
    def solves(self) -> bool:
        """Some layer solves triangular systems, so there is a solver to choose."""
        return any(layer.solves for layer in self.layers)

    def facts(self) -> dict[str, Any]:
        """Plain values that tell what kind of network it is, `free_parameters` among them."""
        return {**self.kind.facts(self), "free_parameters": sum(layer.free for layer in self.layers)}

    def digest(self) -> str:
        """SHA-256 over every number and setting, the identity of the model in manifests."""
        state = hashlib.sha256()
        for part in self.kind.identity(self):
            if isinstance(part, str):
                state.update(part.encode())
            elif part.dtype == np.bool_:
                state.update(np.packbits(part).tobytes())
            else:
                kind = "<i8" if part.dtype == np.int64 else "<f8"
                state.update(np.ascontiguousarray(part, dtype=kind).tobytes())
        return state.hexdigest()

    @cached_property
    def domain(self) -> Domain | None:
        """The rows that the density is defined on, without pre-processing; None where these are all of R^D.

        Raises:
            CheckpointError: They are no box, or the last layer does not reach all of R^D.
        """
        everywhere = np.full(self.dim, -np.inf), np.full(self.dim, np.inf)
        domain, within, closed = everywhere, everywhere, True
        low, high = everywhere
        columns: list[Layer] | None = []  # the layers so far, while each acts on columns alone
        for number, layer in enumerate(self.layers):
            least, most = layer.takes
            if (low < least).any() or (high > most).any():
                if columns is None:
                    place = self.kind.place(self, number)
                    raise CheckpointError(
                        f"Expected numbers within ({least:g}, {most:g}) to reach {place}; it may get any."
                    )
                low, high = np.maximum(low, least), np.minimum(high, most)
                closed = closed and layer.margin > 0
                domain = _narrowed(domain, _back(columns, low, high))
                inside = np.maximum(low, least + layer.margin), np.minimum(high, most - layer.margin)
                within = _narrowed(within, _back(columns, *inside))
            if layer.columnwise:
                low, high = layer.box(low, high, forth=True)
                columns = None if columns is None else [*columns, layer]
            else:
                if np.isfinite(low).any() or np.isfinite(high).any():
                    raise self._short_of_latents(number - 1)  # a map of all rows reaches fewer from a part of them
                columns = None
        if np.isfinite(low).any() or np.isfinite(high).any():
            raise self._short_of_latents(len(self.layers) - 1)
        found = Domain(*domain, closed, *within)
        return found if found.bounded else None

    def _short_of_latents(self, number: int) -> CheckpointError:
        return CheckpointError(
            f"Expected layers that reach every latent number; {self.kind.place(self, number)} leaves some out, so no "
            "normal base fits them."
        )


def _narrowed(box: Interval, other: Interval) -> Interval:
    return np.maximum(box[0], other[0]), np.minimum(box[1], other[1])


def _back(layers: list[Layer], low: Array, high: Array) -> Interval:
    """What a box was in front of layers that act on columns alone."""
    for layer in reversed(layers):
        low, high = layer.box(low, high, forth=False)
    return low, high
