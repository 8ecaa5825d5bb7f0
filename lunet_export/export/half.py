"""The limits of float16 products: measured at export, and kept."""

import numpy as np

from lunet_export.errors import CheckFailedError
from lunet_export.runtime import ExportedFlow
from lunet_export.vectors import Vectors

LARGEST_LOG_PROB = 0.01  # nats/dim
LARGEST_GREY = 0.5  # grey levels
LARGEST_SHARE = 0.01  # of the samples' standard deviation, for data that has no grey levels


def measure(flow: ExportedFlow, vectors: Vectors) -> dict[str, float]:
    """Largest errors on the test vectors: nats/dim in log_prob, grey levels (or standard deviations) in x.

    x is judged on z from N(0, I), not on its far tails.

    Raises:
        CheckFailedError: An error is above its limit.
    """
    z, x = vectors.sampling.z, vectors.sampling.x
    plain = np.abs(z).max(axis=1) < 6
    unit, limit, scale = "grey_levels", LARGEST_GREY, np.ones(flow.dim)
    if flow.manifest.preprocessing is None:
        unit, limit, scale = "standard_deviations", LARGEST_SHARE, x[plain].std(axis=0)
    log_prob = float(np.abs(flow.log_prob(vectors.density.x) - vectors.density.log_prob).max()) / flow.dim
    if "sampling_with_log_prob" in flow.artifact.graphs:
        whole = plain & ~vectors.sampling.clamped
        _, drawn = flow.decode_with_log_prob(z[whole])
        gap = np.abs(drawn - vectors.sampling.log_prob[whole])
        log_prob = max(log_prob, float(gap.max(initial=0.0)) / flow.dim)
    error = float((np.abs(flow.decode(z[plain]) - x[plain]) / scale).max())
    if not (log_prob <= LARGEST_LOG_PROB and error <= limit):
        raise CheckFailedError(
            f"Expected float16 products within {LARGEST_LOG_PROB} nats/dim in log_prob and {limit} "
            f"{unit.replace('_', ' ')} in x; measured {log_prob:.2g} and {error:.2g}. Nothing was written; "
            "export with --dtype float32."
        )
    return {"log_prob_nats_per_dim": log_prob, f"x_{unit}": error}
