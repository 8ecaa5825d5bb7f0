"""What changes a column of an autoregressive layer or a coupling: an increasing function whose numbers are given."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.graph import Track, Value
from lunet_export.layers.layer import EVERYWHERE

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


class Functions(ABC):
    """These are increasing functions y = f(x) of C columns, for each of N rows, as float64 arrays."""

    @abstractmethod
    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return f(x) and log f'(x) [nats] for x (N, C), (N, C) each."""

    @abstractmethod
    def inverse(self, y: Array) -> Array:
        """Return the x with f(x) = y, (N, C) -> (N, C)."""

    def seams(self) -> Array:
        """Return numbers x (N, C, S) at which the form of f changes, in increasing order; S is 0 where there are none.

        Rounding decides on which side of them a row lies.
        """
        return np.empty((1, 1, 0))


class FunctionNodes(ABC):
    """These are the same functions in a graph."""

    @abstractmethod
    def forward(self, x: Value) -> Value:
        """Write f(x) of x [batch, C], and add log f'(x) to the log-determinant."""

    @abstractmethod
    def inverse(self, y: Value) -> Value:
        """Write the x with f(x) = y of y [batch, C], and add log f'(x) to the log-determinant."""


class Transformer(ABC):
    """A transformer turns P numbers per column into an increasing function of the column.

    The word is the field's own (arXiv 1912.02762, section 3.1): a conditioner gives the numbers, a transformer uses
    them. Every transformer is a frozen dataclass.
    """

    @property
    @abstractmethod
    def count(self) -> int:
        """Return P."""

    @abstractmethod
    def places(self, columns: Indices, count: int) -> Indices:
        """Return where the numbers of some of `count` columns stand among the network's outputs, in their order."""

    @abstractmethod
    def of(self, numbers: Array, errors: Errors = EXACT) -> Functions:
        """Return the functions of numbers (N, C P)."""

    @abstractmethod
    def written(self, track: Track, numbers: Value | Array, count: int) -> FunctionNodes:
        """Write what the numbers [contexts, C P] alone determine, of C = `count` columns; constants are (C P,)."""

    @abstractmethod
    def validate(self, where: str) -> None:
        """Raise unless any numbers make increasing functions.

        Raises:
            CheckpointError: if they may not.
        """

    @property
    def mixes(self) -> bool:
        """Return whether the function of a column depends on the numbers of the others too."""
        return False

    @property
    def interval(self) -> tuple[float, float]:
        """Return the ends of the numbers that f maps onto themselves and changes; it may pass all others."""
        return EVERYWHERE

    @property
    def within(self) -> bool:
        """Return whether f is defined on its interval alone."""
        return False

    @property
    def has_seams(self) -> bool:
        """Return whether f has more than one form, so that there are `seams` between them."""
        return False

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for a model file."""
