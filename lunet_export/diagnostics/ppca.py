"""The closed forms that need no training: the Gaussian, and probabilistic PCA with q directions.

Let lambda_1 >= ... >= lambda_D be the eigenvalues of the training covariance and t_i the second moment of the rows to
evaluate about the training mean along eigenvector i. In nats per row (Tipping and Bishop, JRSS B 61(3), 1999):

    s_q^2 = mean of lambda_j over j > q,   c_i = lambda_i for i <= q, else s_q^2
    NLL(q) = 1/2 (D log 2 pi + sum_i log c_i + sum_i t_i / c_i),   q = 0 .. D

q = D is the full-covariance Gaussian, 1/2 sum_i log(2 pi e lambda_i) on the training rows: the best that one LU layer,
or any affine flow, can reach, hence an upper bound for a flow that has learnt anything.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.diagnostics.moments import SMALLEST_SHARE, Moments

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """This spectrum is a mean (D,), eigenvalues (D,) from the largest down and their eigenvectors (D, D), in columns.

    `raised` eigenvalues were below SMALLEST_SHARE of the largest and are set to it: the Gaussian's likelihood is
    unbounded there, so no figure that uses them says anything about a model.
    """

    mean: Array
    eigenvalues: Array
    vectors: Array
    raised: int

    @classmethod
    def of(cls, moments: Moments) -> Self:
        """Return the spectrum of the training rows."""
        values, vectors = np.linalg.eigh(moments.covariance)
        values, vectors = values[::-1], vectors[:, ::-1]
        floor = SMALLEST_SHARE * max(values[0], np.finfo(np.float64).tiny / SMALLEST_SHARE)
        return cls(moments.mean, np.maximum(values, floor), vectors, int((values < floor).sum()))

    @property
    def condition(self) -> float:
        """Return the largest over the smallest eigenvalue."""
        return float(self.eigenvalues[0] / self.eigenvalues[-1])

    def curve(self, moments: Moments) -> Array:
        """Return NLL(q) in nats for q = 0 .. D, (D + 1,), of the rows with these moments."""
        dim, values = len(self.mean), self.eigenvalues
        along = ((moments.about(self.mean) @ self.vectors) * self.vectors).sum(axis=0)  # t_i

        def before(terms: Array) -> Array:
            return np.concatenate([[0.0], np.cumsum(terms)])

        def behind(terms: Array) -> Array:
            return np.concatenate([np.cumsum(terms[::-1])[::-1], [0.0]])

        rest = dim - np.arange(dim + 1)
        noise = np.where(rest > 0, behind(values) / np.maximum(rest, 1), 1.0)
        log_det = before(np.log(values)) + rest * np.log(noise)
        return 0.5 * (dim * np.log(2 * np.pi) + log_det + before(along / values) + behind(along) / noise)

    def cost_without_bias(self) -> float:
        """Return 1/2 log(1 + mu^T S^-1 mu) in nats, which b = 0 costs the best affine flow: E x x^T replaces S."""
        along = self.mean @ self.vectors
        return float(0.5 * np.log1p((along**2 / self.eigenvalues).sum()))
