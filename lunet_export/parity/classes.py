"""The named checks of an export with one network a class against the float64 reference's vectors."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks.class_vectors import ClassVectors
from lunet_export.errors import BadInputError
from lunet_export.parity.checks import Check, answered
from lunet_export.parity.difference import Difference, compare

Floats = NDArray[np.floating]


class ClassRunner(Protocol):
    """Computes the densities of all classes and the samples of each, on NumPy rows."""

    def density(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """x (N, D) -> class_log_prob (N, C), log_prob (N,), posterior (N, C)."""

    def decode(self, z: Floats, label: int) -> Floats:
        """z (N, D) -> x (N, D) of one class."""


def run_classes(
    runner: ClassRunner,
    vectors: ClassVectors,
    names: tuple[str, ...],
    *,
    eager: ClassRunner | None = None,
    group: str = "golden",
) -> list[Check]:
    """All checks of `runner` on `vectors`, with eager PyTorch's own error beside each.

    Of every class, its density on the rows of all classes, its samples, and its density of these samples; of the
    mixture, its density and posterior; of all, the same rows one at a time against all at once.

    Args:
        runner: What is checked.
        vectors: The reference's answers and their tolerances.
        names: Of the classes.
        eager: PyTorch's own answers, shown and never judged.
        group: First words of the checks' names.
    """
    ours = _differences(runner, vectors, names)
    theirs = {name: gap.absolute for name, gap in _differences(eager, vectors, names).items()} if eager else {}
    shares = {name: float(part.clamped.mean()) for name, part in zip(names, vectors.sampling, strict=True)}
    notes = {
        _of_class(name, _SAMPLED_DENSITY): f"{share:.0%} of rows left out: clamped"
        for name, share in shares.items()
        if share
    }
    return [Check(f"{group}: {name}", gap, theirs.get(name), notes.get(name, "")) for name, gap in ours.items()]


_SAMPLED_DENSITY = "log_prob of sampled x"


def _of_class(name: str, check: str) -> str:
    return f"class {name}, {check}"


def _differences(runner: ClassRunner, vectors: ClassVectors, names: tuple[str, ...]) -> dict[str, Difference]:
    density = vectors.density
    allowed = density.tolerance
    class_log_prob, log_prob, posterior = answered(runner.density, density.x)
    singles = [answered(runner.density, row[None]) for row in density.x]
    class_single, single, posterior_single = (np.concatenate(column) for column in zip(*singles, strict=True))
    found: dict[str, Difference] = {}

    def add(name: str, output: str, expected: Floats, got: Floats, tolerance: Floats) -> None:
        found[name] = compare(output, expected=expected, got=got, tolerance=tolerance)

    for number, name in enumerate(names):
        column = (slice(None), number)
        bound = allowed["class_log_prob"][column]
        expected = density.class_log_prob[column]
        ours, ours_single = _column(class_log_prob, number), _column(class_single, number)
        add(_of_class(name, "log_prob"), "class_log_prob", expected, ours, bound)
        add(_of_class(name, "batch 1 = batch N, log_prob"), "class_log_prob", ours, ours_single, bound)
    add("mixture, log_prob", "log_prob", density.log_prob, log_prob, allowed["log_prob"])
    add("mixture, posterior", "posterior", density.posterior, posterior, allowed["posterior"])
    add("mixture, batch 1 = batch N, log_prob", "log_prob", log_prob, single, allowed["log_prob"])
    add("mixture, batch 1 = batch N, posterior", "posterior", posterior, posterior_single, allowed["posterior"])
    for number, (name, part) in enumerate(zip(names, vectors.sampling, strict=True)):
        x, x_single = _decoded(runner, part.z, number)
        whole = ~part.clamped
        again = _column(_density_of_sampled(runner, x[whole], len(names)), number)
        add(_of_class(name, "sampling, x"), "x", part.x, x, part.tolerance["x"])
        add(_of_class(name, "batch 1 = batch N, x"), "x", x, x_single, part.tolerance["x"])
        tolerance = part.tolerance["log_prob"][whole]
        add(_of_class(name, _SAMPLED_DENSITY), "class_log_prob", part.log_prob[whole], again, tolerance)
    return found


def _column(values: Floats, number: int) -> Floats:
    """The numbers of one class; of a table that has no such column all of it, so that the comparison fails."""
    return values[:, number] if values.ndim == 2 and number < values.shape[1] else values


def _decoded(runner: ClassRunner, z: Floats, number: int) -> tuple[Floats, Floats]:
    """x of all rows at once, and one at a time."""
    (x,) = answered(runner.decode, z, number)
    return x, np.concatenate([answered(runner.decode, row[None], number)[0] for row in z])


def _density_of_sampled(runner: ClassRunner, x: Floats, classes: int) -> Floats:
    """class_log_prob of sampled rows; NaN where a faulty sampler left the domain, so that the check fails."""
    try:
        return runner.density(x)[0]
    except BadInputError:
        return np.full((len(x), classes), np.nan)
