"""Do the flows that people train in science leave Python in both directions, right, and how fast are they then?

The flows are those of `gallery`: the defaults of sbi, zuko, normflows, dingo, bayesflow, IKFlow and anomalib, small.
Each is exported once and compared with its library's own float64 answers at 64 rows, each with a context of its own.
Then the graphs are timed beside those of `torch.onnx.export`, where it makes one that answers right, and beside eager
PyTorch: ONNX Runtime's sessions with equal options, NumPy arrays in and out, interleaved, batches of 1 and 256.

At last 10,000 rows that a flow itself draws are asked in float32 of our graphs and of the library, also of splines with
steep bins: each row's difference from the float64 reference over max(1, |value|). A row without an answer is one that
is not finite, or at which the library raises. `python -m benchmarks.science` writes results/science.json; flows that
are in it are not measured again.
"""

import json
import shlex
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from benchmarks import contexts, gallery, given, report
from benchmarks.contexts import EAGER, OURS
from benchmarks.given import Peer
from benchmarks.imported import cause, own_graph
from lunet_export import ExportedFlow, importers
from lunet_export.bench import interleaved
from lunet_export.checks import reference
from lunet_export.layers import Chain
from lunet_export.runtime.providers import open_sessions

Floats = NDArray[np.floating]

DIRECTIONS = ("density", "sampling")
OWN, THEIRS = "PyTorch's export", "the library"
BATCHES = (1, 256)
ROWS, MANY = 64, 10_000
PARITY = 1e-10  # in float64
#: How many times as long others should take, on zuko's NSF: by batch.
TARGETS = {OWN: {1: 2.0, 256: 2.0}, EAGER: {1: 5.0}}
TARGET_FLOW = "zuko NSF"
_NEAR = 1e-2  # a graph that is further off computes something else


def main() -> None:
    """Measure what is missing, write, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=1.0)
    parser.add_argument("--only", nargs="*", default=list(gallery.FLOWS), choices=gallery.FLOWS, help="names of flows")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = options.output / "science.json"
    document: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.science", *sys.argv[1:]]),
        "machine": report.machine(options.threads),
        "flows": [],
        "steep": [],
    }
    if path.exists():
        document = json.loads(path.read_text(encoding="utf-8"))
    done = {flow["name"] for flow in document["flows"]}
    for name in options.only:
        if name in done:
            continue
        report.progress(f"{name}: training")
        document["flows"].append(measured(name, given.seeded(gallery.FLOWS[name]), options.seconds, options.threads))
        report.write(path, document)
    for name in (name for name in gallery.STEEP if name not in {entry["name"] for entry in document["steep"]}):
        report.progress(name)
        peer = given.seeded(gallery.STEEP[name])
        weights = importers.read(peer.flow).weights
        found = accuracy(weights, peer, contexts.opened(weights, "float32", options.threads))
        document["steep"].append({"name": name, "accuracy": found})
        report.write(path, document)
    for made in (parity_rows, speed_rows, target_rows, accuracy_rows):
        report.table(made(document))


def measured(name: str, peer: Peer, seconds: float, threads: int) -> dict[str, Any]:
    """Return all that the results hold of one flow."""
    weights = importers.read(peer.flow).weights
    x, c = (part[:ROWS].astype(np.float64) for part in (peer.rows, peer.contexts))
    z = np.random.default_rng(0).standard_normal(x.shape)
    wanted = peer.in_float64(x, c), peer.in_float64(z, c, sampling=True)
    flow, facts = contexts.compared(weights, (x, z, c if weights.context else None), wanted, threads)
    own = {}
    times: list[dict[str, Any]] = []
    for direction, entering in zip(DIRECTIONS, (x, z), strict=True):
        report.progress(f"{name}: {direction}")
        fed = [entering.astype(np.float32), *([c.astype(np.float32)] if weights.context else [])]
        eager = contexts.on_arrays(peer, lambda call: call)[direction]()
        own[direction], graph = theirs(peer, direction, eager, fed)
        times += _timed(flow.artifact.graphs[direction], graph, eager, fed, direction, seconds, threads)
    return {"name": name, **facts, "own": own, "times": times, "accuracy": accuracy(weights, peer, flow)}


def theirs(peer: Peer, direction: str, eager: Callable[..., Floats], fed: list[Floats]) -> tuple[dict, bytes | None]:
    """Return what PyTorch's own exporter makes of a direction: its nodes or the error, and the graph if it is right."""
    function = peer.log_prob if direction == "density" else peer.decode
    empty = torch.empty(len(fed[0]), 0)

    def asked(rows: torch.Tensor, given: torch.Tensor = empty) -> torch.Tensor:
        return function(peer.flow, rows, given)

    try:
        graph = own_graph(peer.flow, asked, *map(torch.from_numpy, fed))
        run = _runner(graph, threads=1)
        found = run(*(part[:5] for part in fed))
    except ModuleNotFoundError:  # a package that we lack, no fault of the library's
        raise
    except Exception as error:  # torch's exporters raise many kinds, and so does ONNX Runtime about their graphs
        return {"why_not": cause(error), "said": _first_line(error)}, None
    gap = float(contexts.gaps_of(found, eager(*_both(part[:5] for part in fed))).max())
    nodes = len(onnx.load_from_string(graph).graph.node)
    return ({"nodes": nodes}, graph) if gap < _NEAR else ({"nodes": nodes, "why_not": "wrong"}, None)


