"""The checks of an opened folder, for the command and for Python. Without a model no torch or onnx is loaded."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lunet_export import parity
from lunet_export.api.models import Model, another_model, eager_of
from lunet_export.errors import CheckFailedError
from lunet_export.parity import Check
from lunet_export.runtime import ExportedClasses, ExportedFlow

if TYPE_CHECKING:
    from lunet_export.bench.selftest import SelfTest

_ON_GPU = "Do not use this export on this GPU; lunet-export check --report FILE writes what to attach to a bug report."


class Checks(list[Check]):
    """Checks of a folder; shown as a table of their shares of the tolerance, where 1 is the limit."""

    def __repr__(self) -> str:
        failed = sum(not entry.passed for entry in self)
        outcome = f"{failed} failed" if failed else "all within tolerance"
        head = f"{len(self)} checks, {outcome}; shares of the tolerance:"
        return "\n".join([head, *(f"{entry.difference.ratio:8.2g}  {entry.name}" for entry in self)])


class FailedChecksError(CheckFailedError):
    """Error of an export with answers outside their tolerances.

    Attributes:
        checks: All checks; `passed` is False for those that failed.
    """

    def __init__(self, checks: Sequence[Check], *, on_gpu: bool = False) -> None:
        failed = [entry.name for entry in checks if not entry.passed]
        super().__init__(
            f"Expected all differences within tolerance; {len(failed)} of {len(checks)} are not: {', '.join(failed)}. "
            + (_ON_GPU if on_gpu else "Do not use this export; export again, or with `dtype='float64'`.")
        )
        self.checks = list(checks)


def checks_of(
    flow: ExportedFlow | ExportedClasses, model: Model | None, *, folder: Path, seed: int, threads: int | None
) -> list[Check]:
    """Return the checks on the test vectors; with a model also on fresh ones, and of chains without pre-processing.

    Args:
        flow: The opened folder.
        model: Model that the folder was exported from; None checks the test vectors alone.
        folder: Path of the folder, for error messages.
        seed: Seed of the fresh vectors.
        threads: CPU threads of each session.

    Raises:
        BadInputError: if the folder was exported from another model.
    """
    known, predicted = flow.vectors, None if flow.tf32 else flow.artifact.round_trip  # the prediction is not for TF32
    if model is None:
        checks = parity.run(flow, known, predicted=predicted) + parity.run_optional(flow, known)
        return parity.with_recorded_eager(checks, flow.manifest.document.get("checks", []))
    from lunet_export.checks import vectors
    from lunet_export.export import check_chains, rebuilt

    blueprint = rebuilt(model.distribution, flow.manifest)
    if blueprint is None:
        raise another_model(flow.manifest, model, ("check", str(folder)))
    settings, eager = blueprint.settings, eager_of(blueprint.settings.tensors)
    fresh = vectors.build(blueprint.weights, dtype=settings.tensors, products=settings.products, seed=seed)
    if flow.tf32:
        fresh = fresh.under_tf32(flow.manifest.products)
    beside = eager(blueprint.weights)
    checks = parity.run(flow, known, eager=beside, predicted=predicted) + parity.run_optional(flow, known)
    predicted = None if flow.tf32 else blueprint.round_trip(fresh.density.x)
    checks += parity.run(flow, fresh, eager=beside, group="fresh", predicted=predicted)
    checks += parity.run_optional(flow, fresh, group="fresh")
    return checks + check_chains(blueprint, eager=eager, provider=flow.provider, threads=threads, cuda=flow.cuda)


def self_test(
    flow: Any,  # noqa: ANN401
    *,
    threads: int | None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> "SelfTest | None":
    """Return the self-test of a flow's GPU; None on the CPU and for mixtures, which have no self-test."""
    if isinstance(flow, ExportedClasses) or flow.provider != "cuda":
        return None
    from lunet_export.bench import selftest

    return selftest.run(flow, threads=threads, on_stage=on_stage)
