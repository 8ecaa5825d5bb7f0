"""The named checks of an exported flow against the float64 reference's vectors.

A runner is anything that computes both directions; the exported graphs are one, eager PyTorch another. Nothing here
knows which.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lunet_export.certificate import SAFETY
from lunet_export.checks.vectors import Vectors
from lunet_export.errors import BadInputError, OverflowingRowsError
from lunet_export.parity.difference import Difference, compare

Floats = NDArray[np.floating]


class Runner(Protocol):
    """Computes both directions of a flow on NumPy rows."""

    def density(self, x: Floats) -> tuple[Floats, Floats]:
        """x (N, D) -> z (N, D), log_prob (N,)."""

    def decode(self, z: Floats) -> Floats:
        """z (N, D) -> x (N, D)."""


@dataclass(frozen=True)
class Check:
    """A check that ran: what it compared, and eager PyTorch's own largest difference where that is known."""

    name: str
    difference: Difference
    eager: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool:
        """The exported graph is within tolerance. Eager is shown, never judged."""
        return self.difference.passed


def run(
    runner: Runner,
    vectors: Vectors,
    *,
    eager: Runner | None = None,
    group: str = "golden",
    predicted: NDArray[np.float64] | None = None,
) -> list[Check]:
    """All checks of `runner` on `vectors`, with eager PyTorch's own error beside each.

    density and sampling against the reference; the same rows one at a time against all at once; x -> z -> x on
    data; z -> x -> z and the density of sampled rows, on the rows that no clamp touched.

    Args:
        runner: What is checked.
        vectors: The reference's answers and their tolerances.
        eager: PyTorch's own answers, shown and never judged.
        group: First words of the checks' names.
        predicted: The certificate's error of x -> z -> x for each density vector, (N,). A row may then be off by SAFETY
            times that, where it is less than the row's tolerance.
    """
    if predicted is not None:
        vectors = _tightened(vectors, predicted)
    ours = _differences(runner, vectors)
    theirs = {name: gap.absolute for name, gap in _differences(eager, vectors).items()} if eager else {}
    share = float(vectors.sampling.clamped.mean())
    notes = {name: f"{share:.0%} of rows left out: clamped" for name in _NEED_UNCLAMPED if share}
    if predicted is not None:
        notes[_ROUND_TRIP_X] = f"predicted {predicted.max():.1e}"
    return [Check(f"{group}: {name}", gap, theirs.get(name), notes.get(name, "")) for name, gap in ours.items()]


def _tightened(vectors: Vectors, predicted: NDArray[np.float64]) -> Vectors:
    """No number of a row is off by more than the row's norm, so the prediction bounds each."""
    tolerance = vectors.density.tolerance
    x = np.minimum(tolerance["x"], SAFETY * predicted)
    return replace(vectors, density=replace(vectors.density, tolerance={**tolerance, "x": x}))


_ROUND_TRIP_X = "x -> z -> x"
_ROUND_TRIP_Z = "z -> x -> z"
_SAMPLED_DENSITY = "log_prob of sampled x"
_NEED_UNCLAMPED = (_ROUND_TRIP_Z, _SAMPLED_DENSITY)


def answered(method: Callable[..., Any], *arguments: Floats | int, **options: Floats) -> tuple[Floats, ...]:
    """What a method of a runner returns, or would have: answers that are no numbers are for the check to fail on."""
    try:
        found = method(*arguments, **options)
    except OverflowingRowsError as error:
        return error.answers
    return found if isinstance(found, tuple) else (found,)


def _differences(runner: Runner, vectors: Vectors) -> dict[str, Difference]:
    density, sampling = vectors.density, vectors.sampling
    z, log_prob = answered(runner.density, density.x)
    (x,) = answered(runner.decode, sampling.z)
    single = [answered(runner.density, row[None]) for row in density.x]
    z_single, log_prob_single = (np.concatenate(column) for column in zip(*single, strict=True))
    x_single = np.concatenate([answered(runner.decode, row[None])[0] for row in sampling.z])
    (back,) = answered(runner.decode, np.nan_to_num(z))  # a NaN in z has failed its own check already
    whole = ~sampling.clamped
    z_again, log_prob_again = density_of_sampled(runner, x[whole])
    loose, tight = sampling.tolerance, density.tolerance
    return {
        "density, z": compare("z", expected=density.z, got=z, tolerance=tight["z"]),
        "density, log_prob": compare("log_prob", expected=density.log_prob, got=log_prob, tolerance=tight["log_prob"]),
        "sampling, x": compare("x", expected=sampling.x, got=x, tolerance=loose["x"]),
        "batch 1 = batch N, z": compare("z", expected=z, got=z_single, tolerance=tight["z"]),
        "batch 1 = batch N, log_prob": compare(
            "log_prob", expected=log_prob, got=log_prob_single, tolerance=tight["log_prob"]
        ),
        "batch 1 = batch N, x": compare("x", expected=x, got=x_single, tolerance=loose["x"]),
        _ROUND_TRIP_X: compare("x", expected=density.x, got=back, tolerance=tight["x"]),
        _ROUND_TRIP_Z: compare("z", expected=sampling.z[whole], got=z_again, tolerance=loose["z"][whole]),
        _SAMPLED_DENSITY: compare(
            "log_prob", expected=sampling.log_prob[whole], got=log_prob_again, tolerance=loose["log_prob"][whole]
        ),
    }


def density_of_sampled(runner: Runner, x: Floats) -> tuple[Floats, Floats]:
    """z and log_prob of sampled rows; NaN where a faulty sampler left the domain, so that the check fails."""
    try:
        return runner.density(x)
    except BadInputError:
        return np.full_like(x, np.nan), np.full(len(x), np.nan)


def all_passed(checks: Sequence[Check]) -> bool:
    """True when every check is within its tolerance."""
    return all(check.passed for check in checks)


def with_recorded_eager(checks: Sequence[Check], recorded: Sequence[Mapping[str, Any]]) -> list[Check]:
    """The checks with eager PyTorch's differences that the export wrote into its manifest."""
    known = {str(entry.get("name")): entry.get("eager") for entry in recorded}
    found = [(check, known.get(check.name)) for check in checks]
    return [replace(check, eager=eager if isinstance(eager, float) else None) for check, eager in found]


def as_json(check: Check) -> dict[str, Any]:
    """A check as the manifest holds it and `check --json` prints it."""
    return {
        "name": check.name,
        "passed": check.passed,
        **asdict(check.difference),
        "eager": check.eager if check.eager is None or isfinite(check.eager) else None,
        "note": check.note,
    }
