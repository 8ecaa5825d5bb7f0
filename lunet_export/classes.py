"""Classes by number, with a name and a prior each: those of a mixture, or those that the context of a flow names."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, isfinite
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import BadInputError, CheckpointError, brief
from lunet_export.scalars import whole

Array = NDArray[np.float64]

_PRIOR_ERROR = 1e-9  # tolerance of their sum, far above float64 quotients of counts


@dataclass(frozen=True)
class Classes:
    """The classes 0 .. K - 1: their names, and their priors pi_k, the shares of the training rows.

    Raises:
        CheckpointError: as `validate_classes` does.
    """

    names: tuple[str, ...]
    priors: tuple[float, ...]

    def __post_init__(self) -> None:
        validate_classes(self.names, self.priors)

    @classmethod
    def counted(cls, names: tuple[str, ...], numbers: NDArray[np.integer]) -> Self:
        """Return classes whose priors are their shares of the rows with these class numbers, (N,).

        Raises:
            CheckpointError: as `validate_classes` does, as where a class has no row.
        """
        counts = np.bincount(numbers, minlength=len(names))
        return cls(names, tuple(float(count) / len(numbers) for count in counts))

    def number(self, label: int | str) -> int:
        """Return the number of a class, given by its name or its number, Python's or NumPy's.

        Raises:
            BadInputError: if there is no such class, as for True and 1.0.
        """
        wanted = f"a class of 0 .. {len(self.names) - 1} or one of {brief(', '.join(self.names), 200)}"
        if not isinstance(label, str):
            return whole(label, wanted, least=0, most=len(self.names) - 1)
        if label in self.names:
            return self.names.index(label)
        number = int(label) if label.isdecimal() and len(label) < 10 else -1
        if not 0 <= number < len(self.names):
            raise BadInputError(f"Expected {wanted}; got {brief(label)}.")
        return number

    def contexts(self, numbers: NDArray[np.integer]) -> Array:
        """Return the contexts that name classes by number: 1 in the place of the class, else 0, (N,) -> (N, K)."""
        return (np.asarray(numbers)[:, None] == np.arange(len(self.names))).astype(np.float64)

    def named(self, contexts: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return for every context (N, K) whether it names a class, (N,)."""
        found: NDArray[np.bool_] = ((contexts == 1).sum(axis=1) == 1) & ((contexts != 0).sum(axis=1) == 1)
        return found

    def to_json(self) -> list[dict[str, Any]]:
        """Return a list, by number, of `name` and `prior`."""
        return [{"name": name, "prior": prior} for name, prior in zip(self.names, self.priors, strict=True)]

    @classmethod
    def from_json(cls, value: object, dim: int, place: str) -> Self | None:
        """Return the K = `dim` classes that `to_json` described; None of None.

        Raises:
            ValueError: whose text is the place, if it is no list of so many classes.
        """
        if value is None:
            return None
        try:
            if not isinstance(value, list) or len(value) != dim:
                raise ValueError
            return cls(tuple(entry["name"] for entry in value), tuple(entry["prior"] for entry in value))
        except (LookupError, TypeError, ValueError, BadInputError, CheckpointError):
            raise ValueError(place) from None


def validate_classes(names: Sequence[str], priors: Sequence[float]) -> None:
    """Raise unless these can be names and priors of classes.

    Raises:
        CheckpointError: if there are fewer than 2 classes, names that are empty or repeat, or priors that are not
            positive or do not sum to 1.
    """
    if len(names) < 2 or len(names) != len(priors):
        raise CheckpointError(
            f"Expected at least 2 classes with a prior each; got {len(names)} names and {len(priors)} priors."
        )
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
        raise CheckpointError(f"Expected a name of its own for every class; got {', '.join(map(repr, names))}.")
    if not all(isinstance(prior, float) and isfinite(prior) and prior > 0 for prior in priors):
        raise CheckpointError(f"Expected positive priors; got {', '.join(map(repr, priors))}. Count the training rows.")
    if abs(fsum(priors) - 1) > _PRIOR_ERROR:
        raise CheckpointError(f"Expected priors that sum to 1; got {fsum(priors)!r}. Divide them by their sum.")
