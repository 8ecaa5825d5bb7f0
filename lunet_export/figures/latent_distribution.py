"""Latents of test rows beside the standard normal that they should be."""

from collections.abc import Callable
from dataclasses import dataclass
from math import lgamma, log

import numpy as np
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.data import Dataset
from lunet_export.diagnostics.latents import Latents
from lunet_export.diagnostics.rows import TEST, over_batches, validate_rows
from lunet_export.diagnostics.source import Source
from lunet_export.errors import DataError
from lunet_export.figures.histogram import Histogram

Array = NDArray[np.float64]

_NARROWEST, _WIDEST = 4.5, 12.0  # half-width of the window of z
_BINS = 80  # most bins; fewer rows get wider ones
_SHOWN = 1e-5  # share of the entries that may lie outside the window


@dataclass(frozen=True)
class LatentDistribution:
    """This is the distribution of the latents z (N, D) of N test rows.

    Attributes:
        rows: Number of rows N.
        dim: Number of dimensions D.
        entries: Histogram of all N D numbers.
        projections: Histograms of z . u for random unit vectors u.
        projection_stds: Standard deviation of each projection.
        mean_square: Histogram of |z|^2 / D, which for N(0, I) is chi-squared with D degrees of freedom over D.
        mean_of_square: Mean of |z|^2 / D.
        std_of_square: Standard deviation of |z|^2 / D.
        means: Mean of each dimension, (D,); by chance they scatter with 1 / sqrt(N).
        stds: Standard deviation of each dimension, (D,); by chance they scatter with 1 / sqrt(2 N).
        summary: Summary as `diagnose` prints it.
    """

    rows: int
    dim: int
    entries: Histogram
    projections: tuple[Histogram, ...]
    projection_stds: Array
    mean_square: Histogram
    mean_of_square: float
    std_of_square: float
    means: Array
    stds: Array
    summary: Latents


def normal_density(z: Array) -> Array:
    """Return the density of N(0, 1)."""
    return np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)


def mean_square_density(r: Array, dim: int) -> Array:
    """Return the density of |z|^2 / D for z ~ N(0, I) at r > 0: chi-squared over its degrees of freedom, mean 1."""
    half = dim / 2
    return np.exp(half * log(half) - lgamma(half) + (half - 1) * np.log(r) - half * r)


def unit_vectors(n: int, dim: int, *, seed: int) -> Array:
    """Return n random directions, (n, D): the generator's normal rows over their length."""
    u = noise.normal(seed, range(n), dim)
    return u / np.linalg.norm(u, axis=1, keepdims=True)


def latent_distribution(
    source: Source,
    dataset: Dataset,
    *,
    projections: int,
    seed: int,
    on_rows: Callable[[int], None] = lambda n: None,
) -> LatentDistribution:
    """Return the distribution of the latents of the test rows.

    Args:
        source: The model.
        dataset: Its data.
        projections: Number of random directions.
        seed: Random seed of the dequantization noise and of the directions.
        on_rows: Function called with the number of rows after each batch.

    Raises:
        DataError: if the rows are of another kind than the model's, or latents are not finite.
    """
    validate_rows(dataset, source.preprocessing, source.dim, source.context)
    parts = over_batches(
        lambda x, c: source.density(x, context=c)[0],
        dataset,
        dataset.part("test"),
        seed=seed,
        draw=TEST,
        on_rows=on_rows,
    )
    z = np.concatenate(list(parts))
    if not np.isfinite(z).all():
        raise DataError(f"Expected finite latents of {dataset.name}; some are not. Remove its extreme rows.")
    rows, dim = z.shape
    half = float(np.clip(np.quantile(np.abs(z), 1 - _SHOWN), _NARROWEST, _WIDEST))
    along = z @ unit_vectors(projections, dim, seed=seed).T
    square = (z**2).mean(axis=1)
    low, high = _square_window(square, dim)
    return LatentDistribution(
        rows=rows,
        dim=dim,
        entries=Histogram.of(z, -half, half, bins=_bins(z.size)),
        projections=tuple(Histogram.of(column, -4.5, 4.5, bins=_bins(rows)) for column in along.T),
        projection_stds=along.std(axis=0),
        mean_square=Histogram.of(square, low, high, bins=_bins(rows)),
        mean_of_square=float(square.mean()),
        std_of_square=float(square.std()),
        means=z.mean(axis=0),
        stds=z.std(axis=0),
        summary=Latents.of(z),
    )


def _bins(n: int) -> int:
    """Return the number of bins for n values: about their square root."""
    return int(np.clip(np.sqrt(n), 10, _BINS))


def _square_window(square: Array, dim: int) -> tuple[float, float]:
    """Return an interval with the distribution, of deviation sqrt(2 / D) about 1, and 99 % of the rows."""
    low, high = np.quantile(square, [0.002, 0.99])
    deviation = np.sqrt(2 / dim)
    return max(0.0, min(low, 1 - 4 * deviation)), max(high, 1 + 4 * deviation)
