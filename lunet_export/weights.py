"""Trained flows as plain float64 arrays: what training hands to export. Each family has a class of its own."""

from typing import Any, ClassVar, Protocol, Self

from lunet_export.layers.domain import Domain
from lunet_export.preprocessing import Logit


class Weights(Protocol):
    """What the weights of every family know. They are immutable, and checked when they are made."""

    family: ClassVar[str]  # its name: a folder of `lunet_export.families`

    @property
    def dim(self) -> int:
        """Number of dimensions D."""

    @property
    def preprocessing(self) -> Logit | None:
        """The logit in front; None: x is the network's own input."""

    @property
    def domain(self) -> Domain | None:
        """Where the density is defined, without pre-processing; None: on all of R^D."""

    def without_preprocessing(self) -> Self:
        """The same network on its own input, the logit left out."""

    def facts(self) -> dict[str, Any]:
        """Plain values that tell what kind of network it is, `free_parameters` among them."""

    def digest(self) -> str:
        """SHA-256 over every number and setting, the identity of the model in manifests."""
