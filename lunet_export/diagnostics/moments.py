"""Mean and covariance of rows that come in batches, and the gap between a Gaussian with these moments and N(0, I)."""

from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Eigenvalues of a covariance below this share of the largest are rounding, not variance.
SMALLEST_SHARE = 1e-12


class Moments:
    """These are the mean (D,) and the maximum-likelihood covariance (D, D) of all rows added so far.

    Two batches merge without cancellation: scatter = scatter_1 + scatter_2 + (n_1 n_2 / n) d d^T, where d is the
    difference of their means (Chan, Golub and LeVeque, The American Statistician 37(3), 1983).
    """

    def __init__(self, dim: int) -> None:
        self.count, self.mean, self._scatter = 0, np.zeros(dim), np.zeros((dim, dim))

    @classmethod
    def of(cls, rows: Array) -> Self:
        """Return the moments of rows (N, D)."""
        moments = cls(rows.shape[1])
        moments.add(rows)
        return moments

    def add(self, rows: Array) -> None:
        """Add rows (n, D), n >= 1."""
        mean, total = rows.mean(axis=0), self.count + len(rows)
        centred, step = rows - mean, mean - self.mean
        self._scatter += centred.T @ centred + np.outer(step, step) * (self.count * len(rows) / total)
        self.mean = self.mean + step * (len(rows) / total)
        self.count = total

    def mapped(self, matrix: Array, shift: Array) -> Self:
        """Return the moments of matrix x + shift for all rows x: mean M m + b, covariance M C M^T."""
        found = type(self)(len(matrix))
        found.count, found.mean = self.count, matrix @ self.mean + shift
        found._scatter = matrix @ self._scatter @ matrix.T
        return found

    @property
    def covariance(self) -> Array:
        """Return E (x - mean)(x - mean)^T, (D, D)."""
        return self._scatter / self.count

    def eigenvalues(self) -> Array:
        """Return the eigenvalues of the covariance, from the smallest up, (D,)."""
        return np.linalg.eigvalsh(self.covariance).astype(np.float64)

    def about(self, point: Array) -> Array:
        """Return E (x - point)(x - point)^T, (D, D)."""
        return self.covariance + np.outer(self.mean - point, self.mean - point)


def is_singular(eigenvalues: Array) -> bool:
    """Return whether some direction of a covariance with these eigenvalues has no variance but rounding."""
    return bool(eigenvalues.min() <= SMALLEST_SHARE * eigenvalues.max())


def gaussian_gap(moments: Moments) -> float:
    """Return G = KL(N(m, C) || N(0, I)) = 1/2 (tr C + |m|^2 - D - log det C) in nats; infinite for a singular C.

    For the latents z = f(x) of a flow f, `Chain.fold_latent` lowers the mean negative log-likelihood of the same rows
    by G: KL(q || N(0, I)) = KL(q || N(m, C)) + G for every distribution q with these moments.
    """
    eigenvalues = moments.eigenvalues()
    if is_singular(eigenvalues):
        return float("inf")
    # t - 1 - log t without cancellation near t = 1.
    return float(0.5 * ((eigenvalues - 1 - np.log(eigenvalues)).sum() + moments.mean @ moments.mean))
