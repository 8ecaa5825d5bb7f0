"""What is timed against what: the export, its rivals and the floor, each as calls on given rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lunet_export import parity
from lunet_export.errors import CheckFailedError, ProviderError
from lunet_export.parity import Runner
from lunet_export.runtime import ExportedFlow
from lunet_export.runtime.bound import BoundFlow, BoundGraph
from lunet_export.runtime.providers import open_sessions
from lunet_export.vectors import Vectors

Floats = NDArray[np.floating]
Call = Callable[[], object]

OURS, FLOOR, BINDING, CUDA_GRAPH = "ONNX Runtime", "floor", "+ IO binding", "+ CUDA graph"
DIRECTIONS = ("density", "sampling")
#: How rows reach a graph: as NumPy arrays; bound on the device; bound, and the launches replayed.
Way = Literal["arrays", "bound", "captured"]


@runtime_checkable
class Resident(Protocol):
    """A runner that can be timed without the copies to and from the device."""

    def resident(self, direction: str, rows: Floats) -> Call:
        """Copy rows to the device; the call computes there and waits for the end."""


@dataclass(frozen=True)
class Contender:
    """One line of the table: a name, how it is called, and which floor it is held against."""

    name: str
    call: Callable[[str, Floats], Call]  # of a direction and rows
    way: Way = "arrays"
    directions: tuple[str, ...] = DIRECTIONS
    is_floor: bool = False


def contender(name: str, runner: Runner, way: Way = "arrays", directions: tuple[str, ...] = DIRECTIONS) -> Contender:
    """A runner as a line of the table."""

    def call(direction: str, rows: Floats) -> Call:
        if isinstance(runner, Resident):
            return runner.resident(direction, rows)
        return (lambda: runner.density(rows)) if direction == "density" else (lambda: runner.decode(rows))

    return Contender(name, call, way, directions)


def refuse_wrong(name: str, runner: Runner, vectors: Vectors) -> None:
    """Raise unless every answer of the runner is within the tolerances of the test vectors.

    Raises:
        CheckFailedError: An answer is not.
    """
    checks = parity.run(runner, vectors)
    failed = [check.name for check in checks if not check.passed]
    if failed:
        raise CheckFailedError(f"Expected right answers before timing; {name} fails {', '.join(failed)}.")


def device_runners(flow: ExportedFlow, warn: Callable[[str], None]) -> dict[str, tuple[Runner, Way]]:
    """On CUDA: the same graphs with their tensors on the device, launched and replayed. Empty on the CPU.

    Args:
        flow: The exported flow.
        warn: Called with one sentence when CUDA cannot bind or capture here; the lines are then left out.
    """
    if flow.provider != "cuda":
        return {}
    try:
        launched, captured = BoundFlow.pair(flow.artifact, flow.dtype)
    except ProviderError as error:
        warn(f"Without {BINDING[2:]} and {CUDA_GRAPH[2:]}: {error}")
        return {}
    return {BINDING: (launched, "bound"), CUDA_GRAPH: (captured, "captured")}


def floors(graph: bytes, flow: ExportedFlow, ways: set[Way], *, threads: int | None) -> list[Contender]:
    """The floor graph x -> y once for each way, timed like the lines that it is the floor of."""
    if flow.provider == "cpu":
        (session,), _ = open_sessions([graph], "cpu", threads=threads)
        return [Contender(FLOOR, lambda _, rows: lambda: session.run(["y"], {"x": rows}), is_floor=True)]
    (plain,), _ = open_sessions([graph], "cuda", threads=threads)
    found = [Contender(FLOOR, lambda _, rows: lambda: plain.run(["y"], {"x": rows}), is_floor=True)]
    if "bound" in ways:
        (session,), _ = open_sessions([graph], "cuda", threads=threads, cuda_graph=True)
        launched, captured = BoundGraph(session, captured=False), BoundGraph(session, captured=True)
        found.append(Contender(f"{FLOOR} {BINDING}", lambda _, rows: launched.resident(rows), "bound", is_floor=True))
        found.append(
            Contender(f"{FLOOR} {CUDA_GRAPH}", lambda _, rows: captured.resident(rows), "captured", is_floor=True)
        )
    return found


def first_calls(cases: Mapping[str, Call]) -> None:
    """Call each once: what a runner does on a new batch size (compile, capture, allocate) is no part of a time."""
    for call in cases.values():
        call()
