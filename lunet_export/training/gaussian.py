"""The baseline: the full-covariance Gaussian of the same data, in closed form."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks import reference
from lunet_export.preprocessing import Logit, logit

Array = NDArray[np.float64]

#: Share of each column's variance that is added to it. It costs the Gaussian at most half as many nats per dimension.
RIDGE = 1e-6


@dataclass(frozen=True)
class Gaussian:
    """This is the Gaussian h ~ N(mean, covariance) of the pre-processed rows h, which one LU block can represent.

    Shapes: mean (D,), whiten (D, D) upper triangular with whiten covariance whiten^T = I.
    """

    mean: Array
    whiten: Array
    preprocessing: Logit | None

    @classmethod
    def fit(cls, x: Array, preprocessing: Logit | None) -> Self:
        """Fit the Gaussian by maximum likelihood to rows x (N, D) in data space."""
        h = logit(x, preprocessing)[0] if preprocessing else x
        mean = h.mean(axis=0)
        return cls(mean, whitening_root((h - mean).T @ (h - mean) / len(h)), preprocessing)

    def log_prob(self, x: Array) -> Array:
        """Return log p(x) in nats and data space, (N, D) -> (N,)."""
        h, log_det = logit(x, self.preprocessing) if self.preprocessing else (x, np.zeros(len(x)))
        z = (h - self.mean) @ self.whiten.T
        return reference.standard_normal_log_prob(z) + log_det + np.log(np.diag(self.whiten)).sum()

    def deviations(self) -> Array:
        """Return the standard deviation of each column of h, (D,)."""
        return np.sqrt((np.linalg.inv(self.whiten) ** 2).sum(axis=1))


def whitening_root(covariance: Array) -> Array:
    """Return the upper triangular R with R C R^T = I and a positive diagonal, (D, D) -> (D, D).

    `RIDGE` of each column's variance is added to it, so that columns which repeat others stay invertible; constant
    columns count with the mean variance.
    """
    variance = np.diag(covariance)
    ridge = RIDGE * np.where(variance > 0, variance, max(variance.mean(), 1e-12))
    # C^-1 = G G^T with G lower, so G^T is upper and whitens.
    return np.linalg.cholesky(np.linalg.inv(covariance + np.diag(ridge))).T.copy()
