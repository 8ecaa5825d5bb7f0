"""Histograms that keep the scale of a density if values lie outside their window."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Histogram:
    """This histogram has edges (B + 1,) and density (B,), which integrates to 1 - outside, the share not shown."""

    edges: Array
    density: Array
    outside: float

    @classmethod
    def of(cls, values: Array, low: float, high: float, *, bins: int) -> Self:
        """Return the histogram of values of any shape, in equal bins over [low, high]."""
        counts, edges = np.histogram(values, bins=bins, range=(low, high))
        return cls(edges, counts / (values.size * (edges[1] - edges[0])), 1 - counts.sum() / values.size)
