"""Where a density is defined: a box of rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Domain:
    """A domain holds the rows with low < x < high in every column, or low <= x <= high where `closed`.

    A density may be constant near its border, as that of a logit with a margin is: samples then lie between `least` and
    `most`, the ends of a smaller box.

    Shapes: (D,) each, -infinity and infinity where there is no border.
    """

    low: Array
    high: Array
    closed: bool
    least: Array | None = None  # None: low
    most: Array | None = None  # None: high

    @property
    def bounded(self) -> bool:
        """Return whether there is a border."""
        return bool(np.isfinite(self.low).any() or np.isfinite(self.high).any())

    def contains(self, x: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return, for every number of rows (N, D), whether it is inside."""
        if self.closed:
            return (x >= self.low) & (x <= self.high)
        return (x > self.low) & (x < self.high)

    def ends(self, dtype: "np.dtype[Any]") -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return the least and the largest number of `dtype` that samples may have, (D,) each; both are inside.

        The ends of an open domain are not denormal.
        """
        least, most = self.low if self.least is None else self.least, self.high if self.most is None else self.most
        down, up = np.full_like(least, -np.inf, dtype=dtype), np.full_like(most, np.inf, dtype=dtype)
        with np.errstate(over="ignore"):
            low, high = least.astype(dtype), most.astype(dtype)
        beyond, above = (np.less, np.greater) if self.closed else (np.less_equal, np.greater_equal)
        low = np.where(beyond(low.astype(np.float64), least), np.nextafter(low, up), low)
        high = np.where(above(high.astype(np.float64), most), np.nextafter(high, down), high)
        if not self.closed:
            tiny = np.finfo(dtype).tiny
            low, high = (np.where((end != 0) & (np.abs(end) < tiny), np.sign(end) * tiny, end) for end in (low, high))
        return np.where(np.isinf(least), down, low).astype(dtype), np.where(np.isinf(most), up, high).astype(dtype)

    def clip(self, x: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return x moved inside, as a graph of its dtype gives it."""
        return np.clip(x, *self.ends(x.dtype))

    def to_json(self) -> dict[str, Any]:
        """Return plain values; null stands for no border."""

        def plain(values: Array) -> list[float | None]:
            return [float(value) if np.isfinite(value) else None for value in values]

        return {"low": plain(self.low), "high": plain(self.high), "closed": self.closed}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], dim: int) -> Self:
        """Return the domain that `to_json` described.

        Raises:
            KeyError, TypeError, ValueError: if the document describes no domain of `dim` columns.
        """

        def borders(name: str, without: float) -> Array:
            values = [without if value is None else value for value in document[name]]
            if len(values) != dim or not all(isinstance(value, float) and value == value for value in values):
                raise ValueError("model.domain")
            return np.array(values)

        domain = cls(borders("low", -np.inf), borders("high", np.inf), document["closed"])
        if type(domain.closed) is not bool or not (domain.low < domain.high).all():
            raise ValueError("model.domain")
        return domain
