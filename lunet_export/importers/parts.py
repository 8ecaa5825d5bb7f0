"""What an importer finds in another library's flow, layer by layer: carried, or not and why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from lunet_export.errors import CheckpointError, UnsupportedLayersError
from lunet_export.flows import layered
from lunet_export.layers import Chain, Layer, inverted

#: An object of a library that nothing here depends on: no type says what attributes it has. They are read at their
#: own risk, and `walk.leaf` turns what is missing into a refusal.
Foreign = Any
Layers = tuple[Layer, ...]


class Refused(Exception):
    """A layer that cannot be carried; the text says why. No user's error: whoever calls a reader catches it."""


@dataclass(frozen=True)
class Part:
    """A layer of another library's flow.

    Attributes:
        path: Where it is, as attributes lead there: `_transform._transforms.3`.
        kind: Its class.
        layers: What it becomes, from data to latent. Affine layers may have one number for all columns.
        refusal: Why it becomes nothing; None if it is carried.
    """

    path: str
    kind: str
    layers: tuple[Layer, ...] = ()
    refusal: str | None = None

    def turned(self) -> "Part":
        """The same layer in the other direction."""
        return replace(self, layers=inverted(self.layers))

    def as_json(self) -> dict[str, str | None]:
        """For `--json`."""
        return {"path": self.path, "class": self.kind, "why_not": self.refusal}


Rows = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Reading:
    """What a flow is made of, and the flow itself to be asked, in float64.

    Attributes:
        transform: Its layers, from data to latent.
        base: Its base distribution, carried as what makes it standard normal; None of a transform alone.
        dim: The number of dimensions where something besides the layers tells it.
        forward: x (N, D) -> the library's own z (N, D) and log|det dz/dx| (N,).
        inverse: z (N, D) -> x (N, D), the library's own.
        log_prob: x (N, D) -> log p(x) (N,), the library's own; None of a transform alone.
    """

    transform: tuple[Part, ...]
    base: Part | None
    dim: int | None
    forward: Callable[[Tensor], tuple[Tensor, Tensor]]
    inverse: Rows
    log_prob: Rows | None

    @property
    def parts(self) -> tuple[Part, ...]:
        """All of them, the base last."""
        return self.transform if self.base is None else (*self.transform, self.base)

    def weights(self) -> Chain:
        """The flow as plain arrays, from data to latent.

        Raises:
            UnsupportedLayersError: Some part is not carried; all of these are named.
            CheckpointError: The layers make no flow, as those with a NaN or with a border do not.
        """
        refused = [part for part in self.parts if part.refusal is not None]
        if refused:
            raise UnsupportedLayersError([(part.path, part.kind, str(part.refusal)) for part in refused])
        layers = [layer for part in self.parts for layer in part.layers]
        dim = self.dim or next((layer.width for layer in layers if layer.width), None)
        if dim is None:
            raise CheckpointError(
                "Expected a flow that tells its number of dimensions; no layer and no base of this one does. Give each "
                "affine layer as many numbers as there are dimensions."
            )
        for part in self.parts:  # whose sentences name the library's layers, where those of the weights count ours
            for layer in part.layers:
                layer.spread(dim).refuse(dim, f"{part.path} ({part.kind})")
        return layered(dim, [layer.spread(dim) for layer in layers])


def turned(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The parts of the inverse map."""
    return tuple(part.turned() for part in reversed(parts))
