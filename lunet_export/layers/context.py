"""What the context of a conditional flow is, and what its layers see of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import BadInputError, CheckpointError
from lunet_export.layers import networks
from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.networks import Network

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Context:
    """A context c is a row of `dim` numbers; layers see n(c), or c itself where the network n is empty.

    n is computed once per row of contexts, whatever the number of layers: a standardisation, an embedding, or both.

    Attributes:
        dim: Number of dimensions C.
        network: The network n.
        low: Least number of each column in training, (C,); None where it is not known.
        high: Largest number of each column in training, (C,).
    """

    dim: int
    network: Network = ()
    low: Array | None = None
    high: Array | None = None

    def seen(self, context: Array, errors: Errors = EXACT) -> Array:
        """Return what layers see of contexts, (N, C) -> (N, K)."""
        return networks.apply(self.network, context, errors)

    def matched(self, context: Array | None, rows: int) -> Array:
        """Return one context per row, (N, C), from one for each or one for all, (C,) or (1, C).

        Raises:
            BadInputError: if there is none, or it has another shape.
        """
        expected = f"Expected a context of shape ({self.dim},) or ({rows}, {self.dim}) for {rows} rows"
        if context is None:
            raise BadInputError(f"{expected}; got none.")
        found = np.atleast_2d(np.asarray(context, dtype=np.float64))
        if found.ndim != 2 or found.shape[1] != self.dim or len(found) not in (1, rows):
            raise BadInputError(f"{expected}; got shape {np.shape(context)}.")
        return np.broadcast_to(found, (rows, self.dim))

    def beyond(self, context: Array) -> NDArray[np.bool_]:
        """Return for every row (N, C) whether a number lies outside what training saw, (N,)."""
        if self.low is None or self.high is None:
            return np.zeros(len(context), dtype=np.bool_)
        found: NDArray[np.bool_] = np.any((context < self.low) | (context > self.high), axis=1)
        return found

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

    def arrays(self) -> list[Array]:
        """Return all arrays, in a fixed order."""
        return [*networks.arrays(self.network), *(end for end in (self.low, self.high) if end is not None)]

    @property
    def word(self) -> str:
        """Return what the arrays do not tell."""
        return f"context dim={self.dim} network={networks.shape(self.network)} range={self.low is not None}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values and arrays by name, for a model file."""
        ends = {} if self.low is None else {"low": self.low, "high": self.high}
        return {"dim": self.dim, "network": [operation.to_dict() for operation in self.network], **ends}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """Return the context that `to_dict` described.

        Raises:
            LookupError, TypeError, ValueError: if a field is missing or of another type.
        """
        return cls(entry["dim"], networks.from_list(entry["network"]), entry.get("low"), entry.get("high"))
