"""What must hold of a graph on CUDA, and what does not, in sentences."""

from collections.abc import Iterator
from typing import Any

from tests.cuda.graphs import Case
from tests.cuda.journal import TF32, Counts

CUDA = "CUDAExecutionProvider"


def faults(case: Case, found: dict[str, Any], *, launches: int | None, capability: int) -> list[str]:
    """Every fault of a graph; none is the proof.

    Args:
        case: The graph.
        found: What the probe reports of it.
        launches: The committed number of a run.
        capability: Compute capability of the pretended GPU, 10 * major + minor.
    """
    if found["refused"]:
        return [f"our session refuses it: {found['refused']}"]
    return [
        *_placement(case, found),
        *_run(case, Counts(**found["run"]), launches),
        *_tf32(case, found["tf32"], capability),
        *_capture(case, found["capture"], launches),
    ]


def _placement(case: Case, found: dict[str, Any]) -> Iterator[str]:
    if found["placed"] != {CUDA: case.nodes}:
        yield f"{case.nodes} nodes should be on CUDA; placed: {found['placed']}"
    copies = {node: n for nodes in found["executed"].values() for node, n in nodes.items() if node.startswith("Memcpy")}
    if copies:
        yield f"ONNX Runtime inserts Memcpy nodes: {copies}"
    elsewhere = set(found["executed"]) - {CUDA}
    if elsewhere:
        yield f"nodes run on {elsewhere}"


def _run(case: Case, run: Counts, launches: int | None) -> Iterator[str]:
    if (run.uploads, run.downloads) != (case.uploads, case.downloads):
        yield (
            f"a run copies {run.uploads} times in and {run.downloads} times out; "
            f"expected {case.uploads} and {case.downloads}"
        )
    if run.launches != launches:
        yield f"a run launches {run.launches}; committed: {launches}"
    if run.allocations:
        yield f"a run at a known batch size allocates memory: {run}"
    if run.memsets != case.clears:
        yield f"a run clears memory {run.memsets} times; expected {case.clears}"
    if TF32 in run.math_modes:
        yield "TF32 is on"


def _tf32(case: Case, modes: list[int], capability: int) -> Iterator[str]:
    """Asked for, TF32 is there: where float32 products run on a GPU that has it. The check above can fail."""
    wanted = case.products == "float32" and capability >= 80
    if (TF32 in modes) != wanted:
        yield f"with TF32 asked for, cuBLAS is in the modes {modes}"


def _capture(case: Case, capture: dict[str, Any], launches: int | None) -> Iterator[str]:
    if capture["refused"]:
        yield f"no CUDA graph: {capture['refused']}"
        return
    if not case.captured:  # only opened
        return
    inside, replay = Counts(**capture["inside"]), Counts(**capture["replay"])
    if capture["captures"] != 1:
        yield f"the first run captures {capture['captures']} times"
    if inside.launches != launches:
        yield f"the capture holds {inside.launches} launches; committed: {launches}"
    yield from inside_a_capture(inside)
    if (replay.replays, replay.launches, replay.uploads, replay.downloads) != (1, 0, case.uploads, case.downloads):
        yield f"a replay is not one call, its copies apart: {replay}"


def inside_a_capture(inside: Counts) -> Iterator[str]:
    """Faults of what was called while a stream was captured."""
    for name in ("uploads", "downloads", "allocations", "synchronisations"):
        if getattr(inside, name):
            yield f"{getattr(inside, name)} {name} inside the capture"
