"""Layers in a row, from data to latent, after an optional logit: a flow as plain float64 arrays.

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
from lunet_export.layers.context import Context
from lunet_export.layers.domain import Domain
from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.layer import Interval, Layer, Step
from lunet_export.layers.lu import LU
from lunet_export.layers.normal_cdf import normal_cdf
from lunet_export.preprocessing import Logit

Array = NDArray[np.float64]
L = TypeVar("L", bound=Layer)

_MOST_LEFT_OUT = 1e-4  # of N(0, 1), in each latent column
_MANY = 4e7  # products per row and pass from which tolerances take seconds per row


class Kind(ABC):
    """A kind says how a chain is stored, and how its parts are named. Every kind is a frozen dataclass.

    A kind computes nothing: its files and manifests are described here, and all mathematics is in the layers.
    """

    #: Name in files and manifests.
    name: ClassVar[str]
    #: Name in sentences, with its article.
    title: ClassVar[str]
    #: Whether manifests name a solver, even where no layer solves anything.
    names_solver: ClassVar[bool] = False
    #: Whether every network of the kind can take latent statistics into its last layer, or into one more.
    folds: ClassVar[bool] = False

    @abstractmethod
    def label(self, chain: "Chain", number: int) -> str:
        """Return the name of layer `number`, counted from 0, in a graph."""

    def extends(self, chain: "Chain") -> bool:
        """Return whether an LU layer may be added behind the last layer."""
        del chain
        return False

    def place(self, chain: "Chain", number: int) -> str:
        """Return where layer `number`, counted from 0, stands, for use in a sentence."""
        return f"layer {number + 1} of {len(chain.layers)} ({chain.layers[number].label})"

    @abstractmethod
    def validate(self, chain: "Chain") -> None:
        """Raise unless these layers make a chain of this kind; each layer is checked by itself elsewhere.

        Raises:
            CheckpointError: if a layer is missing or does not belong to this kind.
        """

    @abstractmethod
    def facts(self, chain: "Chain") -> dict[str, Any]:
        """Return plain values that describe the network, all but `free_parameters`."""

    @abstractmethod
    def identity(self, chain: "Chain") -> Iterator[str | NDArray[Any]]:
        """Yield the words and arrays that make the chain's digest, in a fixed order."""

    @abstractmethod
    def entry(self, chain: "Chain") -> dict[str, Any]:
        """Return what the manifest's `model` says of the chain, beside what all manifests say."""

    @classmethod
    @abstractmethod
    def validate_entry(cls, model: Mapping[str, Any], sampling: Mapping[str, Any]) -> None:
        """Raise KeyError, TypeError or ValueError, whose text names the place, where a manifest's entry is wrong.

        Args:
            model: Entry `model` of the manifest.
            sampling: Entry of the sampling graph.
        """

    @classmethod
    @abstractmethod
    def repeated(cls, model: Mapping[str, Any]) -> dict[str, str]:
        """Return what the metadata of every graph must repeat of the entry."""

    def metadata(self, chain: "Chain") -> dict[str, str]:
        """Return what the metadata of each graph says of the chain."""
        return self.repeated(self.entry(chain))

    @abstractmethod
    def pack(self, chain: "Chain") -> tuple[dict[str, Any], dict[str, Any]]:
        """Return settings and arrays of a model file, by key."""

    @classmethod
    @abstractmethod
    def unpack(cls, content: Mapping[str, Any], preprocessing: Logit | None) -> "Chain":
        """Return the chain in a model file.

        Raises:
            CheckpointError: if the arrays do not make a chain of this kind.
            LookupError, TypeError, AttributeError, RuntimeError, ValueError: if a key is missing or of the wrong type.
        """


class Passage(NamedTuple):
    """A passage is one layer with the rows that enter it and the step that they take."""

    layer: Layer
    x: Array
    step: Step


