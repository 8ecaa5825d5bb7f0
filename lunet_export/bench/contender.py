"""What is timed: the export, its rivals and the floor, each as calls on given rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lunet_export import parity
from lunet_export.checks.vector_file import Vectors, given
from lunet_export.errors import CheckFailedError, ProviderError
from lunet_export.parity import Runner
from lunet_export.runtime import ExportedFlow
from lunet_export.runtime.device_graph import DeviceGraph
from lunet_export.runtime.providers import open_sessions

Floats = NDArray[np.floating]
Call = Callable[[], object]

OURS, FLOOR, BINDING, CUDA_GRAPH = "ONNX Runtime", "floor", "+ IO binding", "+ CUDA graph"
ONE_CONTEXT = "+ one context"
DIRECTIONS = ("density", "sampling")
#: How rows reach a graph: as NumPy arrays, bound on the device, or bound with replayed launches.
Way = Literal["arrays", "bound", "captured"]


@dataclass(frozen=True)
class Fed:
    """These are rows (N, D), x or z, with the context of each (N, C), or of all (1, C), where the flow takes one."""

    rows: Floats
    context: Floats | None = None

    @property
    def given(self) -> dict[str, Floats]:
        """Return the keyword arguments with which a runner is called."""
        return {} if self.context is None else {"context": self.context}


@dataclass(frozen=True)
class HandOver:
    """These are a call that returns when its launches are handed to the device, and one that waits until it is done."""

    launch: Call
    wait: Call


@dataclass(frozen=True)
class Contender:
    """This is one line of the table: a name, how it is called, and which floor it is compared with."""

    name: str
    call: Callable[[str, Fed], Call]  # from a direction and rows
    way: Way = "arrays"
    directions: tuple[str, ...] = DIRECTIONS
    is_floor: bool = False
    hand_over: Callable[[str, Fed], HandOver] | None = None  # None if host and device cannot be measured separately


def contender(name: str, runner: Runner, way: Way = "arrays", directions: tuple[str, ...] = DIRECTIONS) -> Contender:
    """Return a runner as a line of the table, timed with its copies from and to NumPy."""

    def call(direction: str, fed: Fed) -> Call:
        answer = runner.density if direction == "density" else runner.decode
        return lambda: answer(fed.rows, **fed.given)

    return Contender(name, call, way, directions)


def with_one_context(name: str, runner: Runner) -> Contender:
    """Return a runner of a conditional flow as a line of the table, with the first context for all rows."""
    each = contender(name, runner)

    def call(direction: str, fed: Fed) -> Call:
        return each.call(direction, fed if fed.context is None else replace(fed, context=fed.context[:1]))

    return replace(each, call=call)


def resident(name: str, graph_of: Callable[[str], DeviceGraph], way: Way, *, is_floor: bool = False) -> Contender:
    """Return a line of graphs, one per direction, whose rows and results stay on the device."""

    def resident_call(direction: str, fed: Fed, *, wait: bool = True) -> Call:
        return graph_of(direction).resident(fed.rows, context=None if is_floor else fed.context, wait=wait)

    def hand_over(direction: str, fed: Fed) -> HandOver:
        return HandOver(resident_call(direction, fed, wait=False), graph_of(direction).synchronize)

    return Contender(name, resident_call, way, is_floor=is_floor, hand_over=hand_over)


def validate_answers(name: str, runner: Runner, vectors: Vectors) -> None:
    """Raise unless every answer of the runner is within the tolerances of the test vectors.

    Raises:
        CheckFailedError: if an answer is not.
    """
    checks = parity.run(runner, vectors)
    failed = [check.name for check in checks if not check.passed]
    if failed:
        raise CheckFailedError(f"Expected right answers before timing; {name} fails {', '.join(failed)}.")


def device_runners(flow: ExportedFlow, warn: Callable[[str], None]) -> dict[str, tuple[ExportedFlow, Way]]:
    """Return, on CUDA, the flow to run with its tensors on the device, launched and replayed; empty on the CPU.

    Args:
        flow: The exported flow.
        warn: Function called with one sentence if CUDA cannot bind or capture here; those lines are left out.
    """
    if flow.provider != "cuda":
        return {}
    found: dict[str, tuple[ExportedFlow, Way]] = {BINDING: (flow, "bound")}
    try:
        captured = ExportedFlow(flow.artifact, provider="cuda", cuda=flow.cuda, cuda_graph=True)
        density = flow.vectors.density
        captured.density(density.x[:1], **given(density, slice(1)))  # a device may open such a session but not capture
        captured.decode(np.zeros((1, flow.dim)), **given(density, slice(1)))
    except ProviderError as error:
        warn(f"Without {CUDA_GRAPH[2:]}: {error}")
        return found
    return found | {CUDA_GRAPH: (captured, "captured")}


def floors(graph: bytes, flow: ExportedFlow, ways: set[Way], *, threads: int | None) -> list[Contender]:
    """Return the floor graph x -> y once per way, timed like the lines that it is the floor of."""
    (plain,), _ = open_sessions([graph], flow.provider, threads=threads, cuda=flow.cuda)
    found = [Contender(FLOOR, lambda _, fed: lambda: plain.run(["y"], {"x": fed.rows}), is_floor=True)]
    device = flow.on_device.device
    if "bound" in ways:
        launched = DeviceGraph(plain, device, captured=False)
        found.append(resident(f"{FLOOR} {BINDING}", lambda _: launched, "bound", is_floor=True))
    if "captured" in ways:
        (session,), _ = open_sessions([graph], flow.provider, threads=threads, cuda=flow.cuda, cuda_graph=True)
        captured = DeviceGraph(session, device, captured=True)
        found.append(resident(f"{FLOOR} {CUDA_GRAPH}", lambda _: captured, "captured", is_floor=True))
    return found


def first_calls(cases: Mapping[str, Call]) -> None:
    """Call each once: what a runner does for a new batch size (compile, capture, allocate) is not timed."""
    for call in cases.values():
        call()