def _first_line(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).splitlines() or [""])[0][:160]


def _both(fed: Any) -> tuple[Floats, Floats]:  # noqa: ANN401
    """Return rows and contexts, of no numbers if there are none."""
    rows, *given = fed
    return rows, given[0] if given else rows[:, :0]


def _runner(graph: bytes, threads: int) -> Callable[..., Floats]:
    """Return a function from the inputs to log p of our density graphs, and to the one output of all others."""
    (session,), _ = open_sessions([graph], "cpu", threads=threads)
    inputs, outputs = ([tensor.name for tensor in each] for each in (session.get_inputs(), session.get_outputs()))
    wanted = [name for name in outputs if name == "log_prob"] or outputs
    return lambda *fed: session.run(wanted, dict(zip(inputs, fed, strict=True)))[0]


def _timed(
    ours: bytes,
    own: bytes | None,
    eager: Callable[..., Floats],
    fed: list[Floats],
    direction: str,
    seconds: float,
    threads: int,
) -> Iterator[dict[str, Any]]:
    runners = {name: _runner(graph, threads) for name, graph in {OURS: ours, OWN: own}.items() if graph is not None}
    for batch in BATCHES:
        part = [np.resize(each, (batch, each.shape[1])) for each in fed]
        cases: dict[str, Callable[[], Any]] = {name: partial(run, *part) for name, run in runners.items()}
        cases[EAGER] = partial(eager, *_both(part))
        answer = cases[OURS]()
        for name, call in cases.items():
            assert contexts.gaps_of(answer, call()).max() < _NEAR, (direction, name)
        found = interleaved(cases, seconds=seconds)
        yield {
            "direction": direction,
            "batch": batch,
            **{case: report.times(time) for case, time in found.items()},
            "faster": {case: time.times(found[OURS]) for case, time in found.items() if case != OURS},
        }


def accuracy(weights: Chain, peer: Peer, flow: ExportedFlow, count: int = MANY) -> dict[str, Any]:
    """Return the errors of our float32 and of the library's own, by direction, on rows that the flow draws."""
    z = np.random.default_rng(1).standard_normal((count, weights.dim)).astype(np.float32)
    c = np.resize(peer.contexts, (count, peer.contexts.shape[1]))
    seen = c.astype(np.float64) if weights.context else None
    decoded = reference.decode(weights, z.astype(np.float64), seen)
    x = decoded.astype(np.float32)
    log_prob = reference.log_prob(weights, x.astype(np.float64), seen)
    own = contexts.on_arrays(peer, lambda call: call)
    given_one = {"context": c} if weights.context else {}
    calls: dict[str, dict[str, tuple[Floats, Floats, Callable[[Floats, Floats], Floats]]]] = {
        "density": {
            OURS: (x, log_prob, lambda rows, _: flow.log_prob(rows, **given_one)),
            THEIRS: (x, log_prob, own["density"]()),
        },
        "sampling": {
            OURS: (z, decoded, lambda rows, _: flow.decode(rows, **given_one)),
            THEIRS: (z, decoded, own["sampling"]()),
        },
    }
    with warnings.catch_warnings(action="ignore"):  # rows far out
        return {
            direction: {who: summary(errors(call, wanted, rows, c)) for who, (rows, wanted, call) in of.items()}
            for direction, of in calls.items()
        }


