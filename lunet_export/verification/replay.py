"""Running a verifier's witness in ONNX Runtime: is it in the box, and does it violate the claim there?"""

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

TOLERANCE = 1e-5  # what float32 may make of the generator, and more than verifiers are off by


@dataclass(frozen=True)
class Replay:
    """What ONNX Runtime makes of a witness."""

    query: str  # its file
    given: NDArray[np.float64]  # the witness itself, (D,)
    z: Floats  # the point that was run, float32, the nearest to it inside the box; (D,)
    outside: float  # by how much the witness itself was outside of the box; 0 inside
    x: Floats  # (D,)
    log_prob: float  # of x under the model, nats
    y: Floats  # the outputs that the query is about, (K,)
    margin: float | None  # by how much the likeliest case of the negated claim holds; None where nothing is claimed
    allowed: float  # by how much it may fail to hold: the tolerance, times the size of what is compared
    case: str  # that case in words
    output_gap: float | None  # largest difference from the outputs that the witness names
    tolerance: float

    @property
    def in_box(self) -> bool:
        """The witness lies in the box, up to the tolerance."""
        return self.outside <= self.tolerance

    @property
    def violated(self) -> bool:
        """The negated claim holds there, up to the tolerance; nothing to violate is violated."""
        return self.margin is None or self.margin >= -self.allowed

    @property
    def confirmed(self) -> bool:
        """Both."""
        return self.in_box and self.violated and bool(np.isfinite(self.y).all())

    @property
    def strict(self) -> bool:
        """Without the help of any tolerance."""
        return self.confirmed and self.outside == 0 and (self.margin is None or self.margin >= 0)


def replay(folder: VerifierFolder, witness: Witness, *, query: str, tolerance: float = TOLERANCE) -> Replay:
    """Run a witness.

    The graphs take float32, so the point that runs is the nearest one of float32 inside the box, and what is confirmed
    is confirmed of a point that is truly in it.

    Args:
        folder: The export.
        witness: What the verifier found.
        query: The file of the query that it answered.
        tolerance: By how much inputs may be outside of the box, and comparisons of outputs fail, relative to the larger
            side where that is above 1.

    Raises:
        BadInputError: ONNX Runtime cannot load a graph.
        ProviderError: ONNX Runtime cannot run it.
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
    """The first outputs of a graph at z (D,), each flat."""
    (session,), _ = providers.open_sessions([model], "cpu", threads=1)
    names = [entry.name for entry in session.get_outputs()][:outputs]
    found = providers.run(session, names, {session.get_inputs()[0].name: z[None]})
    return [np.asarray(value, dtype=np.float32).reshape(-1) for value in found]


def _into_box(z: NDArray[np.float64], query: Query) -> tuple[Floats, float]:
    """The nearest float32 point of the box, and by how much z is outside."""
    low, high = (np.array([float(bound) for bound in side]) for side in (query.lower, query.upper))
    outside = float(np.maximum(np.maximum(low - z, z - high), 0.0).max())
    inner_low = np.array([_within(bound, upper=False) for bound in query.lower], dtype=np.float32)
    inner_high = np.array([_within(bound, upper=True) for bound in query.upper], dtype=np.float32)
    with np.errstate(over="ignore"):
        return np.clip(z.astype(np.float32), inner_low, inner_high), outside


def _within(bound: Decimal, *, upper: bool) -> np.float32:
    """The float32 nearest to a bound on its inner side."""
    nearest = np.float32(float(bound))
    beyond = Decimal(float(nearest)) > bound if upper else Decimal(float(nearest)) < bound
    return np.nextafter(nearest, np.float32(-np.inf if upper else np.inf)) if beyond else nearest


def _best_case(query: Query, values: Mapping[str, float], tolerance: float) -> tuple[float | None, float, str]:
    """The case that holds by most: its margin, what it may fail by, and its words."""
    best: tuple[float | None, float, str] = (None, 0.0, "")
    for case in query.cases:
        weakest = min(case, key=lambda comparison: comparison.margin(values))
        margin = weakest.margin(values)
        if best[0] is None or margin > best[0]:
            best = margin, tolerance * weakest.size(values), " and ".join(map(str, case))
    return best


def as_json(found: Replay) -> dict[str, Any]:
    """The replay as `--json` prints it."""
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
