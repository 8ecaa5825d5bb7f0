"""The lower limit of a negative log-likelihood: the entropy of the data, where it can be known."""

from dataclasses import dataclass
from math import lgamma, log, pi

import numpy as np
from numpy.typing import NDArray

from lunet_export.data import Dataset, toy

Array = NDArray[np.float64]

NEIGHBOUR = 3  # k: smaller values scatter more, larger ones blur the density
LARGEST_DIM = 6  # beyond, the estimate's bias exceeds what it should measure
MOST_ROWS = 10_000
#: An estimate that rises with fewer rows by more than so many standard errors is still too large: where the rows lie
#: along curves or sheets, the neighbours of too few rows are far across these.
_RISE = 2
_CHUNK = 100
_EULER = 0.5772156649015329
#: Measured against known entropies. It is negative, so it hides a wrong constant rather than suggests one.
BIAS = "low by about 0.01 nats in 2-D and 0.04 in 6-D with 20,000 rows, 0.11 in 6-D with 2,000"


@dataclass(frozen=True)
class Entropy:
    """This is h(X) in nats and its basis.

    Attributes:
        nats: h(X).
        method: `known density`, or `k-nearest neighbours`, whose `bias` is then stated.
        rows: Number of rows it is based on.
        bias: Known bias of the method; None if there is none.
        terms: Numbers (n,) whose mean is h(X), one for each of the first n rows.
    """

    nats: float
    method: str
    rows: int
    bias: str | None
    terms: Array


#: Why there is no entropy of rows given contexts that vary.
GIVEN_CONTEXTS = (
    "rows have contexts that vary; the difference of two nearest-neighbour estimates, h(X, C) - h(C), was up to 0.25 "
    "nats too large on rows of known entropy"
)


def of_data(dataset: Dataset, x: Array) -> Entropy | None:
    """Return the entropy of the distribution behind rows x (N, D) of `dataset`; None if it is not available."""
    if dataset.public and dataset.name in toy.DENSITIES:
        terms = -toy.log_density(dataset.name, x)
        return Entropy(float(terms.mean()), "known density", len(x), None, terms)
    return nearest_neighbours(x)


def nearest_neighbours(x: Array) -> Entropy | None:
    """Return Kozachenko and Leonenko's h = psi(N) - psi(k) + log V_D + (D / N) sum_i log r_k(i), in nats.

    r_k(i) is the distance of row i to its k-th neighbour, V_D = pi^(D/2) / Gamma(D/2 + 1) (Problemy Peredachi
    Informatsii 23(2), 1987). Both are of whitened rows, h(X) = h(R X) - log|det R|, so that units and correlations of
    columns do not matter. At most MOST_ROWS rows are used. It is None where `why_unknown` gives a reason.
    """
    terms, reason = _terms(x)
    return None if reason else Entropy(float(terms.mean()), "k-nearest neighbours", len(terms), BIAS, terms)


def why_unknown(x: Array) -> str:
    """Return why the entropy of rows x (N, D) cannot be estimated; empty if it can."""
    return _terms(x)[1]


def _terms(x: Array) -> tuple[Array, str]:
    """Return the terms whose mean is the estimate, or why there are none."""
    rows, dim, none = x[:MOST_ROWS], x.shape[1], np.empty(0)
    if dim > LARGEST_DIM:
        return none, f"{dim} dimensions; nearest neighbours work in at most {LARGEST_DIM}"
    if len(rows) < 2 * (NEIGHBOUR + 1):
        return none, "too few rows"
    try:
        root = np.linalg.cholesky(np.atleast_2d(np.cov(rows, rowvar=False)))
    except np.linalg.LinAlgError:
        return none, "the covariance of the rows is singular"
    white = np.linalg.solve(root, (rows - rows.mean(axis=0)).T).T
    distance = _neighbour_distance(white)
    if not (distance > 0).all():
        return none, "rows repeat each other"
    whole = _log_volumes(distance, dim)
    more = np.empty(len(rows))  # growth of each term if half of the rows are left out
    for half in (slice(0, None, 2), slice(1, None, 2)):
        more[half] = _log_volumes(_neighbour_distance(white[half]), dim) - whole[half]
    if more.mean() > _RISE * more.std() / np.sqrt(len(more)):
        return none, f"nearest neighbours need more rows: half of these give {more.mean():.2g} nats more"
    return whole + np.log(np.diag(root)).sum(), ""


def _log_volumes(distance: Array, dim: int) -> Array:
    """Return psi(N) - psi(k) + log V_D + D log r for each of N rows."""
    volume = dim / 2 * log(pi) - lgamma(dim / 2 + 1)
    return np.asarray(_digamma(len(distance)) - _digamma(NEIGHBOUR) + volume + dim * np.log(distance))


def _neighbour_distance(rows: Array) -> Array:
    """Return the distance of each row to its k-th nearest other row, (N,).

    Rows are sorted by their first column. The k-th nearest of those beside a row bounds the distance, and rows that are
    further away in the first column alone need not be looked at.
    """
    order = np.argsort(rows[:, 0], kind="stable")
    ordered = rows[order]
    first, count, found = ordered[:, 0], len(rows), np.empty(len(rows))
    for start in range(0, count, _CHUNK):
        chunk = ordered[start : start + _CHUNK]
        low, high = max(0, start - _CHUNK), min(count, start + 2 * _CHUNK)
        nearest = _kth_square(chunk, ordered[low:high])
        reach = np.sqrt(nearest) * (1 + 1e-9)  # a margin for rounding
        low = min(low, int(np.searchsorted(first, (chunk[:, 0] - reach).min(), side="left")))
        high = max(high, int(np.searchsorted(first, (chunk[:, 0] + reach).max(), side="right")))
        found[start : start + _CHUNK] = _kth_square(chunk, ordered[low:high])
    result = np.empty(count)
    result[order] = np.sqrt(found)
    return result


def _kth_square(rows: Array, among: Array) -> Array:
    """Return the square of the distance of each row to its k-th nearest other row among some that include it, (n,)."""
    square = np.zeros((len(rows), len(among)))
    for axis in range(rows.shape[1]):
        square += (rows[:, None, axis] - among[None, :, axis]) ** 2
    return np.partition(square, NEIGHBOUR, axis=1)[:, NEIGHBOUR]  # the row itself is 0th


def _digamma(n: int) -> float:
    """Return psi(n) of a whole number: the harmonic number n - 1, minus Euler's constant."""
    return float((1 / np.arange(1, n)).sum()) - _EULER
