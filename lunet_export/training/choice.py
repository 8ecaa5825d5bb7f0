"""Choice between two models: the simpler one is kept unless rows that neither was trained on favour the other."""

from dataclasses import dataclass, replace
from math import inf, sqrt
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import stdtrit

from lunet_export.data import Contexts
from lunet_export.training.gaussian import RIDGE, Gaussian

Array = NDArray[np.float64]

_CHANCE = 0.05  # probability, per test, that a model which is no better counts as better
_NEAR = 4  # most dimensions in which the nearest row is near enough to tell how far the next may lie


@dataclass(frozen=True)
class Evidence:
    """This evidence says what a model gains over a simpler one on some rows, in nats per row.

    The rows are the same for both, so the differences d_i = log p(x_i) - log q(x_i) are tested in pairs.

    Attributes:
        gain: Mean of d.
        error: Standard error of that mean, s / sqrt(N); None for a single row, which tells nothing of chance.
        rows: Number of rows N.
    """

    gain: float
    error: float | None
    rows: int

    @classmethod
    def of(cls, model: Array, simpler: Array) -> Self:
        """Return the evidence in the log-densities of N rows under a model and a simpler one, (N,) each in nats."""
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # a row that the model excludes has -inf, which convinces of nothing
            difference = model - simpler
            rows = len(difference)
            error = float(difference.std(ddof=1)) / sqrt(rows) if rows > 1 else None
            return cls(float(difference.mean()), error, rows)

    @property
    def negated(self) -> Self:
        """Return the evidence for the simpler model."""
        return replace(self, gain=-self.gain)

    @property
    def least(self) -> float:
        """Return the smallest gain that these rows tell from chance, in nats per row: Student's t at 5 %, one-sided."""
        return inf if self.error is None else float(stdtrit(self.rows - 1, 1 - _CHANCE)) * self.error

    @property
    def convinces(self) -> bool:
        """Return whether the model is better by more than chance."""
        return self.gain > self.least


class Comparison:
    """This comparison holds the validation rows and, for vectors in up to 4-D, reflections of the training rows.

    A tenth of few rows cannot tell a good model from one whose density falls to nothing just beside the training rows:
    one row in a hundred lies there, and costs such a model thousands of nats. So each training row x_i adds another
    that might have been drawn, x_i + (x_i - x_j) with x_j its nearest neighbour: as far from x_i as rows lie apart
    there, and outside all of them where x_i is an extreme one. Distances are measured in the coordinates that the
    Gaussian whitens.

    Args:
        gaussian: Gaussian of the training rows.
        train: Training rows (N, D) in data space.
        valid: Validation rows (M, D) in data space.
        contexts: Contexts of the rows. They count as columns where the nearest neighbour is looked for; a reflected row
            keeps the context of x_i, and the Gaussian's mean moves with it.
    """

    def __init__(self, gaussian: Gaussian, train: Array, valid: Array, contexts: Contexts | None = None) -> None:
        self._valid, self._ridge = len(valid), RIDGE * train.shape[1]
        columns = train.shape[1] + (contexts.dim if contexts else 0)
        reflect = gaussian.preprocessing is None and columns <= _NEAR
        self.rows: Array = np.concatenate([valid, _reflected(gaussian, train, contexts)]) if reflect else valid
        self.contexts: Array | None = None
        if contexts:
            self.contexts = np.concatenate([contexts.valid, contexts.train]) if reflect else contexts.valid

    def evidence(self, model: Array, simpler: Array) -> Evidence:
        """Return the evidence of the validation rows alone, from log-densities of `rows` in nats, (M + N,) or (M,)."""
        return Evidence.of(model[: self._valid], simpler[: self._valid])

    def prefers(self, model: Array, simpler: Array, *, optimism: float = 0.0) -> bool:
        """Return whether a model takes the place of a simpler one.

        It must gain on all rows together, by more than the Gaussian loses by its ridge. And either the validation rows
        alone must convince, or all rows together must while the validation rows do not say the contrary. (Beyond a hard
        border of the data no row is drawn, but some are reflected there, and a good model gives them little density:
        they make the error large and the gain smaller, so the model may convince without them.)

        Args:
            model: Log-densities of `rows` under the model in nats, (M + N,) or (M,).
            simpler: Log-densities of the same rows under the simpler one.
            optimism: Nats per row by which the model is expected to be better on the training rows by chance, and so on
                their reflections, which lie beside them; it is subtracted there.
        """
        taken_off = np.concatenate([model[: self._valid], model[self._valid :] - optimism])
        together, alone = Evidence.of(taken_off, simpler), self.evidence(model, simpler)
        convinces = alone.convinces or (together.convinces and not alone.negated.convinces)
        return convinces and together.gain > self._ridge


def _reflected(gaussian: Gaussian, train: Array, contexts: Contexts | None) -> Array:
    """Return 2 x_i - x_j for every row x_i and its nearest other row x_j, (N, D)."""
    left = gaussian.without_context(train, None if contexts is None else contexts.train)
    white = (left - gaussian.mean) @ gaussian.whiten.T
    if contexts and gaussian.context:
        white = np.concatenate([white, gaussian.context.seen(contexts.train)], axis=1)
    nearest = cKDTree(white).query(white, k=2)[1][:, 1]
    return train + left - left[nearest]
