"""Latency of the graphs beside other runners of the same model, each checked before it is timed."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lunet_export import noise
from lunet_export.artifact import open_folder
from lunet_export.bench.contender import (
    DIRECTIONS,
    ONE_CONTEXT,
    OURS,
    Contender,
    Fed,
    contender,
    device_runners,
    first_calls,
    floors,
    resident,
    validate_answers,
    with_one_context,
)
from lunet_export.bench.measure import HostAndDevice, Measurement, host_and_device, interleaved
from lunet_export.parity import Runner
from lunet_export.runtime import ExportedFlow
from lunet_export.runtime.cuda import CudaOptions
from lunet_export.runtime.providers import Provider


@dataclass(frozen=True)
class Row:
    """This is one runner, direction and batch."""

    runner: str
    direction: str
    batch: int
    time: Measurement  # milliseconds per call
    rows_per_second: float
    faster: float | None  # how many times faster the exported graph is than this runner; None for itself and floors
    times_floor: float | None  # this runner's median over the floor's; None for floors, and without one
    apart: HostAndDevice | None = None  # on a device that holds rows and results

    def as_json(self) -> dict[str, Any]:
        """Return the row with its measurement, for `--json`."""
        time_ = {key: value for key, value in asdict(self.time).items() if key != "turns"}
        return {**asdict(self), "time": time_, "noisy": self.time.noisy}


@dataclass(frozen=True)
class Opening:
    """These are the costs of a process before its first answer, in seconds."""

    read: float  # reading and verifying the folder
    sessions: float  # both sessions of ONNX Runtime
    first_run: float  # sampling one row


def open_timed(
    folder: Path, *, provider: Provider, threads: int | None, cuda: CudaOptions | None = None
) -> tuple[ExportedFlow, Opening]:
    """Return the flow of a folder, and how long it took to open it and to draw the first row.

    Raises what `ExportedFlow` raises.
    """
    begin = time.perf_counter()
    artifact = open_folder(folder)
    read = time.perf_counter()
    flow = ExportedFlow(artifact, provider=provider, threads=threads, cuda=cuda)
    opened = time.perf_counter()
    flow.decode(np.zeros((1, flow.dim), flow.dtype), context=None if flow.context is None else flow.context.middle)
    return flow, Opening(read - begin, opened - read, time.perf_counter() - opened)


def latency(
    flow: ExportedFlow,
    others: Mapping[str, Runner],
    *,
    batches: Sequence[int],
    seconds: float,
    warmup: int = 5,
    solvers: Mapping[str, Runner] | None = None,
    floor: bytes | None = None,
    threads: int | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
    warn: Callable[[str], None] = lambda sentence: None,
) -> list[Row]:
    """Time density and sampling of every runner on the same rows, interleaved.

    A conditional flow is given one context per row, those of its test vectors, and in one more line one for all rows.

    Drawing noise is not included. Copies between NumPy and the runner are, except in the lines of IO binding and CUDA
    graphs, whose rows and results stay on the device.

    Args:
        flow: The exported flow.
        others: Other runners of the same model, by name.
        batches: Numbers of rows per call.
        seconds: Seconds per runner, direction and batch.
        warmup: Number of calls of each that do not count, after a first one that never does.
        solvers: Runners of other sampling graphs, by name; they are timed in sampling only.
        floor: ONNX graph x -> y of the matrix products alone.
        threads: CPU threads of the floor's session, as `flow` was given.
        on_stage: Function called with a few words before each check and each timing.
        warn: Function called with one sentence if a line must be left out.

    Raises:
        CheckFailedError: if a runner's answers are not within the tolerances of the flow's test vectors.
    """
    entered = _entered(flow, others, solvers or {}, on_stage, warn)
    if floor is not None:
        entered += floors(floor, flow, {entry.way for entry in entered}, threads=threads)
    rows: list[Row] = []
    for batch in batches:
        z = noise.normal(0, range(batch), flow.dim).astype(flow.dtype)
        vectors, numbers = flow.vectors.density, np.arange(batch) % len(flow.vectors.density.x)
        x = vectors.x[numbers].astype(flow.dtype)
        context = None if vectors.context is None else vectors.context[numbers].astype(flow.dtype)
        for direction, entering in zip(DIRECTIONS, (x, z), strict=True):
            given = Fed(entering, context)
            on_stage(f"{direction}, batch {batch}")
            here = [entry for entry in entered if direction in entry.directions]
            cases = {entry.name: entry.call(direction, given) for entry in here}
            first_calls(cases)
            times = interleaved(cases, seconds=seconds, warmup=warmup)
            apart = {entry.name: _apart(entry, direction, given, seconds) for entry in here}
            rows += _rows(here, direction, batch, times, apart)
    return rows


def _apart(entry: Contender, direction: str, given: Fed, seconds: float) -> HostAndDevice | None:
    if entry.hand_over is None:
        return None
    ways = entry.hand_over(direction, given)
    found = host_and_device(ways.launch, ways.wait, seconds=seconds / 2)
    # The device waits for launches that the host hands over one by one: only a replay shows the device's own time.
    return found if entry.way == "captured" else HostAndDevice(found.host, None)


def _entered(
    flow: ExportedFlow,
    others: Mapping[str, Runner],
    solvers: Mapping[str, Runner],
    on_stage: Callable[[str], None],
    warn: Callable[[str], None],
) -> list[Contender]:
    """Return every runner as a line of the table, after its answers are checked."""
    lines: list[tuple[Contender, Runner]] = [(contender(f"{OURS}, {flow.provider}", flow), flow)]
    if flow.context is not None:
        lines.append((with_one_context(ONE_CONTEXT, flow), flow))
    lines += [
        (resident(name, one.on_device.graph, way), one) for name, (one, way) in device_runners(flow, warn).items()
    ]
    lines += [(contender(name, one, "arrays", ("sampling",)), one) for name, one in solvers.items()]
    lines += [(contender(name, one), one) for name, one in others.items()]
    for line, runner in lines:
        on_stage(f"checking the answers of {line.name}")
        validate_answers(line.name, runner, flow.vectors)
    return [line for line, _ in lines]


def _rows(
    entered: Sequence[Contender],
    direction: str,
    batch: int,
    times: Mapping[str, Measurement],
    apart: Mapping[str, HostAndDevice | None],
) -> list[Row]:
    ours = times[entered[0].name]
    lowest = {entry.way: times[entry.name] for entry in entered if entry.is_floor}
    rows = []
    for number, entry in enumerate(entered):
        time_, floor = times[entry.name], lowest.get(entry.way)
        faster = None if number == 0 or entry.is_floor else time_.times(ours)
        over = None if floor is None or entry.is_floor else time_.times(floor)
        rate = batch / time_.p50 * 1e3
        rows.append(Row(entry.name, direction, batch, time_, rate, faster, over, apart[entry.name]))
    return rows
