"""Latency of the two graphs beside other runners of the same model, each checked before it is timed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export import noise, parity
from lunet_export.bench.measure import Measurement, interleaved
from lunet_export.errors import CheckFailedError
from lunet_export.parity import Runner
from lunet_export.runtime import ExportedFlow

Floats = NDArray[np.floating]

OURS = "ONNX Runtime"


@dataclass(frozen=True)
class Row:
    """One runner, direction and batch."""

    runner: str
    direction: str
    batch: int
    time: Measurement  # of one call, milliseconds
    rows_per_second: float
    faster: float | None  # how many times faster the exported graph is than this runner

    def as_json(self) -> dict[str, Any]:
        """The row with its measurement, for `--json`."""
        return {**asdict(self), "noisy": self.time.noisy}


def latency(flow: ExportedFlow, others: Mapping[str, Runner], *, batches: Sequence[int], seconds: float) -> list[Row]:
    """Time density and sampling of every runner on the same rows, interleaved.

    Copies between NumPy and the runner are included, drawing noise is not.

    Args:
        flow: The exported flow.
        others: Other runners of the same model, by name.
        batches: Numbers of rows a call.
        seconds: For each runner, direction and batch.

    Raises:
        CheckFailedError: A runner's answers are not within the tolerances of the flow's test vectors.
    """
    runners: dict[str, Runner] = {f"{OURS}, {flow.provider}": flow, **others}
    for name, runner in runners.items():
        failed = [check.name for check in parity.run(runner, flow.artifact.vectors) if not check.passed]
        if failed:
            raise CheckFailedError(f"Expected right answers before timing; {name} fails {', '.join(failed)}.")
    ours = next(iter(runners))
    rows = []
    for batch in batches:
        z = noise.normal(0, range(batch), flow.dim).astype(flow.dtype)
        x = np.resize(flow.artifact.vectors.density.x.astype(flow.dtype), (batch, flow.dim))
        for direction in ("density", "sampling"):
            cases = {name: _call(runner, direction, x, z) for name, runner in runners.items()}
            times = interleaved(cases, seconds=seconds)
            for name, time in times.items():
                faster = None if name == ours else time.p50 / times[ours].p50
                rows.append(Row(name, direction, batch, time, batch / time.p50 * 1e3, faster))
    return rows


def _call(runner: Runner, direction: str, x: Floats, z: Floats) -> Callable[[], object]:
    return (lambda: runner.density(x)) if direction == "density" else (lambda: runner.decode(z))
