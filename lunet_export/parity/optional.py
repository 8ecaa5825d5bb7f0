"""Checks of the optional graphs of an export: sampling with its density or with its own noise, estimated density."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks.vector_file import MixtureVectors, Sampled, Vectors, given
from lunet_export.parity.checks import Check, answered
from lunet_export.parity.difference import compare
from lunet_export.runtime import ExportedClasses, ExportedFlow

Floats = NDArray[np.floating]
AnyVectors = Vectors | MixtureVectors

_DRAWN = 256
#: Standard errors that the mean and the variance of drawn noise may be off: once in 10^8 exports by chance.
_STANDARD_ERRORS = 6.0
#: What the mean or variance of one column of 256 may be off: 8 standard errors of the variance. A constant is 1 off.
_COLUMN = 0.71


def run_optional(flow: ExportedFlow | ExportedClasses, vectors: AnyVectors, *, group: str = "golden") -> list[Check]:
    """Checks of whichever optional graphs the folder holds; none if it holds none."""
    graphs = flow.artifact.graphs
    checks = []
    for part in vectors.sampled:
        if "_".join(map(str, ("sampling_with_log_prob", *part.label))) in graphs:
            checks += _with_log_prob(flow, part)
    if isinstance(flow, ExportedFlow) and isinstance(vectors, Vectors):
        checks += _drawn(flow, vectors) if "random_sampling" in graphs else []
        checks += _estimated(flow, vectors) if "density_estimate" in graphs else []
    return [Check(f"{group}: {check.name}", check.difference, note=check.note) for check in checks]


def _with_log_prob(flow: ExportedFlow | ExportedClasses, part: Sampled) -> list[Check]:
    sampling = part.vectors
    x, log_prob = answered(flow.decode_with_log_prob, sampling.z, *part.label, **given(sampling))
    whole, name = ~sampling.clamped, f"{part.prefix}sampling with log_prob"
    note = "" if whole.all() else f"{1 - whole.mean():.0%} of rows left out: clamped"
    expected, tolerance = sampling.log_prob[whole], sampling.tolerance["log_prob"][whole]
    gap = compare(
        "log_prob", expected=expected, got=log_prob[whole], tolerance=tolerance, numbers=np.flatnonzero(whole)
    )
    return [
        Check(f"{name}, x", compare("x", expected=sampling.x, got=x, tolerance=sampling.tolerance["x"])),
        Check(f"{name}, log_prob", gap, note=note),
    ]


def _drawn(flow: ExportedFlow, vectors: Vectors) -> list[Check]:
    """x belongs to the z that was drawn, z has the moments of N(0, I) in all and by column, and no draw repeats."""
    context = _repeated(given(vectors.sampling), _DRAWN)
    (x, z), (_, again) = (answered(flow.draw, _DRAWN, **context) for _ in range(2))
    numbers = z.astype(np.float64)
    columns = np.concatenate([numbers.mean(axis=0), numbers.var(axis=0) - 1])
    moments = np.array([numbers.mean(), numbers.var() - 1, (numbers == again).mean(), np.abs(columns).max()])
    bounds = _STANDARD_ERRORS / np.sqrt(numbers.size) * np.array([1.0, np.sqrt(2.0), 1.0, 0.0])
    bounds[3] = _COLUMN
    plain = np.abs(vectors.sampling.z).max(axis=1) < np.abs(numbers).max() + 1
    tolerance = np.full(_DRAWN, vectors.sampling.tolerance["x"][plain].max())
    (expected,) = answered(flow.decode, z, **context)
    return [
        Check("random sampling, x", compare("x", expected=expected, got=x, tolerance=tolerance)),
        Check(
            "random sampling, mean and variance of z",
            compare("z", expected=np.zeros(4), got=moments, tolerance=bounds),
        ),
    ]


def _repeated(context: Mapping[str, Floats], rows: int) -> dict[str, Floats]:
    """The contexts of the vectors again and again, for so many rows."""
    return {name: found[np.arange(rows) % len(found)] for name, found in context.items()}


def _estimated(flow: ExportedFlow, vectors: Vectors) -> list[Check]:
    """The mean over the probes sqrt(D) e_1 .. sqrt(D) e_D is exact: e_i^T J e_i sums to the trace of J."""
    density, dim = vectors.density, flow.dim
    x = np.repeat(density.x, dim, axis=0)
    probes = np.tile(np.sqrt(dim) * np.eye(dim), (len(density.x), 1))
    context = {name: np.repeat(rows, dim, axis=0) for name, rows in given(density).items()}
    (estimates,) = answered(flow.log_prob_estimate, x, probe=probes, **context)
    mean = estimates.astype(np.float64).reshape(-1, dim).mean(axis=1)
    gap = compare("log_prob", expected=density.log_prob, got=mean, tolerance=density.tolerance["log_prob"])
    return [Check("density estimate, mean over all axes", gap)]
