"""What the context of a conditional flow is, and what its layers see of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.classes import Classes
from lunet_export.columns import Names, read_names
from lunet_export.errors import BadInputError, CheckpointError, brief
from lunet_export.layers import networks
from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.networks import Network, Scaling
from lunet_export.noise import uniform

Array = NDArray[np.float64]

_SPREAD = 2.0  # standard deviations of what is drawn where the range of training is not known
_LONGEST = 60  # characters of a context in a title
_AT_ENDS = 4  # one drawn context of so many has every column at an end of its range


@dataclass(frozen=True)
class Context:
    """A context c is a row of `dim` numbers; layers see n(c), or c itself where the network n is empty.

    n is computed once per row of contexts, whatever the number of layers: a standardisation, an embedding, or both.

    Attributes:
        dim: Number of dimensions C.
        network: The network n.
        low: Least number of each column in training, (C,); None where it is not known.
        high: Largest number of each column in training, (C,).
        names: Names of the columns; None where they have none.
        classes: Classes that contexts name, 1 in the place of the class and 0 elsewhere; None for any other context.
    """

    dim: int
    network: Network = ()
    low: Array | None = None
    high: Array | None = None
    names: Names | None = None
    classes: Classes | None = None

    def seen(self, context: Array, errors: Errors = EXACT) -> Array:
        """Return what layers see of contexts, (N, C) -> (N, K)."""
        return networks.apply(self.network, context, errors)

    def matched(self, context: Array | None, rows: int) -> Array:
        """Return one context per row, (N, C), from one for each or one for all, (C,) or (1, C).

        Raises:
            BadInputError: if there is none, or it has another shape.
        """
        self.validate_shape(None if context is None else np.shape(context), rows)
        return np.broadcast_to(np.asarray(context, dtype=np.float64), (rows, self.dim))

    def validate_shape(self, shape: tuple[int, ...] | None, rows: int) -> None:
        """Raise unless something of this shape, None for nothing, is one context for each of so many rows or for all.

        Raises:
            BadInputError: if it is not.
        """
        if shape not in ((self.dim,), (1, self.dim), (rows, self.dim)):
            raise BadInputError(
                f"Expected a context of shape ({self.dim},) or ({rows}, {self.dim}) for {rows} rows; got "
                f"{'none' if shape is None else f'shape {shape}'}. Give `context`, one per row or one for all rows."
            )

    def beyond(self, context: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return for every number (N, C) whether it lies outside what training saw; ends are rounded to its dtype.

        Where contexts name classes, these are all numbers of a context that names none.
        """
        if self.classes is not None:
            return np.broadcast_to(~self.classes.named(context)[:, None], context.shape)
        if self.low is None or self.high is None:
            return np.zeros(context.shape, dtype=np.bool_)
        low, high = (end.astype(context.dtype) for end in (self.low, self.high))
        found: NDArray[np.bool_] = (context < low) | (context > high)
        return found

    def drawn(self, seed: int, rows: range) -> Array:
        """Return contexts for the given rows, (len(rows), C): uniform in the range of training, and some at its ends.

        Where the range is not known, it is 2 standard deviations around the mean by which the network standardises, or
        [-2, 2]. Where contexts name classes, each run of C rows has all of them. A context depends on the seed and the
        row's number alone.
        """
        if self.classes is not None:
            number = np.arange(rows.start, rows.stop)
            return self.classes.contexts((number + number // self.dim + seed % self.dim) % self.dim)
        low, high = self._range()
        u = uniform(seed, rows, self.dim)
        at_ends = np.arange(rows.start, rows.stop)[:, None] % _AT_ENDS == 1
        u = np.where(at_ends, np.rint(u), u)
        return (1 - u) * low + u * high

    def told(self, context: Array) -> str:
        """Return one context (C,) for a title: its numbers by their names, if they have any."""
        numbers = [f"{number:.4g}" for number in context.tolist()]
        named = numbers if self.names is None else map(" = ".join, zip(self.names, numbers, strict=True))
        return brief(", ".join(named), _LONGEST)

    @property
    def middle(self) -> Array:
        """Return the middle of the range from which contexts are drawn, or the context of the first class, (C,)."""
        if self.classes is not None:
            return self.classes.contexts(np.zeros(1, dtype=np.int64))[0]
        low, high = self._range()
        return (low + high) / 2

    def _range(self) -> tuple[Array, Array]:
        if self.low is not None and self.high is not None:
            return self.low, self.high
        mean, deviation = np.zeros(self.dim), np.ones(self.dim)
        if self.network and isinstance(self.network[0], Scaling) and self.network[0].scale.all():
            deviation = 1 / np.abs(self.network[0].scale)
            mean = -self.network[0].shift / self.network[0].scale
        return mean - _SPREAD * deviation, mean + _SPREAD * deviation

    def validate(self, widths: Sequence[int]) -> None:
        """Raise unless layers that take contexts of these widths see numbers of this context.

        Raises:
            CheckpointError: if they do not.
        """
        where = "the network of the context"
        found = networks.width(self.network, self.dim, where)
        if networks.takes_context(self.network):
            raise CheckpointError(f"Expected {where} to depend on the context alone; it holds a conditional part.")
        if set(widths) != {found}:
            taken = ", ".join(map(str, sorted(set(widths)))) or "none"
            raise CheckpointError(f"Expected layers that take a context of {found} numbers; they take {taken}.")
        ends = [end for end in (self.low, self.high) if end is not None]
        if len(ends) == 1 or not all(end.shape == (self.dim,) and np.isfinite(end).all() for end in ends):
            raise CheckpointError(f"Expected two ends of {self.dim} finite numbers each for the context.")
        if ends and not (ends[0] <= ends[1]).all():
            raise CheckpointError("Expected low ends of the context below its high ends; one is above.")
        if self.classes is not None and len(self.classes.names) != self.dim:
            raise CheckpointError(
                f"Expected a class for each of the {self.dim} numbers of the context; got {len(self.classes.names)}."
            )

    def arrays(self) -> list[Array]:
        """Return all arrays, in a fixed order."""
        return [*networks.arrays(self.network), *(end for end in (self.low, self.high) if end is not None)]

    @property
    def word(self) -> str:
        """Return what the arrays do not tell."""
        named = f" classes={json.dumps(self.classes.to_json())}" if self.classes else ""
        return f"context dim={self.dim} network={networks.shape(self.network)} range={self.low is not None}{named}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values and arrays by name, for a model file. The ends of the range are not rounded there."""
        return {**self.to_json(), "network": [operation.to_dict() for operation in self.network]}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """Return the context that `to_dict` described.

        Raises:
            LookupError, TypeError, ValueError: if a field is missing or of another type.
        """
        return replace(cls.from_json(entry, "context"), network=networks.from_list(entry["network"]))

    @property
    def text(self) -> str:
        """Return what `to_json` returns as one line, for the metadata of graphs."""
        return json.dumps(self.to_json(), sort_keys=True)

    def to_json(self) -> dict[str, Any]:
        """Return what a program must know that gives contexts: `dim`, and `names`, `classes` and `range` if known."""
        names: dict[str, Any] = {} if self.names is None else {"names": list(self.names)}
        names |= {} if self.classes is None else {"classes": self.classes.to_json()}
        if self.low is None or self.high is None:
            return {"dim": self.dim, **names}
        return {"dim": self.dim, **names, "range": {"low": self.low.tolist(), "high": self.high.tolist()}}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any], place: str) -> Self:
        """Return the context that `to_json` described, without its network.

        Raises:
            LookupError, TypeError, ValueError: whose text names the place, if a field is missing or of another type.
        """
        if not isinstance(entry, Mapping) or type(entry.get("dim")) is not int or entry["dim"] < 1:
            raise ValueError(f"{place}, dim")
        names = read_names(entry.get("names"), entry["dim"], f"{place}, names")
        classes = Classes.from_json(entry.get("classes"), entry["dim"], f"{place}, classes")
        ends = entry.get("range")
        if ends is None:
            return cls(entry["dim"], names=names, classes=classes)
        low, high = (_end(ends, end, entry["dim"], f"{place}, range") for end in ("low", "high"))
        if not (low <= high).all():
            raise ValueError(f"{place}, range")
        return cls(entry["dim"], (), low, high, names, classes)


def validate_unconditional(context: Context | None, task: str) -> None:
    """Raise where a flow takes a context, for a task that takes none.

    Args:
        context: Context of the flow; None where it takes none.
        task: What would need it, a noun.

    Raises:
        BadInputError: if the flow takes one.
    """
    if context is not None:
        raise BadInputError(
            f"Expected a flow without a context for {task}; this one is conditional, on {context.dim} numbers per row, "
            "which are not taken there. The methods of ExportedFlow in Python take them."
        )


def _end(ends: object, name: str, dim: int, place: str) -> Array:
    """Return one end of the range; raise ValueError that names the place where it is none."""
    found = ends.get(name) if isinstance(ends, Mapping) else None
    if not isinstance(found, list) or len(found) != dim or not all(type(number) in (int, float) for number in found):
        raise ValueError(place)
    end = np.array(found, dtype=np.float64)
    if not np.isfinite(end).all():
        raise ValueError(place)
    return end
