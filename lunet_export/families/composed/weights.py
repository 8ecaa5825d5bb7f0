"""A composed flow as plain float64 arrays, checked once."""

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.families.composed import elementwise, networks
from lunet_export.families.composed.layers import (
    Affine,
    AffineAutoregressive,
    Elementwise,
    Inverse,
    Layer,
    Permutation,
    Sigmoid,
    range_of,
    refuse,
)
from lunet_export.layers.domain import Domain
from lunet_export.lu import LUBlock
from lunet_export.preprocessing import Logit

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ComposedWeights:
    """Layers in a row, from data to latent, after an optional logit.

    Raises:
        CheckpointError: A layer does not fit; one may be fed numbers outside its domain; or the last does not reach all
            of R^D, so that what it gives cannot be normal.
    """

    family: ClassVar[str] = "composed"

    dim: int
    layers: tuple[Layer, ...]
    preprocessing: Logit | None = None  # None: x is the network's own input

    def __post_init__(self) -> None:
        if all(isinstance(plain(layer), Permutation) for layer in self.layers):
            raise CheckpointError("Expected a layer that changes numbers; got none. The flow is its base.")
        for number, layer in enumerate(self.layers, 1):
            refuse(layer, self.dim, self.place(number))
        domain = self.domain  # raises where there is none
        if domain and self.preprocessing:
            raise CheckpointError("Expected layers that take any number behind a logit; the first take some only.")

    def place(self, number: int) -> str:
        """Where a layer stands, counted from 1, for a sentence."""
        return f"layer {number} of {len(self.layers)} ({name_of(self.layers[number - 1])})"

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
        for number, layer in enumerate(self.layers, 1):
            least, most = range_of(layer.layer) if isinstance(layer, Inverse) else (-np.inf, np.inf)
            if (low < least).any() or (high > most).any():
                if columns is None:
                    raise CheckpointError(
                        f"Expected numbers within ({least:g}, {most:g}) to reach {self.place(number)}; it may get any."
                    )
                low, high = np.maximum(low, least), np.minimum(high, most)
                inner = plain(layer)
                margin = inner.margin if isinstance(inner, Sigmoid) else 0.0
                closed = closed and margin > 0
                domain = _narrowed(domain, _through(columns, low, high, forth=False))
                inside = np.maximum(low, least + margin), np.minimum(high, most - margin)
                within = _narrowed(within, _through(columns, *inside, forth=False))
            if isinstance(plain(layer), LUBlock | AffineAutoregressive):
                if np.isfinite(low).any() or np.isfinite(high).any():
                    raise self._short_of_latents(number - 1)  # a map of all rows reaches fewer from a part of them
                columns = None
            else:
                low, high = _through([layer], low, high, forth=True)
                columns = None if columns is None else [*columns, layer]
        if np.isfinite(low).any() or np.isfinite(high).any():
            raise self._short_of_latents(len(self.layers))
        found = Domain(*domain, closed, *within)
        return found if found.bounded else None

    def _short_of_latents(self, number: int) -> CheckpointError:
        return CheckpointError(
            f"Expected layers that reach every latent number; {self.place(number)} leaves some out, so no normal base "
            "fits them."
        )

    @property
    def kinds(self) -> dict[str, int]:
        """How many layers of each kind, by name."""
        return dict(Counter(name_of(layer) for layer in self.layers))

    @property
    def stored(self) -> int:
        """Numbers that the arrays hold."""
        return sum(array.size for layer in self.layers for array in arrays_of(layer))

    def without_preprocessing(self) -> Self:
        """The same network on its own input, the logit left out."""
        return replace(self, preprocessing=None)

    def facts(self) -> dict[str, Any]:
        """As `lunet_export.weights.Weights.facts`. Free: the triangles, and all numbers of other layers but orders."""
        return {"layers": len(self.layers), "kinds": self.kinds, "free_parameters": sum(map(_free, self.layers))}

    def digest(self) -> str:
        """SHA-256 over every number and setting, the identity of the model in manifests."""
        state = hashlib.sha256(f"composed preprocessing={self.preprocessing!r} dim={self.dim}".encode())
        for layer in self.layers:
            state.update(_words(layer).encode())
            for array in arrays_of(layer):
                kind = "<i8" if array.dtype == np.int64 else "<f8"
                state.update(np.ascontiguousarray(array, dtype=kind).tobytes())
        return state.hexdigest()


def plain(layer: Layer) -> Layer:
    """The layer itself, of one that is turned round."""
    return plain(layer.layer) if isinstance(layer, Inverse) else layer


def name_of(layer: Layer) -> str:
    """What a layer is called in sentences, manifests and model files."""
    if isinstance(layer, Inverse):
        return f"inverse of {name_of(layer.layer)}"
    return "LULinear" if isinstance(layer, LUBlock) else type(layer).__name__


def arrays_of(layer: Layer) -> list[NDArray[Any]]:
    """All arrays of a layer, in a fixed order."""
    if isinstance(layer, Inverse):
        return arrays_of(layer.layer)
    if isinstance(layer, LUBlock):
        return [layer.lower, layer.upper, layer.bias]
    if isinstance(layer, AffineAutoregressive):
        return [layer.inputs, layer.changed, *networks.arrays(layer.network)]
    return [value for value in vars(layer).values() if isinstance(value, np.ndarray)]


def _words(layer: Layer) -> str:
    """What the arrays do not tell."""
    inner = plain(layer)
    settings: dict[str, Any] = {key: value for key, value in vars(inner).items() if isinstance(value, float)}
    if isinstance(inner, AffineAutoregressive):
        settings |= {"scale": inner.scale, "network": networks.shape(inner.network)}
    return f"{name_of(layer)} {settings!r}"


def _free(layer: Layer) -> int:
    inner = plain(layer)
    if isinstance(inner, LUBlock):
        dim = len(inner.bias)
        return dim**2 + dim
    return sum(array.size for array in arrays_of(inner) if array.dtype != np.int64)


def _narrowed(box: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    return np.maximum(box[0], other[0]), np.minimum(box[1], other[1])


def _through(layers: list[Layer], low: Array, high: Array, *, forth: bool) -> tuple[Array, Array]:
    """What a box becomes in layers that act on columns alone, or what it was in front of them."""
    for layer in layers if forth else reversed(layers):
        turned = forth != isinstance(layer, Inverse)
        inner = plain(layer)
        if isinstance(inner, Permutation):
            order = inner.order if turned else np.argsort(inner.order)
            low, high = low[order], high[order]
            continue
        assert not isinstance(inner, LUBlock | AffineAutoregressive | Inverse)
        with np.errstate(all="ignore"):  # of ends that are infinite
            move = elementwise.value if turned else elementwise.inverse
            ends = [_limit(inner, end, move(inner, end), forth=turned) for end in (low, high)]
        low, high = np.minimum(*ends), np.maximum(*ends)
    return low, high


def _limit(layer: Elementwise, end: Array, moved: Array, *, forth: bool) -> Array:
    """What an end of an interval is moved to; at infinity and at the ends of a range, the limit.

    All increase but Affine. A margin does not count: rows between it and the end are there, and moved onto it.
    """
    if isinstance(layer, Affine):
        return moved
    least, most = range_of(layer)
    if forth:
        return np.where(np.isinf(end), np.where(end > 0, most, least), moved)
    return np.where(end >= most, np.inf, np.where(end <= least, -np.inf, moved))