@dataclass(frozen=True)
class Chain:
    """A chain holds the layers of a flow.

    Raises:
        CheckpointError: if a layer does not fit; if one may be fed numbers outside its domain; or if the last leaves
            more of R^D out than `latents` allows, so that what it gives cannot be normal.
    """

    dim: int
    layers: tuple[Layer, ...]
    preprocessing: Logit | None  # None: x is the network's own input
    kind: Kind
    context: Context | None = None  # of a conditional flow

    def __post_init__(self) -> None:
        self.kind.validate(self)
        self._validate_context()
        for number, layer in enumerate(self.layers):
            layer.validate(self.dim, self.kind.place(self, number))
        if self.domain and self.preprocessing:  # the domain raises where there is none
            raise CheckpointError("Expected layers that take any number behind a logit; the first take some only.")

    def _validate_context(self) -> None:
        widths = [layer.takes_context for layer in self.layers if layer.takes_context]
        if self.context is not None:
            self.context.validate(widths)
        elif widths:
            raise CheckpointError("Expected a context for layers that take one; the chain has none.")

    def given(self, context: Array | None, rows: int, errors: Errors = EXACT) -> tuple[Layer, ...]:
        """Return the layers for rows (N, D) with this context, (N, C), (1, C) or (C,); all layers where there is none.

        Raises:
            BadInputError: if the chain takes a context and there is none, or another way round, or shapes differ.
        """
        if self.context is None:
            if context is not None:
                raise BadInputError("Expected no context for a flow that takes none. Leave it out.")
            return self.layers
        seen = self.context.seen(self.context.matched(context, rows), errors)
        return tuple(layer.given(seen, errors) for layer in self.layers)

    def passages(self, h: Array, errors: Errors = EXACT, *, context: Array | None = None) -> Iterator[Passage]:
        """Yield every layer with what enters and leaves it, for rows h (N, D) behind the pre-processing."""
        for layer in self.given(context, len(h), errors):
            found = layer.forward(h, errors)
            yield Passage(layer, h, found)
            h = found.rows

    def encode(self, h: Array, errors: Errors = EXACT, *, context: Array | None = None) -> Step:
        """Return z, log|det dz/dh| and the sum of its terms' absolute values for rows h behind the pre-processing."""
        log_det, size = np.zeros(len(h)), np.zeros(len(h))
        for passage in self.passages(h, errors, context=context):
            h = passage.step.rows
            log_det, size = log_det + passage.step.log_det, size + passage.step.size
        return Step(h, log_det, size)

    def decode(self, z: Array, errors: Errors = EXACT, *, context: Array | None = None) -> Array:
        """Return the rows behind the pre-processing that belong to z."""
        for layer in reversed(self.given(context, len(z), errors)):
            z = layer.inverse(z, errors)
        return z

    @property
    def has_seams(self) -> bool:
        """Return whether some layer has places at which its form changes while it is continuous."""
        return any(layer.has_seams for layer in self.layers)

    def at_seams(self, h: Array, *, context: Array | None = None) -> Array:
        """Return rows behind the pre-processing whose way through the chain meets a seam, one row for each of h (N, D).

        One column of what enters one layer lies on a seam of it, or just beside an end of its box. The layers that have
        seams take turns. Every row starts from one of h and its context.
        """
        passages = list(self.passages(h, context=context))
        h = passages[-1].step.rows
        seamed = [number for number, passage in enumerate(passages) if passage.layer.has_seams]
        row, turns = np.arange(len(h)), max(len(seamed), 1)
        turn = (row + row // turns) % turns  # not the same seams of each layer, which take turns too
        for number, passage in reversed(list(enumerate(passages))):
            h = passage.layer.inverse(h)
            if number in seamed:
                mine = turn == seamed.index(number)
                h = np.where(mine[:, None], passage.layer.at_seams(passage.x), h)
        return h

    def of(self, kind: type[L]) -> tuple[L, ...]:
        """Return the chain's layers of one class, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, kind))

    def with_layers(self, layers: Sequence[Layer]) -> Self:
        """Return the same chain with these layers in the place of those of the same classes, in order."""
        kinds = tuple({type(layer) for layer in layers})
        places = [number for number, layer in enumerate(self.layers) if isinstance(layer, kinds)]
        others = dict(zip(places, layers, strict=True))
        return replace(self, layers=tuple(others.get(number, layer) for number, layer in enumerate(self.layers)))

    def without_preprocessing(self) -> Self:
        """Return the same network on its own input, without the logit."""
        return replace(self, preprocessing=None) if self.preprocessing else self

    def fold_latent(self, mean: Array, covariance: Array) -> Self:
        """Return the network whose latent distribution N(mean, covariance) has become N(0, I), exactly.

        The last layer absorbs the statistics; where it cannot and the kind allows it, an LU layer is added behind it.

        Raises:
            BadInputError: if neither is possible.
            CheckpointError: if the shapes do not fit, a number is not finite, or the covariance is not positive
                definite.
        """
        *others, last = self.layers
        folded = last.folded(mean, covariance)
        if folded is None and self.kind.extends(self):
            identity = LU(np.eye(self.dim), np.eye(self.dim), np.zeros(self.dim))
            others, folded = [*others, last], identity.folded(mean, covariance)
        if folded is None:
            raise BadInputError(
                f"Expected a model whose last layer is an LU layer, to fold latent statistics in; got "
                f"{self.kind.title} that ends with {last.label}. Give an LU-Net or an imported flow."
            )
        return replace(self, layers=(*others, folded))

    @property
    def expensive(self) -> bool:
        """Return whether a row of tolerances takes a large part of a second."""
        return self.work > _MANY

    @property
    def work(self) -> float:
        """Return the products per row and pass beyond those of matrices, of all layers."""
        return sum(layer.work for layer in self.layers)

    @property
    def stored(self) -> int:
        """Return how many numbers the arrays hold."""
        of_context = [] if self.context is None else self.context.arrays()
        return sum(layer.stored for layer in self.layers) + sum(array.size for array in of_context)

    @property
    def solves(self) -> bool:
        """Return whether some layer solves triangular systems, so that there is a solver to choose."""
        return any(layer.solves for layer in self.layers)

    def facts(self) -> dict[str, Any]:
        """Return plain values that describe the network, `free_parameters` among them."""
        return {**self.kind.facts(self), "free_parameters": sum(layer.free for layer in self.layers)}

    def digest(self) -> str:
        """Return the SHA-256 over every number and setting, the identity of the model in manifests."""
        state = hashlib.sha256()
        of_context: list[str | NDArray[Any]] = []
        if self.context is not None:
            of_context = [self.context.word, *self.context.arrays()]
        for part in (*self.kind.identity(self), *of_context):
            if isinstance(part, str):
                state.update(part.encode())
            elif part.dtype == np.bool_:
                state.update(np.packbits(part).tobytes())
            else:
                kind = "<i8" if part.dtype == np.int64 else "<f8"
                state.update(np.ascontiguousarray(part, dtype=kind).tobytes())
        return state.hexdigest()

    @property
    def domain(self) -> Domain | None:
        """Return the rows on which the density is defined, without pre-processing; None where these are all of R^D."""
        return self._borders[0]

    @property
    def latents(self) -> Interval:
        """Return between which latent numbers every one has a row, (D,) each: nearly always -infinity and infinity.

        Some flows have a uniform base that reaches a little beyond their layers. Up to 1e-4 of N(0, 1) may have no row
        in each column; sampling takes such numbers for the nearest that have one.
        """
        return self._borders[1]

    @cached_property
    def _borders(self) -> tuple[Domain | None, Interval]:
        """Return `domain` and `latents`.

        Raises:
            CheckpointError: if the domain is no box, or the last layer leaves more latent numbers out.
        """
        everywhere = np.full(self.dim, -np.inf), np.full(self.dim, np.inf)
        domain, within, closed = everywhere, everywhere, True
        low, high = everywhere
        columns: list[Layer] | None = []  # the layers so far, while each maps boxes onto boxes
        for number, layer in enumerate(self.layers):
            least, most = layer.takes
            if (low < least).any() or (high > most).any():
                low, high = np.maximum(low, least), np.minimum(high, most)
                inside = np.maximum(low, least + layer.margin), np.minimum(high, most - layer.margin)
                if columns is None or not (_pass(columns, low, high) and _pass(columns, *inside)):
                    ends = f"({np.max(least):g}, {np.min(most):g})"
                    place = self.kind.place(self, number)
                    raise CheckpointError(f"Expected numbers within {ends} to reach {place}; it may get any.")
                closed = closed and layer.takes_ends
                domain, within = (
                    _narrowed(domain, _back(columns, low, high)),
                    _narrowed(within, _back(columns, *inside)),
                )
            if layer.columnwise or layer.fills(low, high):
                low, high = layer.box(low, high, forward=True)
                columns = None if columns is None else [*columns, layer]
            else:
                if np.isfinite(low).any() or np.isfinite(high).any():
                    raise self._short_of_latents(number - 1)  # a map of all rows reaches fewer from a part of them
                columns = None
        if (normal_cdf(low) + normal_cdf(-high) > _MOST_LEFT_OUT).any():
            raise self._short_of_latents(len(self.layers) - 1)
        found = Domain(*domain, closed, *within)
        return (found if found.bounded else None), (low, high)

    def _short_of_latents(self, number: int) -> CheckpointError:
        return CheckpointError(
            f"Expected layers that reach every latent number; {self.kind.place(self, number)} leaves some out, so no "
            "normal base fits them."
        )


def _narrowed(box: Interval, other: Interval) -> Interval:
    return np.maximum(box[0], other[0]), np.minimum(box[1], other[1])


def _back(layers: list[Layer], low: Array, high: Array) -> Interval:
    """Return what a box was in front of layers that map boxes onto boxes."""
    for layer in reversed(layers):
        low, high = layer.box(low, high, forward=False)
    return low, high


def _pass(layers: list[Layer], low: Array, high: Array) -> bool:
    """Return whether a box behind these layers was a box in front of each."""
    for layer in reversed(layers):
        if not (layer.columnwise or layer.fills(low, high)):
            return False
        low, high = layer.box(low, high, forward=False)
    return True
