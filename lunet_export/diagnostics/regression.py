"""What an affine map of their contexts tells of rows, in closed form from the moments of both."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.diagnostics.moments import SMALLEST_SHARE, Moments
from lunet_export.diagnostics.rows import BATCH

Array = NDArray[np.float64]

_CONSTANT = 1e-12  # ratio of a column's standard deviation to its mean up to which it is constant


@dataclass(frozen=True)
class Regression:
    """This is the least-squares fit of rows x by an affine map of contexts c, mean + slope (c - centre).

    Shapes: slope (D, C), centre (C,). Of contexts that follow from each other it is the smallest slope, each column in
    units of its standard deviation; that of a constant column is 0.
    """

    slope: Array
    centre: Array

    @classmethod
    def of(cls, joint: Moments, dim: int) -> Self:
        """Return the map for rows (x, c), of which the first `dim` columns are x."""
        covariance, centre = joint.covariance, joint.mean[dim:]
        deviation = np.sqrt(np.diag(covariance)[dim:])
        varies = deviation > _CONSTANT * np.abs(centre)
        scale = np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0)
        inverse = np.linalg.pinv(scale[:, None] * covariance[dim:, dim:] * scale, rcond=SMALLEST_SHARE, hermitian=True)
        return cls(covariance[:dim, dim:] * scale @ inverse * scale, centre)

    def left(self, joint: Moments) -> Moments:
        """Return the moments of x - slope (c - centre) for rows (x, c)."""
        dim = len(self.slope)
        return joint.mapped(np.hstack([np.eye(dim), -self.slope]), self.slope @ self.centre)


@dataclass(frozen=True)
class Dependence:
    """This is how much an affine map of the contexts tells of latents: 0 for those of the density that rows come from.

    Attributes:
        context: Number of dimensions C of the context.
        nats: 1/2 log(det S / det S_c) for the covariance S of the latents and S_c of what the map leaves: the mutual
            information of latents and contexts, if both are jointly normal.
        by_chance: What N rows have without any dependence, about.
    """

    context: int
    nats: float
    by_chance: float

    @classmethod
    def of(cls, z: Array, contexts: Array) -> Self:
        """Return the dependence of latents z (N, D) on contexts (N, C).

        2 N nats is a likelihood ratio statistic, so without a dependence about chi-squared with k = D C degrees of
        freedom; by_chance is its mean and three deviations, (k + 3 sqrt(2 k)) / (2 N).
        """
        (rows, dim), count = z.shape, contexts.shape[1]
        joint = Moments(dim + count)
        for start in range(0, rows, BATCH):
            batch = slice(start, start + BATCH)
            joint.add(np.hstack([z[batch], contexts[batch]]))
        alone, left = joint.mapped(np.eye(dim, dim + count), np.zeros(dim)), Regression.of(joint, dim).left(joint)
        nats = 0.5 * (_log_det(alone) - _log_det(left))
        return cls(count, nats, float((dim * count + 3 * np.sqrt(2 * dim * count)) / (2 * rows)))


def _log_det(moments: Moments) -> float:
    return float(np.linalg.slogdet(moments.covariance)[1])
