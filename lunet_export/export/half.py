"""The errors of float16 products, measured at export as a GPU computes them, and their limits.

ONNX Runtime's CPU provider has no float16 products: it drops the casts and computes in float32, which says nothing
about a GPU. So the graphs are emulated.
"""

import numpy as np

from lunet_export.checks.vector_file import DensityVectors, MixtureVectors, Vectors, given
from lunet_export.errors import CheckFailedError
from lunet_export.graphs.emulation import EmulatedFlow

LARGEST_LOG_PROB = 0.01  # nats/dim
LARGEST_GREY = 0.5  # grey levels
LARGEST_SHARE = 0.01  # of the standard deviation of the samples, for data without grey levels
_NO_TAIL = 6.0  # standard deviations: rows drawn from N(0, I) stay below


def measure(flow: EmulatedFlow, vectors: Vectors | MixtureVectors, *, images: bool) -> dict[str, float]:
    """Return the largest errors on the test vectors: nats/dim in log_prob, grey levels (or standard deviations) in x.

    log_prob is that of the flow or the mixture. x is compared for every class at z from N(0, I) without the far tails.
    Rows that were put at knots of splines are not usual ones, and left out.

    Args:
        flow: Emulated graphs.
        vectors: Test vectors of the export.
        images: Whether x has grey levels.

    Returns:
        The errors by name, in the units that the names have.

    Raises:
        CheckFailedError: if an error is above its limit.
    """
    unit, limit = ("grey_levels", LARGEST_GREY) if images else ("standard_deviations", LARGEST_SHARE)
    density, seams = vectors.density, vectors.seams
    usual = slice(None) if seams is None else ~seams.density.at_seams
    context = given(density, usual) if isinstance(density, DensityVectors) else {}
    gaps, errors = [np.abs(flow.density(density.x[usual], **context)[1] - density.log_prob[usual])], []
    for part in vectors.sampled:
        known = part.vectors
        plain = np.abs(known.z).max(axis=1) < _NO_TAIL
        if seams is not None:
            plain &= ~seams.sampling.at_seams
        scale = np.ones(known.x.shape[1]) if images else known.x[plain].std(axis=0)
        if flow.has_log_prob:
            whole = plain & ~known.clamped
            _, drawn = flow.decode_with_log_prob(known.z[whole], *part.label, **given(known, whole))
            gaps.append(np.abs(drawn - known.log_prob[whole]))
        errors.append(np.abs(flow.decode(known.z[plain], *part.label, **given(known, plain)) - known.x[plain]) / scale)
    # Python's max can drop a NaN; NumPy's keeps it.
    log_prob = float(np.max([gap.max(initial=0.0) for gap in gaps])) / density.x.shape[1]
    error = float(np.max([gap.max() for gap in errors]))
    if not (log_prob <= LARGEST_LOG_PROB and error <= limit):
        raise CheckFailedError(
            f"Expected float16 products within {LARGEST_LOG_PROB} nats/dim in log_prob and {limit} "
            f"{unit.replace('_', ' ')} in x; measured {log_prob:.2g} and {error:.2g}. Nothing was written; "
            "export with `dtype='float32'`."
        )
    return {"log_prob_nats_per_dim": log_prob, f"x_{unit}": error}
