"""The latents of a set of rows beside the standard normal that they should be."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.diagnostics.moments import Moments, gaussian_gap
from lunet_export.diagnostics.rows import BATCH

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Latents:
    """These are moments of z (N, D). N rows of N(0, I) itself would have a gap of about `gap_by_chance`, not 0.

    skewness and excess_kurtosis are root mean squares over the dimensions and 0 for a Gaussian; recalibration does not
    change them.
    """

    rows: int
    gap_nats: float  # G, the gain of `recalibrate`; infinite with no more rows than dimensions
    gap_by_chance: float  # nats
    largest_mean: float  # largest absolute mean over the dimensions
    smallest_std: float
    largest_std: float
    skewness: float
    excess_kurtosis: float

    @classmethod
    def of(cls, z: Array) -> Self:
        """Return the moments of latents (N, D).

        2 N G is the likelihood ratio statistic of N(0, I) against N(m, C), so about chi-squared with k = D (D + 3) / 2
        degrees of freedom; gap_by_chance is its mean and three deviations, (k + 3 sqrt(2 k)) / (2 N).
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
