"""The base class of layers: an invertible map of rows as plain float64 arrays, and all that a layer must answer."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.graph import Track
from lunet_export.layers.linearised import Linearised, RoundTrip

Array = NDArray[np.float64]
Interval = tuple[Array, Array]  # low and high, (D,) each

Ends = float | Array  # of one interval for all columns, or of one for each, (D,)

EVERYWHERE: tuple[float, float] = (-np.inf, np.inf)


class Step(NamedTuple):
    """A step is what a layer's forward direction gives.

    rows (N, D); log_det (N,), log|det| of the Jacobian in nats; size (N,), the sum of the absolute values of its terms.
    """

    rows: Array
    log_det: Array
    size: Array


class Stretch(NamedTuple):
    """These bounds hold for all rows: |x - y| / lip_inverse <= |f(x) - f(y)| <= lip_forward |x - y|.

    log|det| [nats] is between `log_det_min` and `log_det_max`. `size` is the sum of the absolute values of the terms of
    the larger end of log|det|: rounding follows it.
    """

    lip_forward: float
    lip_inverse: float
    log_det_min: float
    log_det_max: float
    size: float = 0.0


def up(value: float) -> float:
    """Return the next float64 above, which rounds a product or quotient outwards."""
    return float(np.nextafter(value, np.inf))


def step(rows: Array, terms: Array) -> Step:
    """Return the step whose log-determinant has these terms, (N, K)."""
    return Step(rows, terms.sum(axis=1), np.abs(terms).sum(axis=1))


class Layer(ABC):
    """A layer is an invertible map y = f(x) of rows (N, D), from data to latent.

    Every layer is a frozen dataclass, checked by `validate`. What only some layers can do has a default here that says
    so: an infinite bound, no solver, no Jacobian.
    """

    #: Name in sentences, manifests and model files; by default that of the class.
    name: ClassVar[str]
    #: Whether every column is changed by itself, or moved to another place.
    columnwise: ClassVar[bool] = False
    #: Whether its inverse solves triangular systems.
    solves: ClassVar[bool] = False
    #: Whether its log-determinant is summed only from data to latent.
    forth_only: ClassVar[bool] = False
    #: The dtypes in which runtimes have its operators.
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64", "float16")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in vars(cls):
            cls.name = cls.__name__

    @abstractmethod
    def forward(self, x: Array, errors: Errors = EXACT) -> Step:
        """Return y (N, D) for x (N, D) with log|det dy/dx|; without errors this is the float64 reference."""

    @abstractmethod
    def inverse(self, y: Array, errors: Errors = EXACT) -> Array:
        """Return the x with f(x) = y, (N, D) -> (N, D)."""

    @abstractmethod
    def nodes(self, track: Track) -> None:
        """Write x -> y and the terms of log|det dy/dx| into a graph."""

    @abstractmethod
    def inverse_nodes(self, track: Track) -> None:
        """Write y -> x and, where the graph wants a density, the terms of log|det dy/dx| at that x."""

    @abstractmethod
    def validate(self, dim: int, where: str) -> None:
        """Raise unless this is an invertible layer of `dim` dimensions.

        Raises:
            CheckpointError: if it is not; the sentence says why, and names the place `where`.
        """

    @property
    def label(self) -> str:
        """Return the name, with a note where the layer is inverted."""
        return self.name

    @property
    def range(self) -> tuple[Ends, Ends]:
        """Return the open interval onto which f maps R, for all columns or for each."""
        return EVERYWHERE

    @property
    def takes(self) -> tuple[Ends, Ends]:
        """Return the interval in which every number of x must lie, for all columns or for each."""
        return EVERYWHERE

    def fills(self, low: Array, high: Array) -> bool:
        """Return whether a layer that is not columnwise maps this box of rows, (D,) each, onto itself."""
        del low, high
        return False

    @property
    def has_seams(self) -> bool:
        """Return whether there are places at which the form of f changes while f is continuous: `at_seams` has them."""
        return False

    def at_seams(self, x: Array) -> Array:
        """Return rows like x, (N, D), each with a column at a place where the form of f changes; none if there is none.

        Rounding decides on which side of such a place a row lies, so tests look there.
        """
        return x[:0]

    @property
    def margin(self) -> float:
        """Return how far from the ends of `takes` numbers are first moved; 0 means that they are not."""
        return 0.0

    @property
    def takes_ends(self) -> bool:
        """Return whether x may be an end of the interval that the layer takes."""
        return self.margin > 0

    @property
    def width(self) -> int | None:
        """Return the number of dimensions; None for a layer that fits any number."""
        return None

    def box(self, low: Array, high: Array, *, forward: bool) -> Interval:
        """Return the image of a box of rows, or its preimage unless `forward`.

        Only layers are asked that are `columnwise`, or fill this box.
        """
        raise NotImplementedError(self.name)

    def arrays(self) -> list[NDArray[Any]]:
        """Return all arrays, in a fixed order."""
        return [value for value in self._fields().values() if isinstance(value, np.ndarray)]

    @property
    def stored(self) -> int:
        """Return how many numbers the arrays hold."""
        return sum(array.size for array in self.arrays())

    @property
    def free(self) -> int:
        """Return how many numbers training could choose."""
        return sum(array.size for array in self.arrays() if array.dtype != np.int64)

    @property
    def work(self) -> float:
        """Return the products per row and pass beyond those of a matrix.

        From some ten millions of them on, few rows are compared with the reference.
        """
        return 0.0

    @property
    def takes_context(self) -> int:
        """Return how many numbers of a context the layer depends on; 0 if on none."""
        return 0

    def given(self, context: Array, errors: Errors = EXACT) -> "Layer":
        """Return the layer for a context (N, C), for rows (N, D) that belong to it.

        What depends on the context alone is computed here, with its errors.
        """
        del context, errors
        return self

    @property
    def levels_back(self) -> int:
        """Return how many passes of a network one direction takes in a graph, one after another."""
        return 0

    def settings(self) -> dict[str, Any]:
        """Return what the arrays do not tell; both together identify the layer."""
        return {key: float(value) for key, value in self._fields().items() if isinstance(value, float)}

    def spread(self, dim: int) -> "Layer":
        """Return the layer of `dim` columns, where one number stands for all of them."""
        del dim
        return self

    def stretch(self, dim: int) -> Stretch | None:
        """Return certified bounds for `dim` columns; None where there are none."""
        del dim
        return None

    def linearised(self, x: Array) -> Linearised | None:
        """Return the Jacobian at rows x (N, D); None for a layer that cannot give it."""
        del x
        return None

    def folded(self, mean: Array, covariance: Array) -> "Layer | None":
        """Return the layer whose output N(mean, covariance) has become N(0, I); None where this one cannot do so."""
        del mean, covariance
        return None

    def round_trip(self, x: Array, y: Array) -> RoundTrip:
        """Return the sizes of the rounding errors of x -> y -> x, for a layer that has a Jacobian."""
        raise NotImplementedError(self.name)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values and arrays by name, for a model file."""
        return {"kind": self.name, **{name: plain(value) for name, value in self._fields().items()}}

    def _fields(self) -> dict[str, Any]:
        """Return the fields of the dataclass by name, without cached values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """Return the layer that `to_dict` described.

        Raises:
            LookupError, TypeError, ValueError: if a field is missing or of another type.
        """
        return cls(**{field.name: entry[field.name] for field in fields(cls)})  # type: ignore[arg-type]


def plain(value: object) -> object:
    """Return a field as a model file holds it: arrays and numbers stay, objects with `to_dict` are converted by it."""
    if isinstance(value, tuple):
        return [plain(entry) for entry in value]
    return value.to_dict() if hasattr(value, "to_dict") else value
