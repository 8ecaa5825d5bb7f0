"""The self-test of a GPU: what only the user's own machine can prove, in one go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lunet_export import noise, parity
from lunet_export.bench.contender import DIRECTIONS
from lunet_export.bench.measure import interleaved
from lunet_export.parity import Check
from lunet_export.runtime import ExportedFlow

_SECONDS = 0.3  # of each way of calling, graph and batch
_BATCHES = (1, 256)


@dataclass(frozen=True)
class SelfTest:
    """What was found on a GPU."""

    checks: list[Check]
    placement: dict[str, dict[str, int]]  # nodes of each graph on each execution provider
    tf32: str  # on or off, as the session itself answers
    latency: list[dict[str, Any]]  # a row for each graph and batch: the median of each way of calling, milliseconds

    def as_json(self) -> dict[str, Any]:
        """Placement, TF32 and latency; the checks are listed with the others."""
        return {"placement": self.placement, "tf32": self.tf32, "latency": self.latency}


def run(
    flow: ExportedFlow,
    *,
    threads: int | None = None,
    batches: Sequence[int] = parity.DEVICE_BATCHES,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> SelfTest:
    """Test a flow that runs on CUDA.

    Args:
        flow: On CUDA.
        threads: CPU threads of the comparison.
        batches: Rows a call at which replays are compared with launches.
        on_stage: Called with a few words before each stage.

    Raises:
        ProviderError: CUDA cannot capture these graphs.
    """
    on_stage("comparing CUDA with the CPU, replays with launches")
    host = ExportedFlow(flow.artifact, provider="cpu", threads=threads)
    captured = ExportedFlow(flow.artifact, provider="cuda", cuda=flow.cuda, cuda_graph=True)
    checks = parity.run_device(flow, host, captured, batches=batches)
    on_stage("timing")
    latency = [_timed(flow, captured, direction, batch) for direction in DIRECTIONS for batch in _BATCHES]
    return SelfTest(checks, flow.placement, flow.effective_tf32, latency)


def _timed(flow: ExportedFlow, captured: ExportedFlow, direction: str, batch: int) -> dict[str, Any]:
    rows = noise.normal(0, range(batch), flow.dim).astype(flow.dtype)
    if direction == "density":
        rows = np.resize(flow.artifact.vectors.density.x.astype(flow.dtype), (batch, flow.dim))
    plain = flow.density if direction == "density" else flow.decode
    cases: dict[str, Callable[[], object]] = {
        "arrays": lambda: plain(rows),
        "IO binding": flow.on_device.graph(direction).resident(rows),
        "CUDA graph": captured.on_device.graph(direction).resident(rows),
    }
    times = interleaved(cases, seconds=_SECONDS)
    return {"direction": direction, "batch": batch, "ways": {name: time.p50 for name, time in times.items()}}
