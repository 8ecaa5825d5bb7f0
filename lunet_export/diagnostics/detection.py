"""Out-of-distribution detection: can log p(x) tell a model's data from other data?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lunet_export.data import Dataset
from lunet_export.diagnostics import rows
from lunet_export.layers import Context
from lunet_export.preprocessing import Logit

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Detection:
    """This compares test rows of the model's data with those of another set, by one number per row.

    Attributes:
        dataset: Name of the model's data.
        against: Name of the other data.
        rows: Number of test rows of the model's data.
        rows_against: Number of test rows of the other data.
        auroc: P(log p(x) > log p(y)) for a row x of the data and y of the other, ties count half. Guessing gives 1/2;
            below it, the model finds the other data likelier than its own, as flows on images often do (Nalisnick et
            al. 2019, arXiv 1810.09136).
        typicality: The same for -|log p - mean log p of the data's test rows|, which is low also for rows that are too
            likely (Nalisnick et al. 2019, arXiv 1906.02994, with batches of one row).
        nats: Mean log p of the data's test rows.
        nats_against: Mean log p of the other data's test rows.
    """

    dataset: str
    against: str
    rows: int
    rows_against: int
    auroc: float
    typicality: float
    nats: float  # mean log p of the data's test rows
    nats_against: float


def auroc(inside: Array, outside: Array) -> float:
    """Return P(a > b) + P(a = b) / 2 for a in `inside` (N,) and b in `outside` (M,): the area under the ROC curve."""
    ordered = np.sort(outside)
    below = np.searchsorted(ordered, inside, side="left") + np.searchsorted(ordered, inside, side="right")
    return float(below.mean() / (2 * len(outside)))


def detect(
    log_prob: Callable[[Array, Array | None], Array],
    inside: Array,
    dataset: Dataset,
    against: Dataset,
    preprocessing: Logit | None,
    *,
    seed: int,
    on_rows: Callable[[int], None],
    context: Context | None = None,
) -> Detection:
    """Compare log p of the data's test rows, `inside` (N,), with that of the test rows of `against`.

    Args:
        log_prob: Function from rows in data space (N, D), and their contexts if they have any, to log p (N,) in nats.
        inside: Its values on the test rows of `dataset`.
        dataset: The model's data.
        against: Other rows of the same kind.
        preprocessing: Pre-processing of the model.
        seed: Random seed of the dequantization noise.
        on_rows: Function called with the number of rows after each batch.
        context: Context of a conditional model.

    Raises:
        DataError: if the rows are of another kind than the model's.
    """
    rows.validate_rows(against, preprocessing, dataset.dim, context)
    outside = np.concatenate(
        list(rows.over_batches(log_prob, against, against.part("test"), seed=seed, draw=rows.TEST, on_rows=on_rows))
    )
    mean = inside.mean()
    return Detection(
        dataset=dataset.name,
        against=against.name,
        rows=len(inside),
        rows_against=len(outside),
        auroc=auroc(inside, outside),
        typicality=auroc(-np.abs(inside - mean), -np.abs(outside - mean)),
        nats=float(mean),
        nats_against=float(outside.mean()),
    )
