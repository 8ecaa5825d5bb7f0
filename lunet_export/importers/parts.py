"""What an importer finds in another library's flow, layer by layer: what is supported, and why anything is not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lunet_export.errors import CheckpointError, UnsupportedLayersError
from lunet_export.flows import layered
from lunet_export.layers import Chain, Context, Layer, inverted

#: An object of a library that is not a dependency: no type says what attributes it has, and `walk.leaf` turns a
#: missing one into a refusal.
Foreign = Any
Layers = tuple[Layer, ...]
Array = NDArray[np.float64]


#: Why a layer whose context cannot be an input is refused without one.
NO_CONTEXT = "it needs a context, and none was given: give `context`"


class Refused(Exception):
    """This error says why a layer is not supported. Users never see it: every caller of a reader catches it."""


@dataclass(frozen=True)
class Part:
    """This is a layer of another library's flow.

    Attributes:
        path: Place of the layer, as attributes lead there: `_transform._transforms.3`.
        kind: Name of its class.
        layers: Layers that it becomes, from data to latent. Affine layers may have one number for all columns.
        refusal: Reason why it is not supported; None if it is.
    """

    path: str
    kind: str
    layers: tuple[Layer, ...] = ()
    refusal: str | None = None

    def inverse(self) -> "Part":
        """Return the same layer in the other direction."""
        return replace(self, layers=inverted(self.layers))

    def as_json(self) -> dict[str, str | None]:
        """Return the part for `--json`."""
        return {"path": self.path, "class": self.kind, "why_not": self.refusal}


@dataclass(frozen=True)
class Given:
    """This is what conditional layers depend on.

    Attributes:
        context: The context; None if no layer takes one, or it is fixed.
        embedding: The network that embeds it, as a part without layers; None if there is none.
    """

    context: Context | None = None
    embedding: Part | None = None


#: The library's own function of rows (N, D) and contexts (N, C), which are None where there are none or one is fixed.
Asked = Callable[[Tensor, Tensor | None], Tensor]
AskedTwice = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Reading:
    """This is what a flow is made of, and the flow itself as functions in float64.

    Attributes:
        transform: Layers of the flow, from data to latent.
        base: Base distribution, as the layer that makes it standard normal; None for a transform alone.
        dim: Number of dimensions, if something other than the layers determines it.
        given: What the layers depend on.
        forward: The library's own x (N, D) -> z (N, D) and log|det dz/dx| (N,), with contexts (N, C) if there are any.
        inverse: The library's own z (N, D) -> x (N, D).
        log_prob: The library's own x (N, D) -> log p(x) (N,); None for a transform alone.
    """

    transform: tuple[Part, ...]
    base: Part | None
    dim: int | None
    given: Given
    forward: AskedTwice
    inverse: Asked
    log_prob: Asked | None

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return all parts: the layers, the base, and what is computed of the context."""
        ends = (self.base, self.given.embedding)
        return (*self.transform, *(part for part in ends if part is not None))

    def base_given(self, context: Array | None) -> Layers:
        """Return the layers that make the base standard normal, for rows with these contexts (N, C)."""
        layers = self.base.layers if self.base else ()
        if self.given.context is None or context is None:
            return layers
        seen = self.given.context.seen(context)
        return tuple(layer.given(seen) for layer in layers)

    def weights(self) -> Chain:
        """Return the flow as plain arrays, from data to latent; errors are those of `chain_of`."""
        return chain_of(self.parts, self.dim, self.given.context)


def chain_of(parts: Sequence[Part], dim: int | None, context: Context | None = None) -> Chain:
    """Return the flow that parts make, as plain arrays, from data to latent.

    Args:
        parts: Parts from data to latent.
        dim: Number of dimensions where something besides the layers tells it, else None.
        context: Context that the layers take.

    Raises:
        UnsupportedLayersError: if some part is not supported; all of these are named.
        CheckpointError: if the layers make no flow, as those with a NaN or with a border do not.
    """
    refused = [part for part in parts if part.refusal is not None]
    if refused:
        raise UnsupportedLayersError([(part.path, part.kind, str(part.refusal)) for part in refused])
    layers = [layer for part in parts for layer in part.layers]
    widths = [layer.width for layer in layers if layer.width]
    wide = [width for width in widths if width > 1]  # a layer of one column may stand for all of them
    dim = dim or next(iter([*wide, *widths]), None)
    if dim is None:
        raise CheckpointError(
            "Expected a flow that tells its number of dimensions; no layer and no base of this one does. Give each "
            "affine layer as many numbers as there are dimensions."
        )
    for part in parts:  # raises with the library's names of layers
        for layer in part.layers:
            layer.spread(dim).validate(dim, f"{part.path} ({part.kind})")
    return layered(dim, [layer.spread(dim) for layer in layers], None, context)


def inverted_parts(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return the parts of the inverse map."""
    return tuple(part.inverse() for part in reversed(parts))
