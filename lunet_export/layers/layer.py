"""What a layer is: an invertible map of rows, as plain float64 arrays, and everything that is asked of one."""

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

EVERYWHERE = (-np.inf, np.inf)


class Step(NamedTuple):
    """What became of rows.

    rows (N, D); log_det (N,), log|det| of the Jacobian in nats; size (N,), the sum of the absolute values of its terms.
    """

    rows: Array
    log_det: Array
    size: Array


class Stretch(NamedTuple):
    """What holds for all rows: |x - y| / lip_inverse <= |f(x) - f(y)| <= lip_forward |x - y|, and for log|det| [nats].

    `size` is the sum of the absolute values of the terms of the larger end of log|det|: rounding follows it.
    """

    lip_forward: float
    lip_inverse: float
    log_det_min: float
    log_det_max: float
    size: float = 0.0


def up(value: float) -> float:
    """The next float64 above: a product or quotient rounded outwards."""
    return float(np.nextafter(value, np.inf))


def step(rows: Array, terms: Array) -> Step:
    """The step whose log-determinant has these terms, (N, K)."""
    return Step(rows, terms.sum(axis=1), np.abs(terms).sum(axis=1))


class Layer(ABC):
    """An invertible map y = f(x) of rows (N, D), from data to latent. A frozen dataclass, checked by `refuse`.

    What only some layers can do has a default here that says so: an infinite bound, no solver, no Jacobian.
    """

    #: What it is called in sentences, manifests and model files; the class's own name unless it says otherwise.
    name: ClassVar[str]
    #: Every column is moved by itself, or to another place.
    columnwise: ClassVar[bool] = False
    #: Its inverse solves triangular systems.
    solves: ClassVar[bool] = False
    #: Its log-determinant is summed on the way from data to latent only.
    forth_only: ClassVar[bool] = False
    #: The dtypes in which a runtime has its operators.
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64", "float16")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in vars(cls):
            cls.name = cls.__name__

    @abstractmethod
    def forward(self, x: Array, errors: Errors = EXACT) -> Step:
        """x (N, D) -> y (N, D) with log|det dy/dx|; without errors this is the float64 reference."""

    @abstractmethod
    def inverse(self, y: Array, errors: Errors = EXACT) -> Array:
        """The x with f(x) = y, (N, D) -> (N, D)."""

    @abstractmethod
    def nodes(self, track: Track) -> None:
        """Write x -> y and the terms of log|det dy/dx| into a graph."""

    @abstractmethod
    def inverse_nodes(self, track: Track) -> None:
        """Write y -> x and, where the graph wants a density, the terms of log|det dy/dx| at that x."""

    @abstractmethod
    def refuse(self, dim: int, where: str) -> None:
        """Raise unless this is an invertible layer of `dim` dimensions.

        Raises:
            CheckpointError: It is not; the sentence says why, and `where` it stands.
        """

    @property
    def label(self) -> str:
        """The name, and that it is turned round where it is."""
        return self.name

    @property
    def range(self) -> tuple[float, float]:
        """The open interval that f maps R onto, in every column."""
        return EVERYWHERE

    @property
    def takes(self) -> tuple[float, float]:
        """The open interval that every number of x must lie in."""
        return EVERYWHERE

    @property
    def margin(self) -> float:
        """How far from the ends of `takes` numbers are moved first; 0: not at all."""
        return 0.0

    @property
    def width(self) -> int | None:
        """The number of dimensions; None of a layer that fits any."""
        return None

    def box(self, low: Array, high: Array, *, forth: bool) -> Interval:
        """What a box of rows becomes, or what it was in front of the layer; asked of `columnwise` layers alone."""
        raise NotImplementedError(self.name)

    def arrays(self) -> list[NDArray[Any]]:
        """All arrays, in a fixed order."""
        return [value for value in self._fields().values() if isinstance(value, np.ndarray)]

    @property
    def stored(self) -> int:
        """Numbers that the arrays hold."""
        return sum(array.size for array in self.arrays())

    @property
    def free(self) -> int:
        """Numbers that training could choose."""
        return sum(array.size for array in self.arrays() if array.dtype != np.int64)

    @property
    def work(self) -> float:
        """Products of a row and pass beyond those of a matrix: from some ten millions on, few rows are judged."""
        return 0.0

    @property
    def levels_back(self) -> int:
        """Passes of a network that one direction takes in a graph, one after another."""
        return 0

    def settings(self) -> dict[str, Any]:
        """What the arrays do not tell: the identity of the layer beside them."""
        return {key: value for key, value in self._fields().items() if isinstance(value, float)}

    def spread(self, dim: int) -> "Layer":
        """The layer of `dim` columns, where one number stands for all of them."""
        del dim
        return self

    def stretch(self, dim: int) -> Stretch | None:
        """Certified bounds of `dim` columns; None where there are none."""
        del dim
        return None

    def linearised(self, x: Array) -> Linearised | None:
        """The Jacobian at rows x (N, D); None of a layer that cannot give it."""
        del x
        return None

    def folded(self, mean: Array, covariance: Array) -> "Layer | None":
        """The layer whose output N(mean, covariance) has become N(0, I); None of one that cannot take that in."""
        del mean, covariance
        return None

    def round_trip(self, x: Array, y: Array) -> RoundTrip:
        """Where the rounding of x -> y -> x comes in, for a layer that has a Jacobian."""
        raise NotImplementedError(self.name)

    def to_dict(self) -> dict[str, Any]:
        """Plain values and arrays by name, for a model file."""
        return {"kind": self.name, **{name: plain(value) for name, value in self._fields().items()}}

    def _fields(self) -> dict[str, Any]:
        """The fields of the dataclass by name, without what was computed of them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """The layer that `to_dict` described.

        Raises:
            LookupError, TypeError, ValueError: A field is missing or of another type.
        """
        return cls(**{field.name: entry[field.name] for field in fields(cls)})  # type: ignore[arg-type]


def plain(value: object) -> object:
    """A field as a model file holds it: arrays and numbers stay, what has `to_dict` is asked."""
    if isinstance(value, tuple):
        return [plain(entry) for entry in value]
    return value.to_dict() if hasattr(value, "to_dict") else value
