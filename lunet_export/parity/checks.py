"""The named checks of an export, a flow or a mixture, against the float64 reference's vectors.

A runner is anything that computes both directions; the exported graphs are one, eager PyTorch another. Nothing here
knows which.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from lunet_export.certificate import SAFETY
from lunet_export.checks.vector_file import MixtureVectors, Vectors, given
from lunet_export.errors import BadInputError, OverflowingRowsError
from lunet_export.parity.difference import Difference, compare

Floats = NDArray[np.floating]


class Runner(Protocol):
    """Computes both directions of a flow on NumPy rows, of a conditional one with `context` (N, C) as a keyword."""

    def density(self, x: Floats) -> tuple[Floats, Floats]:
        """x (N, D) -> z (N, D), log_prob (N,)."""

    def decode(self, z: Floats) -> Floats:
        """z (N, D) -> x (N, D)."""


class ClassRunner(Protocol):
    """Computes the densities of all classes and the samples of each, on NumPy rows."""

    def density(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """x (N, D) -> class_log_prob (N, C), log_prob (N,), posterior (N, C)."""

    def decode(self, z: Floats, label: int) -> Floats:
        """z (N, D) -> x (N, D) of one class."""


@dataclass(frozen=True)
class Check:
    """A check that ran: what it compared, and how far eager PyTorch is off where that is known.

    Attributes:
        name: Group and name, as "golden: density, z".
        difference: Difference of the exported graph.
        eager: Largest difference of eager PyTorch.
        note: What else is known of it, in words.
        eager_ratio: Largest difference of eager PyTorch over the tolerance of its row.
    """

    name: str
    difference: Difference
    eager: float | None = None
    note: str = ""
    eager_ratio: float | None = None

    @property
    def passed(self) -> bool:
        """The exported graph is within tolerance. Eager is shown, never judged."""
        return self.difference.passed


def run(
    runner: Runner | ClassRunner,
    vectors: Vectors | MixtureVectors,
    *,
    eager: Runner | ClassRunner | None = None,
    group: str = "golden",
    predicted: NDArray[np.float64] | None = None,
) -> list[Check]:
    """All checks of `runner` on `vectors`, with eager PyTorch's own error beside each.

    Of a flow, density and sampling against the reference; the same rows one at a time against all at once; x -> z -> x
    on data; z -> x -> z and the density of sampled rows, on the rows that no clamp touched. Of a mixture, every class's
    density on the rows of all classes, its samples, and its density of these; the mixture's density and posterior; and
    again all rows one at a time.

    Args:
        runner: What is checked: a `Runner` for the vectors of a flow, a `ClassRunner` for those of a mixture.
        vectors: The reference's answers and their tolerances.
        eager: PyTorch's own answers, shown and never judged.
        group: First words of the checks' names.
        predicted: Of a flow, the certificate's error of x -> z -> x for each density vector, (N,). A row may then be
            off by SAFETY times that, where it is less than the row's tolerance.
    """
    notes = {
        f"{part.prefix}{name}": f"{share:.0%} of rows left out: clamped"
        for part in vectors.sampled
        if (share := float(part.vectors.clamped.mean()))
        for name in _NEED_UNCLAMPED
    }
    if predicted is not None and isinstance(vectors, Vectors):
        vectors = _tightened(vectors, predicted)
        notes[_ROUND_TRIP_X] = f"predicted {predicted.max():.1e}"
    ours = _differences(runner, vectors)
    theirs = _differences(eager, vectors) if eager else {}
    return [_check(f"{group}: {name}", gap, theirs.get(name), notes.get(name, "")) for name, gap in ours.items()]


def _check(name: str, ours: Difference, theirs: Difference | None, note: str) -> Check:
    return Check(name, ours, note=note) if theirs is None else Check(name, ours, theirs.absolute, note, theirs.ratio)


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


def _differences(runner: Runner | ClassRunner, vectors: Vectors | MixtureVectors) -> dict[str, Difference]:
    if isinstance(vectors, MixtureVectors):
        return _of_mixture(cast(ClassRunner, runner), vectors)
    return _of_flow(cast(Runner, runner), vectors)


def _of_flow(runner: Runner, vectors: Vectors) -> dict[str, Difference]:
    density, sampling = vectors.density, vectors.sampling
    z, log_prob = answered(runner.density, density.x, **given(density))
    (x,) = answered(runner.decode, sampling.z, **given(sampling))
    alone = [slice(row, row + 1) for row in range(max(len(density.x), len(sampling.z)))]
    single = [answered(runner.density, density.x[row], **given(density, row)) for row in alone[: len(density.x)]]
    z_single, log_prob_single = (np.concatenate(column) for column in zip(*single, strict=True))
    x_single = np.concatenate(
        [answered(runner.decode, sampling.z[row], **given(sampling, row))[0] for row in alone[: len(sampling.z)]]
    )
    (back,) = answered(runner.decode, np.nan_to_num(z), **given(density))  # a NaN in z has failed its own check already
    whole = ~sampling.clamped
    numbers = np.flatnonzero(whole)
    z_again, log_prob_again = density_of_sampled(runner, x[whole], **given(sampling, whole))
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
        _ROUND_TRIP_Z: compare(
            "z", expected=sampling.z[whole], got=z_again, tolerance=loose["z"][whole], numbers=numbers
        ),
        _SAMPLED_DENSITY: compare(
            "log_prob",
            expected=sampling.log_prob[whole],
            got=log_prob_again,
            tolerance=loose["log_prob"][whole],
            numbers=numbers,
        ),
    }


def _of_mixture(runner: ClassRunner, vectors: MixtureVectors) -> dict[str, Difference]:
    density, allowed = vectors.density, vectors.density.tolerance
    class_log_prob, log_prob, posterior = answered(runner.density, density.x)
    singles = [answered(runner.density, row[None]) for row in density.x]
    class_single, single, posterior_single = (np.concatenate(column) for column in zip(*singles, strict=True))
    found: dict[str, Difference] = {}

    def add(
        name: str,
        output: str,
        expected: Floats,
        got: Floats,
        tolerance: Floats,
        numbers: NDArray[np.intp] | None = None,
    ) -> None:
        found[name] = compare(output, expected=expected, got=got, tolerance=tolerance, numbers=numbers)

    for number, part in enumerate(vectors.sampled):
        column = (slice(None), number)
        bound, expected = allowed["class_log_prob"][column], density.class_log_prob[column]
        ours, ours_single = _column(class_log_prob, number), _column(class_single, number)
        add(f"{part.prefix}log_prob", "class_log_prob", expected, ours, bound)
        add(f"{part.prefix}batch 1 = batch N, log_prob", "class_log_prob", ours, ours_single, bound)
    add("mixture, log_prob", "log_prob", density.log_prob, log_prob, allowed["log_prob"])
    add("mixture, posterior", "posterior", density.posterior, posterior, allowed["posterior"])
    add("mixture, batch 1 = batch N, log_prob", "log_prob", log_prob, single, allowed["log_prob"])
    add("mixture, batch 1 = batch N, posterior", "posterior", posterior, posterior_single, allowed["posterior"])
    for number, part in enumerate(vectors.sampled):
        known = part.vectors
        (x,) = answered(runner.decode, known.z, number)
        x_single = np.concatenate([answered(runner.decode, row[None], number)[0] for row in known.z])
        whole = ~known.clamped
        again = _column(_classes_of_sampled(runner, x[whole], len(vectors.names)), number)
        add(f"{part.prefix}sampling, x", "x", known.x, x, known.tolerance["x"])
        add(f"{part.prefix}batch 1 = batch N, x", "x", x, x_single, known.tolerance["x"])
        tolerance, numbers = known.tolerance["log_prob"][whole], np.flatnonzero(whole)
        add(f"{part.prefix}{_SAMPLED_DENSITY}", "class_log_prob", known.log_prob[whole], again, tolerance, numbers)
    return found


def _column(values: Floats, number: int) -> Floats:
    """The numbers of one class; of a table that has no such column all of it, so that the comparison fails."""
    return values[:, number] if values.ndim == 2 and number < values.shape[1] else values


def _classes_of_sampled(runner: ClassRunner, x: Floats, classes: int) -> Floats:
    """class_log_prob of sampled rows; NaN where a faulty sampler left the domain, so that the check fails."""
    try:
        return runner.density(x)[0]
    except BadInputError:
        return np.full((len(x), classes), np.nan)


def density_of_sampled(runner: Runner, x: Floats, **context: Floats) -> tuple[Floats, Floats]:
    """z and log_prob of sampled rows; NaN where a faulty sampler left the domain, so that the check fails."""
    try:
        return runner.density(x, **context)
    except BadInputError:
        return np.full_like(x, np.nan), np.full(len(x), np.nan)


def all_passed(checks: Sequence[Check]) -> bool:
    """True when every check is within its tolerance."""
    return all(check.passed for check in checks)


def with_recorded_eager(checks: Sequence[Check], recorded: Sequence[Mapping[str, Any]]) -> list[Check]:
    """The checks with eager PyTorch's differences that the export wrote into its manifest."""
    known = {str(entry.get("name")): entry for entry in recorded}
    found = [(check, known.get(check.name, {})) for check in checks]
    return [
        replace(check, eager=_number(entry.get("eager")), eager_ratio=_number(entry.get("eager_ratio")))
        for check, entry in found
    ]


def _number(found: object) -> float | None:
    """What a manifest holds, if it is a number that a check writes."""
    return found if isinstance(found, float) and isfinite(found) else None


def as_json(check: Check) -> dict[str, Any]:
    """A check as the manifest holds it and `check --json` prints it."""
    return {
        "name": check.name,
        "passed": check.passed,
        **asdict(check.difference) | {"no_digits": list(check.difference.no_digits)},
        "eager": _number(check.eager),
        "eager_ratio": _number(check.eager_ratio),
        "note": check.note,
    }
