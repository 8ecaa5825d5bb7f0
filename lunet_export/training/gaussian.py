"""The baseline, in closed form: the full-covariance Gaussian of the same data.

If rows have contexts, it is the linear Gaussian: the mean is an affine map of the context.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks import reference
from lunet_export.columns import usable
from lunet_export.data import Contexts, Dataset
from lunet_export.layers import Context
from lunet_export.layers.networks import Scaling
from lunet_export.preprocessing import Logit, logit

Array = NDArray[np.float64]

#: Share of each column's variance that is added to it. It costs the Gaussian at most half as many nats per dimension.
RIDGE = 1e-6
#: Ratio of a column's standard deviation to its largest number up to which it is constant.
CONSTANT = 1e-12
#: What the baseline is called; with contexts, the other.
BASELINE, CONDITIONAL_BASELINE = "full-covariance Gaussian", "linear Gaussian"


@dataclass(frozen=True)
class Gaussian:
    """This is the Gaussian h ~ N(mean, covariance) of the pre-processed rows h, which one LU block can represent.

    With contexts c it is h | c ~ N(mean + slope n(c), covariance), with n(c) of mean 0 and variance 1 in training.

    Shapes: mean (D,), whiten (D, D) upper triangular with whiten covariance whiten^T = I, slope (D, C).
    """

    mean: Array
    whiten: Array
    preprocessing: Logit | None
    context: Context | None = None  # its network is n
    slope: Array | None = None

    @classmethod
    def fit(cls, x: Array, preprocessing: Logit | None, contexts: Contexts | None = None) -> Self:
        """Fit the Gaussian by maximum likelihood to rows x (N, D) in data space, with their contexts if they have any.

        If contexts follow from each other, the slope is the smallest of all that fit equally.
        """
        h = logit(x, preprocessing)[0] if preprocessing else x
        mean = h.mean(axis=0)
        if contexts is None:
            return cls(mean, whitening_root((h - mean).T @ (h - mean) / len(h)), preprocessing)
        context = standardised(contexts)
        seen = context.seen(contexts.train)
        slope = np.linalg.lstsq(seen, h - mean, rcond=None)[0].T
        left = h - mean - seen @ slope.T
        return cls(mean, whitening_root(left.T @ left / len(h)), preprocessing, context, slope)

    def log_prob(self, x: Array, contexts: Array | None = None) -> Array:
        """Return log p(x) in nats and data space, or log p(x | c), (N, D) -> (N,)."""
        h, log_det = logit(x, self.preprocessing) if self.preprocessing else (x, np.zeros(len(x)))
        z = (self._left(h, contexts) - self.mean) @ self.whiten.T
        return reference.standard_normal_log_prob(z) + log_det + np.log(np.diag(self.whiten)).sum()

    def without_context(self, x: Array, contexts: Array | None) -> Array:
        """Return h - slope n(c), pre-processed rows of which the Gaussian is N(mean, covariance), (N, D) -> (N, D)."""
        return self._left(logit(x, self.preprocessing)[0] if self.preprocessing else x, contexts)

    def _left(self, h: Array, contexts: Array | None) -> Array:
        if self.context is None or self.slope is None:
            return h
        return h - self.context.seen(self.context.matched(contexts, len(h))) @ self.slope.T

    def deviations(self) -> Array:
        """Return the standard deviation of each column of h, (D,)."""
        return np.sqrt((np.linalg.inv(self.whiten) ** 2).sum(axis=1))


def standardised(contexts: Contexts) -> Context:
    """Return the context of a model of these rows: layers see training contexts of mean 0 and variance 1.

    A constant column is seen as 0.
    """
    train = contexts.train
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    varies = deviation > CONSTANT * np.abs(train).max(axis=0)
    scale = np.where(varies, 1 / np.where(varies, deviation, 1.0), 1.0)
    network, names = (Scaling(scale, -mean * scale),), usable(contexts.names)
    return Context(contexts.dim, network, train.min(axis=0), train.max(axis=0), names, contexts.classes)


def whitening_root(covariance: Array) -> Array:
    """Return the upper triangular R with R C R^T = I and a positive diagonal, (D, D) -> (D, D).

    `RIDGE` of each column's variance is added to it, so that columns which repeat others stay invertible; constant
    columns count with the mean variance.
    """
    variance = np.diag(covariance)
    ridge = RIDGE * np.where(variance > 0, variance, max(variance.mean(), 1e-12))
    # C^-1 = G G^T with G lower, so G^T is upper and whitens.
    return np.linalg.cholesky(np.linalg.inv(covariance + np.diag(ridge))).T.copy()


def baseline_of(data: Dataset) -> str:
    """Return what the baseline of these rows is called."""
    return CONDITIONAL_BASELINE if data.contexts else BASELINE
