"""The Gaussian part of what training left over, folded into the last block: exactly, and without a gradient step."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lunet_export.checks import reference
from lunet_export.data import Dataset
from lunet_export.diagnostics.moments import Moments, gaussian_gap, is_singular
from lunet_export.diagnostics.rows import TRAIN, over_batches, validate_rows
from lunet_export.errors import DataError
from lunet_export.layers import Chain
from lunet_export.likelihood import bits_per_dim


@dataclass(frozen=True)
class Recalibration:
    """This is what was folded, and by how much the mean negative log-likelihood of the same rows fell."""

    dataset: str
    data: str  # digest of the data set
    rows: int
    seed: int  # seed of the dequantization noise
    gain_nats: float  # G, per row
    gain_bits_per_dim: float


def recalibrate(
    weights: Chain, dataset: Dataset, *, seed: int, on_rows: Callable[[int], None] = lambda n: None
) -> tuple[Chain, Recalibration]:
    """Return the network whose latents of the training rows have mean 0 and covariance I, and what that gained.

    With m and C the moments of z over the training split, the last block becomes z' = W (z - m), W C W^T = I, as
    `Chain.fold_latent` writes it. The mean negative log-likelihood falls by `gaussian_gap` exactly, and N(0, I) becomes
    the distribution to draw from.

    Args:
        weights: The network.
        dataset: Its data; only the training split is used.
        seed: Random seed of the dequantization noise.
        on_rows: Function called with the number of rows after each batch.

    Raises:
        DataError: if the rows are of another kind, or the covariance has no inverse: too few rows, or constant latents.
    """
    validate_rows(dataset, weights.preprocessing, weights.dim, weights.context)
    if len(dataset.train) <= weights.dim:
        raise DataError(
            f"Expected more than {weights.dim} training rows, or their latent covariance has no inverse; "
            f"{dataset.name} has {len(dataset.train)}. Give more data."
        )
    moments = Moments(weights.dim)
    latents = over_batches(
        lambda x, c: reference.encode(weights, x, c)[0],
        dataset,
        dataset.part("train"),
        seed=seed,
        draw=TRAIN,
        on_rows=on_rows,
    )
    for z in latents:
        moments.add(z)
    if not np.isfinite(moments.covariance).all():
        raise DataError(f"Expected finite latents of {dataset.name}; some are not. Remove its extreme rows.")
    eigenvalues = moments.eigenvalues()
    if is_singular(eigenvalues):
        raise DataError(
            f"Expected latents that vary in every direction; those of {dataset.name} have variances from "
            f"{max(eigenvalues[0], 0.0):.1e} to {eigenvalues[-1]:.1e}. Remove constant or repeated columns, "
            "then train again."
        )
    gain = gaussian_gap(moments)
    bits = float(bits_per_dim(np.array(-gain), weights.dim))
    note = Recalibration(dataset.name, dataset.digest(), moments.count, seed, gain, bits)
    return weights.fold_latent(moments.mean, moments.covariance), note


def with_note(training: Mapping[str, Any], done: Recalibration) -> dict[str, Any]:
    """Add the recalibration to the list `recalibrated` of a training record, whose figures were measured before."""
    return {**training, "recalibrated": [*training.get("recalibrated", []), asdict(done)]}
