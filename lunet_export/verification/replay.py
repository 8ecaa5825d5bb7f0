"""A verifier's witness run in ONNX Runtime: is it in the box, and does it violate the claim there?"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.runtime import providers
from lunet_export.verification.folder import WITH_LOG_PROB, VerifierFolder
from lunet_export.verification.vnnlib import Query
from lunet_export.verification.witness import Witness

Floats = NDArray[np.float32]

TOLERANCE = 1e-5  # covers the generator's float32 rounding, and the errors of verifiers


@dataclass(frozen=True)
class Replay:
    """This is what ONNX Runtime computes for a witness."""

    query: str  # file of the query
    given: NDArray[np.float64]  # the witness itself, (D,)
    z: Floats  # the point that was run, the nearest float32 one inside the box; (D,)
    outside: float  # distance of the witness itself from the box; 0 inside
    x: Floats  # (D,)
    log_prob: float  # log p(x) under the model, nats
    y: Floats  # outputs that the query is about, (K,)
    margin: float | None  # margin by which the negated claim's best case holds; None without a claim
    allowed: float  # amount by which it may fail: the tolerance times the size of the values
    case: str  # that case in words
    output_gap: float | None  # largest difference from the outputs that the witness names
    tolerance: float

    @property
    def in_box(self) -> bool:
        """Return whether the witness lies in the box, up to the tolerance."""
        return self.outside <= self.tolerance

    @property
    def violated(self) -> bool:
        """Return whether the negated claim holds there, up to the tolerance; without a claim it does."""
        return self.margin is None or self.margin >= -self.allowed

    @property
    def confirmed(self) -> bool:
        """Return whether the witness is in the box and violates the claim."""
        return self.in_box and self.violated and bool(np.isfinite(self.y).all())

    @property
    def strict(self) -> bool:
        """Return whether it is confirmed without any tolerance."""
        return self.confirmed and self.outside == 0 and (self.margin is None or self.margin >= 0)


def replay(folder: VerifierFolder, witness: Witness, *, query: str, tolerance: float = TOLERANCE) -> Replay:
    """Run a witness.

    The graphs take float32, so the point that runs is the nearest float32 point inside the box, and what is confirmed
    is confirmed for a point that is truly in it.

    Args:
        folder: The export.
        witness: Witness that the verifier found.
        query: File of the query that it answered.
        tolerance: Tolerance by which inputs may be outside the box and comparisons of outputs may fail, relative to the
            larger side if that is above 1.

    Raises:
        BadInputError: if ONNX Runtime cannot load a graph.
        ProviderError: if ONNX Runtime cannot run it.
    """
    asked = folder.queries[query]
    z, outside = _into_box(witness.z, asked)
    x, log_prob = run(folder.graphs[WITH_LOG_PROB], z, outputs=2)
    graph = folder.graph_of(query)
    (y,) = run(folder.graphs[graph], z, outputs=1)
    values = {f"Y_{j}": float(value) for j, value in enumerate(y)} | {f"X_{i}": float(v) for i, v in enumerate(z)}
    margin, allowed, case = _best_case(asked, values, tolerance)
    gaps = [abs(float(y[j]) - value) for j, value in witness.outputs.items() if j < len(y)]
    return Replay(
        query=query,
        given=witness.z,
        z=z,
        outside=outside,
        x=x,
        log_prob=float(log_prob[0]),
        y=y,
        margin=margin,
        allowed=allowed,
        case=case,
        output_gap=max(gaps, default=None),
        tolerance=tolerance,
    )


def run(model: bytes, z: Floats, *, outputs: int) -> list[Floats]:
    """Return the first `outputs` outputs of a graph at z (D,), each flat."""
    (session,), _ = providers.open_sessions([model], "cpu", threads=1)
    names = [entry.name for entry in session.get_outputs()][:outputs]
    found = providers.run(session, names, {session.get_inputs()[0].name: z[None]})
    return [np.asarray(value, dtype=np.float32).reshape(-1) for value in found]


def _into_box(z: NDArray[np.float64], query: Query) -> tuple[Floats, float]:
    """Return the nearest float32 point in the box, and by how much z is outside."""
    low, high = (np.array([float(bound) for bound in side]) for side in (query.lower, query.upper))
    outside = float(np.maximum(np.maximum(low - z, z - high), 0.0).max())
    inner_low = np.array([_within(bound, upper=False) for bound in query.lower], dtype=np.float32)
    inner_high = np.array([_within(bound, upper=True) for bound in query.upper], dtype=np.float32)
    with np.errstate(over="ignore"):
        return np.clip(z.astype(np.float32), inner_low, inner_high), outside


def _within(bound: Decimal, *, upper: bool) -> np.float32:
    """Return the float32 nearest to a bound on its inner side."""
    nearest = np.float32(float(bound))
    beyond = Decimal(float(nearest)) > bound if upper else Decimal(float(nearest)) < bound
    return np.nextafter(nearest, np.float32(-np.inf if upper else np.inf)) if beyond else nearest


def _best_case(query: Query, values: Mapping[str, float], tolerance: float) -> tuple[float | None, float, str]:
    """Return the case that holds by the largest margin: its margin, what it may fail by, and its words."""
    best: tuple[float | None, float, str] = (None, 0.0, "")
    for case in query.cases:
        weakest = min(case, key=lambda comparison: comparison.margin(values))
        margin = weakest.margin(values)
        if best[0] is None or margin > best[0]:
            best = margin, tolerance * weakest.size(values), " and ".join(map(str, case))
    return best


def as_json(found: Replay) -> dict[str, Any]:
    """Return the replay as `--json` prints it."""
    return {
        "query": found.query,
        "confirmed": found.confirmed,
        "strict": found.strict,
        "in_box": found.in_box,
        "outside": found.outside,
        "violated": found.violated if found.margin is not None else None,
        "margin": found.margin,
        "allowed": found.allowed,
        "case": found.case or None,
        "tolerance": found.tolerance,
        "log_prob": found.log_prob,
        "given": found.given.tolist(),
        "z": found.z.tolist(),
        "x": found.x.tolist(),
        "y": found.y.tolist(),
        "output_gap": found.output_gap,
    }
