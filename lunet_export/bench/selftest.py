"""The self-test of a GPU: everything that only the user's own machine can show, in one run."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lunet_export import noise, parity
from lunet_export.bench.contender import DIRECTIONS
from lunet_export.bench.measure import interleaved
from lunet_export.checks.vector_file import given
from lunet_export.errors import ProviderError
from lunet_export.parity import Check
from lunet_export.runtime import ExportedFlow, doctor

_SECONDS = 0.3  # per way of calling, graph and batch
_BATCHES = (1, 256)


@dataclass(frozen=True)
class SelfTest:
    """This is what was found on a GPU."""

    checks: list[Check]
    placement: dict[str, dict[str, int]]  # number of nodes of each graph on each execution provider
    tf32: str  # on or off, as the session was told
    products: str  # whether a product that is exact in float32 was computed exactly
    latency: list[dict[str, Any]]  # per graph and batch: median of each way of calling, milliseconds

    def as_json(self) -> dict[str, Any]:
        """Return placement, TF32 and latency; the checks are listed with the others."""
        return {key: value for key, value in asdict(self).items() if key != "checks"}


def run(
    flow: ExportedFlow,
    *,
    threads: int | None = None,
    batches: Sequence[int] = parity.DEVICE_BATCHES,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> SelfTest:
    """Test a flow that runs on CUDA.

    A device that cannot capture these graphs fails a check.

    Args:
        flow: The flow, on CUDA.
        threads: CPU threads of the comparison.
        batches: Numbers of rows per call at which replays are compared with launches.
        on_stage: Function called with a few words before each stage.
    """
    on_stage("comparing CUDA with the CPU, replays with launches")
    host = ExportedFlow(flow.artifact, provider="cpu", threads=threads)
    checks = parity.run_device(flow, host)
    captured, problem = _captured(flow)
    checks += (
        [parity.not_captured(problem)] if captured is None else parity.run_replays(flow, captured, batches=batches)
    )
    on_stage("timing")
    latency = [_timed(flow, captured, direction, batch) for direction in DIRECTIONS for batch in _BATCHES]
    attempt = doctor.attempt("cuda", flow.cuda)
    products = "exact" if attempt.exact else attempt.problem or "rounded to TF32, as asked"
    return SelfTest(checks, flow.placement, flow.effective_tf32, products, latency)


def _captured(flow: ExportedFlow) -> tuple[ExportedFlow | None, str]:
    """Return the flow with CUDA graphs, one captured per direction; or the reason why not."""
    try:
        captured = ExportedFlow(flow.artifact, provider="cuda", cuda=flow.cuda, cuda_graph=True)
        density = flow.vectors.density
        captured.density(density.x[:1], **given(density, slice(1)))
        captured.decode(np.zeros((1, flow.dim)), **given(density, slice(1)))
    except ProviderError as error:
        return None, str(error)
    return captured, ""


def _timed(flow: ExportedFlow, captured: ExportedFlow | None, direction: str, batch: int) -> dict[str, Any]:
    density, numbers, context = flow.vectors.density, np.arange(batch) % len(flow.vectors.density.x), None
    found = density.x[numbers] if direction == "density" else noise.normal(0, range(batch), flow.dim)
    rows = found.astype(flow.dtype)
    if density.context is not None:
        context = density.context[numbers].astype(flow.dtype)
    plain = flow.density if direction == "density" else flow.decode
    cases: dict[str, Callable[[], object]] = {
        "arrays": lambda: plain(rows, context=context),
        "IO binding": flow.on_device.graph(direction).resident(rows, context=context),
    }
    if captured is not None:
        cases["CUDA graph"] = captured.on_device.graph(direction).resident(rows, context=context)
    times = interleaved(cases, seconds=_SECONDS)
    return {"direction": direction, "batch": batch, "ways": {name: time.p50 for name, time in times.items()}}
