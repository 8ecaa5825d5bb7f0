"""The line to beat: the full-covariance Gaussian of the same data, in closed form."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lunet_export import reference
from lunet_export.preprocessing import Logit

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Gaussian:
    """h ~ N(mean, covariance) for the pre-processed rows h. It is what one LU block can represent.

    Shapes: mean (D,), whiten (D, D) upper triangular with whiten covariance whiten^T = I.
    """

    mean: Array
    whiten: Array
    preprocessing: Logit | None

    @classmethod
    def fit(cls, x: Array, preprocessing: Logit | None) -> Self:
        """Maximum likelihood on rows x (N, D) in data space.

        1e-6 of each column's variance is added to it, so that columns which repeat others stay invertible; constant
        columns count with the mean variance.
        """
        h = reference.logit(x, preprocessing)[0] if preprocessing else x
        mean = h.mean(axis=0)
        covariance = (h - mean).T @ (h - mean) / len(h)
        variance = np.diag(covariance)
        covariance += 1e-6 * np.diag(np.where(variance > 0, variance, max(variance.mean(), 1e-12)))
        # covariance^-1 = G G^T with G lower, so G^T is upper and whitens.
        root = np.linalg.cholesky(np.linalg.inv(covariance))
        return cls(mean, root.T.copy(), preprocessing)

    def log_prob(self, x: Array) -> Array:
        """log p(x) in nats and data space, (N, D) -> (N,)."""
        h, log_det = reference.logit(x, self.preprocessing) if self.preprocessing else (x, np.zeros(len(x)))
        z = (h - self.mean) @ self.whiten.T
        return reference.standard_normal_log_prob(z) + log_det + np.log(np.diag(self.whiten)).sum()
