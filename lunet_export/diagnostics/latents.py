"""What the latents of a set of rows look like beside the standard normal they should be."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.diagnostics.moments import Moments, gaussian_gap
from lunet_export.diagnostics.rows import BATCH

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Latents:
    """Moments of z (N, D). Of N(0, I) itself, N rows would show about `gap_by_chance` instead of no gap at all.

    skewness and excess_kurtosis are root mean squares over the dimensions, 0 for a Gaussian: what no recalibration
    mends.
    """

    rows: int
    gap_nats: float  # G, what `recalibrate` would gain; infinite with no more rows than dimensions
    gap_by_chance: float  # nats
    largest_mean: float  # of the absolute means over the dimensions
    smallest_std: float
    largest_std: float
    skewness: float
    excess_kurtosis: float

    @classmethod
    def of(cls, z: Array) -> Self:
        """Of latents (N, D).

        2 N G is the likelihood ratio statistic of N(0, I) against N(m, C), so about chi-squared with
        k = D (D + 3) / 2 degrees of freedom; gap_by_chance is its mean and three deviations, (k + 3 sqrt(2 k)) / (2 N).
        """
        (n, dim), starts = z.shape, range(0, len(z), BATCH)
        moments = Moments(dim)
        for start in starts:
            moments.add(z[start : start + BATCH])
        std = np.sqrt(np.diag(moments.covariance))
        third, fourth = np.zeros((2, dim))
        for start in starts:
            scaled = (z[start : start + BATCH] - moments.mean) / np.where(std > 0, std, 1.0)
            square = scaled * scaled
            third, fourth = third + (square * scaled).sum(axis=0), fourth + (square * square).sum(axis=0)
        freedom = dim * (dim + 3) / 2
        return cls(
            rows=n,
            gap_nats=gaussian_gap(moments) if n > dim else float("inf"),
            gap_by_chance=float((freedom + 3 * np.sqrt(2 * freedom)) / (2 * n)),
            largest_mean=float(np.abs(moments.mean).max()),
            smallest_std=float(std.min()),
            largest_std=float(std.max()),
            skewness=_rms(third / n),
            excess_kurtosis=_rms(fourth / n - 3),
        )


def _rms(values: Array) -> float:
    return float(np.sqrt((values**2).mean()))