def errors(call: Callable[[Floats, Floats], Floats], wanted: Floats, rows: Floats, given: Floats) -> Floats:
    """Return the error of each row, NaN where there is no finite answer; a batch that raises is halved to find its row.

    Args:
        call: Function of rows (N, D) and contexts (N, C).
        wanted: Its answers in float64, (N,) or (N, D).
        rows: The rows.
        given: Their contexts.
    """
    try:
        found = call(rows, given)
    except Exception:
        if len(rows) == 1:
            return np.array([np.nan])
        half = len(rows) // 2
        parts = (slice(half), slice(half, None))
        return np.concatenate([errors(call, wanted[part], rows[part], given[part]) for part in parts])
    with np.errstate(invalid="ignore"):
        gaps = contexts.gaps_of(found, wanted)
    return np.where(np.isfinite(gaps), gaps, np.nan)


def summary(gaps: Floats) -> dict[str, Any]:
    """Return the median and the largest of errors, and how many rows have none because they have no answer."""
    answered = gaps[np.isfinite(gaps)]
    return {
        "median": float(np.median(answered)),
        "largest": float(answered.max()),
        "without": len(gaps) - len(answered),
    }


def _each(flows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], int, str]]:
    for flow in flows:
        for place, direction in enumerate(DIRECTIONS):
            yield flow, place, direction


def parity_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return the table of parity and nodes: a line per flow and direction."""
    found = [("flow and direction", "float64", "of the float32 tolerance", "nodes", f"nodes of {OWN}")]
    for flow, place, direction in _each(document["flows"]):
        own = flow["own"][direction]
        found.append(
            (
                f"{flow['name']}, {direction}",
                f"{flow['float64'][place]:.0e}",
                f"{flow['float32 of the tolerance'][place]:.2f}",
                str(flow["nodes"][direction]),
                own.get("why_not") or str(own["nodes"]),
            )
        )
    return found


def speed_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return the table of times: a line per flow and direction."""
    head = ["flow and direction"]
    for batch in BATCHES:
        head += [f"batch {batch}, ms", f"{OWN} takes, times", "eager takes, times"]
    found = [head]
    for flow, _, direction in _each(document["flows"]):
        line = [f"{flow['name']}, {direction}"]
        for entry in (entry for entry in flow["times"] if entry["direction"] == direction):
            line.append(f"{entry[OURS]['p50']:.3f}")
            line += [f"{entry['faster'][who]:.1f}" if who in entry["faster"] else "-" for who in (OWN, EAGER)]
        found.append(line)
    return found


def target_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return the table of the targets, all of zuko's NSF: a line per direction, batch and rival."""
    found = [(TARGET_FLOW, "takes, times", "target", "")]
    for flow, _, direction in _each(document["flows"]):
        if flow["name"] != TARGET_FLOW:
            continue
        for who, targets in TARGETS.items():
            for entry in (each for each in flow["times"] if each["direction"] == direction):
                if (target := targets.get(entry["batch"])) is None:
                    continue
                times = entry["faster"].get(who, np.nan)
                met = "met" if times >= target else "**missed**"
                found.append((f"{direction}, batch {entry['batch']}, {who}", f"{times:.1f}", f"{target:.0f}", met))
    return found


def accuracy_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return the table of errors in float32 of the spline flows: a line per flow and direction."""
    found = [("flow and direction", "median, ours", "the library's", "largest, ours", "the library's", "no answer of")]
    splines = [flow for flow in document["flows"] if flow["name"] in gallery.SPLINES]
    for flow, _, direction in _each([*splines, *document["steep"]]):
        both = [flow["accuracy"][direction][who] for who in (OURS, THEIRS)]
        found.append(
            (
                f"{flow['name']}, {'log p' if direction == 'density' else 'x'}",
                *(f"{each['median']:.1e}" for each in both),
                *(f"{each['largest']:.1e}" for each in both),
                ", ".join(f"{each['without']:,}" for each in both),
            )
        )
    return found


if __name__ == "__main__":
    report.run(main)
