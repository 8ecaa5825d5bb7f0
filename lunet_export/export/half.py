"""The limits of float16 products: measured at export as a GPU computes them, and kept.

ONNX Runtime's CPU provider has no float16 products: it drops the casts and computes in float32, which proves nothing
about a GPU. So the graphs are judged by their emulation.
"""

import numpy as np

from lunet_export.checks.vectors import Vectors
from lunet_export.errors import CheckFailedError
from lunet_export.graphs.emulation import EmulatedFlow

LARGEST_LOG_PROB = 0.01  # nats/dim
LARGEST_GREY = 0.5  # grey levels
LARGEST_SHARE = 0.01  # of the samples' standard deviation, for data that has no grey levels


def measure(flow: EmulatedFlow, vectors: Vectors, *, images: bool) -> dict[str, float]:
    """Largest errors on the test vectors: nats/dim in log_prob, grey levels (or standard deviations) in x.

    x is judged on z from N(0, I), not on its far tails.

    Args:
        flow: The graphs, emulated.
        vectors: Of the export.
        images: x has grey levels.

    Raises:
        CheckFailedError: An error is above its limit.
    """
    z, x = vectors.sampling.z, vectors.sampling.x
    plain = np.abs(z).max(axis=1) < 6
    unit, limit, scale = "grey_levels", LARGEST_GREY, np.ones(x.shape[1])
    if not images:
        unit, limit, scale = "standard_deviations", LARGEST_SHARE, x[plain].std(axis=0)
    log_prob = float(np.abs(flow.density(vectors.density.x)[1] - vectors.density.log_prob).max()) / x.shape[1]
    if flow.has_log_prob:
        whole = plain & ~vectors.sampling.clamped
        _, drawn = flow.decode_with_log_prob(z[whole])
        gap = np.abs(drawn - vectors.sampling.log_prob[whole])
        log_prob = max(log_prob, float(gap.max(initial=0.0)) / x.shape[1])
    error = float((np.abs(flow.decode(z[plain]) - x[plain]) / scale).max())
    if not (log_prob <= LARGEST_LOG_PROB and error <= limit):
        raise CheckFailedError(
            f"Expected float16 products within {LARGEST_LOG_PROB} nats/dim in log_prob and {limit} "
            f"{unit.replace('_', ' ')} in x; measured {log_prob:.2g} and {error:.2g}. Nothing was written; "
            "export with --dtype float32."
        )
    return {"log_prob_nats_per_dim": log_prob, f"x_{unit}": error}
