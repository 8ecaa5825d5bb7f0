"""What a family of flows is: a folder of `lunet_export.families`, with the parts that the rest of the project asks for.

Each part is a module of the name below. Whoever has weights asks `family_of(weights)` for one, which is imported then
and not before: what runs an export never meets PyTorch or onnx. Nothing else in the project names a family, but for the
instruments that are made for LU-Net alone and say so to others.

    weights     plain float64 arrays, checked: a class with the attributes of `lunet_export.weights.Weights`
    reference   encode and decode in plain float64 NumPy, the judge of the other parts
    rounding    the same with errors of the size of rounding, of which tolerances are made
    flow        the PyTorch module, a `lunet_export.flows.Flow`
    storage     what a model file holds of a flow, and the way back
    graphs      the ONNX graphs, what can be chosen about them, and what a manifest says of them
    manifest    what such a manifest must hold
"""

from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_PACKAGE = "lunet_export.families"


class Reference(Protocol):
    """The module `reference` of a family."""

    def encode(self, weights: Any, x: Array) -> tuple[Array, Array]:  # noqa: ANN401
        """x (N, D) -> z (N, D), log|det dz/dx| (N,) in nats, pre-processing included."""

    def decode(self, weights: Any, z: Array) -> Array:  # noqa: ANN401
        """z (N, D) -> x (N, D), not clamped."""


class Manifest(Protocol):
    """The module `manifest` of a family."""

    def refuse(self, model: Any, graphs: Any) -> None:  # noqa: ANN401
        """Raise KeyError, TypeError or ValueError, whose text names the place, where what is the family's own is wrong.

        Args:
            model: The entry `model` of manifest.json.
            graphs: The entry `graphs`, the sampling graph in it.
        """

    def repeated(self, model: Any) -> dict[str, str]:  # noqa: ANN401
        """What the metadata of every graph must repeat of the entry `model`."""


@dataclass(frozen=True)
class Family:
    """One kind of network, by the name of its folder."""

    name: str

    @property
    def reference(self) -> Reference:
        """The judge."""
        return cast(Reference, self.part("reference"))

    @property
    def manifest(self) -> Manifest:
        """What its manifests hold."""
        return cast(Manifest, self.part("manifest"))

    def part(self, name: str) -> Any:  # noqa: ANN401
        """The module of that name."""
        return import_module(f"{_PACKAGE}.{self.name}.{name}")


class Member(Protocol):
    """Weights, or a flow."""

    family: ClassVar[str]


def family_of(member: Member) -> Family:
    """The family that weights or a flow belong to."""
    return Family(member.family)


def families() -> list[str]:
    """The names of all families."""
    return [module.name for module in iter_modules(import_module(_PACKAGE).__path__) if module.ispkg]
