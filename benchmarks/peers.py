"""How fast is the export beside the floor, eager PyTorch and its peers?

Every runner computes the same LU-Net in float32 on the same rows with the same threads, and is compared with the
float64 reference before it is timed. The floor is one D x D product per block in ONNX Runtime and nothing else.
`python -m benchmarks.peers` writes results/peers.json and results/peers.png.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import graphs, memory, networks, report, rivals
from benchmarks.lean import LeanRunner
from benchmarks.networks import Questions
from lunet_export.bench import interleaved
from lunet_export.errors import BadInputError
from lunet_export.layers import LU, Chain
from lunet_export.torch_layers.compiled import CompiledFlow
from lunet_export.torch_layers.eager import EagerFlow

Floats = NDArray[np.floating]
Outputs = dict[str, Floats]

FLOOR, EAGER, COMPILED = "floor", "eager PyTorch", "torch.compile"
LEAN, LEAN_COMPILED = "eager PyTorch, lean", "torch.compile, lean"
NFLOWS, NFLOWS_CACHED, ZUKO = "nflows LULinear", "nflows LULinear, cached", "zuko LULinearTransform"
AUTHORS, OURS, DENSITY = "authors' inverse", "unrolled", "density"

_SLOW = 0.3  # seconds per call from which a runner gets 3 runs of its own, outside the rounds
_SLOW_RUNS = 3
#: Consecutive calls before the next runner, at batch 1 and above. The weights of all runners together fit no cache, and
#: PyTorch's idle threads spin for some milliseconds: 50 calls of the floor would be over by then.
_TURN, _LONG_TURN = 400, 10
_AGREE = 0.15  # the floor alone and the floor in the rounds
_MEMORY_ROWS = 4096
_NOTES = {
    "time": "milliseconds per call, NumPy rows in and out; ours and the floor are bare session.run calls",
    EAGER: "lunet_export.flows.EagerFlow: solve_triangular, Newton until it converges, log_det on the way",
    COMPILED: "lunet_export.flows.CompiledFlow: the same, Newton with a fixed number of steps, a graph per batch size",
    LEAN: "L and U kept ready, a fixed number of Newton steps, no log_det: PyTorch rewritten for speed by hand",
    LEAN_COMPILED: "torch.compile of that, default mode, dynamic=False",
    AUTHORS: "arithmetic re-stated: a general solve of L and of U, a cubic spline of 2,000,001 points every call; "
    "with trained weights the evaluation costs more, see authors_inverse",
    "ratios": "medians over the rounds of the ratio of the medians of a round",
    "rounds": "floor and ONNX Runtime in one set of rounds, unrolled or density and PyTorch in another",
    "slow": f"runners of more than {_SLOW} s a call have {_SLOW_RUNS} runs outside the rounds",
    "rows": "latents of uniform grey levels: on N(0, I) all pixels clamp and the authors' spline leaves its knots",
}


@dataclass(frozen=True)
class Runner:
    """One way to compute a direction, with its outputs by name; the floor has none, because it computes no LU-Net."""

    call: Callable[[Floats], Any]
    outputs: Callable[[Any], Outputs] | None


@dataclass(frozen=True)
class Target:
    """A line of the table of targets."""

    name: str
    target: str
    measured: float | None  # None: not there to be measured
    met: bool


def main() -> None:
    """Measure, write, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=4.0)
    parser.add_argument("--model", type=Path, help="a trained model instead of the standard weights")
    parser.add_argument("--batch", default="1,256", help="rows per call (default 1,256)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    weights, name = networks.load(options.model)
    batches = [int(size) for size in options.batch.split(",")]
    document = {"model": name, "notes": _NOTES, **measure(weights, batches, options.seconds, options.threads)}
    report.write(options.output / "peers.json", document)
    draw(document, options.output / "peers.png")
    show(document)


def measure(weights: Chain, batches: list[int], seconds: float, threads: int) -> dict[str, Any]:
    """Measure and return everything that the results hold."""
    questions = Questions.about(weights)
    report.progress("the floor alone")
    floor = graphs.opened(graphs.floor_graph(weights), threads)
    alone = {size: _rounds({FLOOR: floor.run}, questions.batch(DENSITY, size), seconds)[FLOOR] for size in batches}
    report.progress("building the graphs")
    ours, refused = our_graphs(weights, threads)
    others, left_out = rival_runners(weights)
    rows: list[dict[str, Any]] = []
    for direction in ("sampling", DENSITY):
        names = [name for name in ours if (name == DENSITY) == (direction == DENSITY)]
        mine = {FLOOR: Runner(floor.run, None)} | {name: _our_runner(ours[name]) for name in names}
        default = DENSITY if direction == DENSITY else OURS
        for size in batches:
            # Two sets of rounds: PyTorch's threads go on spinning after a call, and would be in the floor's times.
            rows += timed(mine, questions, direction, size, seconds, default=default)
            against = {default: mine[default]} | others[direction]
            rows += timed(against, questions, direction, size, seconds, default=default, known=rows)
    facts = {solver: graph.facts() for solver, graph in {FLOOR: floor, **ours}.items()}
    floors = _floors(alone, rows)
    solve, growth = small_solve(threads, seconds), sampling_memory(weights, ours[OURS], threads)
    return {
        "machine": report.machine(threads),
        "rows": rows,
        "graphs": facts,
        "floor": floors,
        "solve_64": solve,
        "memory": growth,
        "left_out": {**refused, **left_out},
        "targets": [asdict(target) for target in targets(rows, facts, floors, solve, growth)],
    }


def our_graphs(weights: Chain, threads: int) -> tuple[dict[str, graphs.Graph], dict[str, str]]:
    """Return our open graphs by solver, `density` among them, and why other solvers refuse."""
    models, refused = graphs.sampling_graphs(weights)
    models[DENSITY] = graphs.density_graph(weights)
    return {name: graphs.opened(model, threads) for name, model in models.items()}, refused


def rival_runners(weights: Chain) -> tuple[dict[str, dict[str, Runner]], dict[str, str]]:
    """Return the other runners by direction and name, and why some are left out."""
    makers: dict[str, Callable[[], Any]] = {
        EAGER: lambda: EagerFlow(weights, "float32"),
        COMPILED: lambda: CompiledFlow(weights, "float32"),
        LEAN: lambda: LeanRunner(weights),
        LEAN_COMPILED: lambda: LeanRunner(weights, compiled=True),
        NFLOWS: lambda: rivals.nflows(weights, cached=False),
        NFLOWS_CACHED: lambda: rivals.nflows(weights, cached=True),
        ZUKO: lambda: rivals.zuko(weights),
        AUTHORS: lambda: rivals.authors(weights),
    }
    runners: dict[str, dict[str, Runner]] = {"sampling": {}, DENSITY: {}}
    left_out: dict[str, str] = {}
    for name, make in makers.items():
        try:
            if name in (COMPILED, LEAN_COMPILED) and not (shutil.which("g++") or shutil.which("clang++")):
                raise BadInputError("Expected a C++ compiler for torch.compile; found none.")
            made = make()
        except (BadInputError, ImportError) as error:
            left_out[name] = str(error)
            continue
        runners["sampling"][name] = Runner(made.decode, lambda x: {"x": x})
        if name in (EAGER, COMPILED, LEAN, LEAN_COMPILED):
            runners[DENSITY][name] = Runner(made.density, lambda pair: {"z": pair[0], "log_prob": pair[1]})
    return runners, left_out


def timed(
    runners: Mapping[str, Runner],
    questions: Questions,
    direction: str,
    size: int,
    seconds: float,
    *,
    default: str,
    known: list[dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Return one row per runner: answers are checked first, then fast runners are timed in rounds, slow ones alone.

    Ratios to `default`, our own graph, are taken within these rounds. So are ratios to the floor, if it is among the
    runners. If not, they follow from the row of `default` in `known`, which then has no second row.
    """
    feed = questions.batch(direction, size)
    ratios, slow = checked(runners, questions, feed)
    where = f"{direction}, batch {size}"
    report.progress(f"{where}: {len(runners)} runners answer rightly; timing")
    times = _rounds({name: runner.call for name, runner in runners.items() if name not in slow}, feed, seconds)
    for name in slow:
        report.progress(f"{where}: {_SLOW_RUNS} runs of {name}")
        call = runners[name].call
        alone = interleaved({name: lambda call=call: call(feed)}, seconds=0.0, warmup=0, calls_per_turn=_SLOW_RUNS)
        times[name] = replace(alone[name], turns=())  # its turns are not of these rounds
    ours = times[default]
    if known is None:
        over_floor = {name: time_.times(times[FLOOR]) for name, time_ in times.items()}
    else:
        wanted = (default, direction, size)
        carried = next(r["over_floor"] for r in known if (r["runner"], r["direction"], r["batch"]) == wanted)
        over_floor = {name: carried * time_.times(ours) for name, time_ in times.items()}
    return [
        {
            "runner": name,
            "direction": direction,
            "batch": size,
            **report.times(times[name]),
            "over_floor": over_floor[name],
            "over_ours": times[name].times(ours),
            "in_rounds": name not in slow,
            "error_over_tolerance": ratios.get(name),
        }
        for name in runners
        if known is None or name != default
    ]


def checked(runners: Mapping[str, Runner], questions: Questions, feed: Floats) -> tuple[dict[str, float], list[str]]:
    """Return each runner's largest error over its tolerance, and the runners that are slow.

    Raises:
        CheckFailedError: if a runner's answers are wrong.
    """
    ratios, slow = {}, []
    for name, runner in runners.items():
        got = runner.call(feed)  # the first call compiles or fills a cache
        if runner.outputs:
            ratios[name] = questions.check(name, runner.outputs(got))
        begin = time.perf_counter()
        runner.call(feed)
        if time.perf_counter() - begin > _SLOW:
            slow.append(name)
    return ratios, slow


def small_solve(threads: int, seconds: float) -> dict[str, Any]:
    """Time one 64 x 64 triangular solve with tiles of 16, for one row."""
    lower = networks.standard(64, 1).of(LU)[0].lower
    graph = graphs.opened(graphs.solve_graph(64, 16, lower), threads)
    z = np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32)
    (y,) = graph.run(z)
    residual = np.abs(y @ lower.T - z).max()
    networks.validate_answers("the 64 x 64 solve", residual, 1e-5)
    time_ = _rounds({"solve": graph.run}, z, min(seconds, 1.0))["solve"]
    return {**graph.facts(), **report.times(time_), "residual": float(residual)}


def sampling_memory(weights: Chain, graph: graphs.Graph, threads: int) -> dict[str, Any]:
    """Return the growth of peak memory over just before the session opens, drawing 4096 images in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sampling.onnx"
        file.write_bytes(graph.data)
        growth = memory.growth_of("benchmarks.memory:sampling", str(file), _MEMORY_ROWS, threads)
    needed = len(graph.data) + 2 * 4 * _MEMORY_ROWS * weights.dim
    return {
        "rows": _MEMORY_ROWS,
        "growth_bytes": growth,
        "weights_in_out_bytes": needed,
        "ratio": None if growth is None else growth / needed,
    }


def targets(
    rows: list[dict[str, Any]],
    facts: Mapping[str, Mapping[str, Any]],
    floors: list[dict[str, Any]],
    solve: Mapping[str, Any],
    growth: Mapping[str, Any],
) -> list[Target]:
    """Return the targets, and whether each was reached."""
    by_key = {(row["runner"], row["direction"], row["batch"]): row for row in rows}

    def over(key: str, runner: str, direction: str, batch: int) -> float | None:
        return by_key.get((runner, direction, batch), {}).get(key)

    lines: list[Target] = []
    limits = {OURS: (140, 2.6, 1.9), "meeting": (120, 2.0, 1.6), "fused": (95, 1.6, 1.35), DENSITY: (50, 1.5, 1.35)}
    for name, (nodes, *ratios) in limits.items():
        direction = DENSITY if name == DENSITY else "sampling"
        label = DENSITY if name == DENSITY else f"sampling, {name}"
        lines.append(_at_most(f"{label}: nodes", facts.get(name, {}).get("nodes"), nodes))
        for batch, limit in zip((1, 256), ratios, strict=True):
            measured = over("over_floor", name, direction, batch)
            lines.append(_at_most(f"{label}: batch {batch} over floor", measured, limit))
    faster = {
        EAGER: (5, 3),
        COMPILED: (2.5, 1.5),
        AUTHORS: (3000, 1000),
        NFLOWS: (5, 3),
        NFLOWS_CACHED: (5, 3),
        ZUKO: (5, 3),
    }
    for name, limits_of in faster.items():
        for batch, limit in zip((1, 256), limits_of, strict=True):
            measured = over("over_ours", name, "sampling", batch)
            lines.append(_at_least(f"{name}: batch {batch}, times as long as {OURS}", measured, limit))
    for name, graph in facts.items():
        if name != FLOOR:
            lines.append(_at_most(f"{name}: file, MB", graph["bytes"] / 1e6, 15))
            lines.append(_at_most(f"{name}: session load, s", graph["load_seconds"], 0.1))
    lines.append(_at_most("64 x 64 solve, tiles of 16: nodes", solve["nodes"], 20))
    lines.append(_at_most("64 x 64 solve, tiles of 16: ms", solve["p50"], 0.1))
    lines.append(_at_most("memory of 4096 images over weights + in + out", growth["ratio"], 6))
    for entry in floors:
        name = f"floor in the rounds over alone - 1: {entry['direction']}, batch {entry['batch']}"
        lines.append(_at_most(name, abs(entry["ratio"] - 1), _AGREE))
    return lines


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Draw bars of the median time, one panel per direction and batch."""
    rows = document["rows"]
    batches = sorted({row["batch"] for row in rows})
    panels = [(direction, batch) for direction in ("sampling", DENSITY) for batch in batches]
    size = (6.5 * len(batches), 8.5)
    with report.picture(path, rows=2, columns=len(batches), size=size) as (figure, axes):
        for (direction, batch), axis in zip(panels, axes.ravel(), strict=True):
            shown = [row for row in rows if (row["direction"], row["batch"]) == (direction, batch)]
            shown.sort(key=lambda row: -row["p50"])
            medians = [row["p50"] for row in shown]
            bars = axis.barh([row["runner"] for row in shown], medians, color=[_colour(row["runner"]) for row in shown])
            labels = [f" {_figure(row['p50'])} ms, {_figure(row['over_floor'])} x floor" for row in shown]
            axis.bar_label(bars, labels, fontsize=8)
            axis.set_xscale("log")
            axis.set_xlim(min(medians) / 2, max(medians) * 40)
            axis.set_title(f"{direction}, batch {batch}", fontsize=10)
            axis.set_xlabel("median ms per call")
            axis.spines[["top", "right"]].set_visible(False)
        facts = document["machine"]
        figure.suptitle(f"{document['model']}; {facts['processor']}, {facts['threads']} threads, float32", fontsize=11)


def show(document: Mapping[str, Any]) -> None:
    """Print the rows and the targets."""
    head = ("runner", "direction", "batch", "p50 ms", "p90", "p99", "x floor", "x ours", "noisy")
    lines = [head]
    for row in document["rows"]:
        figures = (_figure(row[key]) for key in ("p50", "p90", "p99", "over_floor", "over_ours"))
        lines.append((row["runner"], row["direction"], str(row["batch"]), *figures, "noisy" if row["noisy"] else ""))
    report.table(lines)
    print()
    goals = [("target", "wanted", "measured", "met")]
    for goal in document["targets"]:
        measured = "none" if goal["measured"] is None else _figure(goal["measured"])
        goals.append((goal["name"], goal["target"], measured, "yes" if goal["met"] else "NO"))
    report.table(goals)
    for name, reason in document["left_out"].items():
        print(f"left out: {name}: {reason}")
    for entry in document["floor"]:
        if not entry["agrees"]:
            where = f"{entry['direction']}, batch {entry['batch']}"
            print(
                f"The floor in the rounds of {where} is {entry['ratio']:.2f} times the floor alone, further than "
                f"{_AGREE:.0%}: do not trust the ratios of these rows."
            )


def floor_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return nodes and times over the floor's of every graph, each with its target."""
    found = [("ONNX Runtime, CPU", "nodes", "batch 1, over the floor", "batch 256, over the floor")]
    for name, words in {
        f"sampling, {OURS}": "sampling, `unrolled` (default)",
        "sampling, meeting": "sampling, `meeting`",
        "sampling, fused": "sampling, `fused`",
        DENSITY: "density",
    }.items():
        keys = ("nodes", "batch 1 over floor", "batch 256 over floor")
        found.append((words, *(_aimed(document, f"{name}: {key}") for key in keys)))
    return found


def rival_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return how many times as long as `unrolled` every other runner takes to sample, each with its target."""
    found = [("sampling time, relative to `unrolled`", "batch 1", "batch 256")]
    for name, words in {
        EAGER: "eager PyTorch: `solve_triangular`, Newton",
        COMPILED: "`torch.compile` of the same",
        NFLOWS: "nflows `LULinear`, the same activation",
        NFLOWS_CACHED: "nflows `LULinear` with its cached inverse",
        ZUKO: "zuko `LULinearTransform`, the same activation",
        AUTHORS: "the authors' inverse: general solve, refitted spline",
    }.items():
        keys = (f"{name}: batch {batch}, times as long as {OURS}" for batch in (1, 256))
        found.append((words, *(_aimed(document, key) for key in keys)))
    return found


def short_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return the same for PyTorch only, without targets."""
    measured = {goal["name"]: goal["measured"] for goal in document["targets"]}
    found = [("time to sample from the paper's MNIST network, relative to this export", "batch 1", "batch 256")]
    for name, words in {EAGER: "eager PyTorch", COMPILED: "`torch.compile`"}.items():
        figures = (measured[f"{name}: batch {batch}, times as long as {OURS}"] for batch in (1, 256))
        found.append((words, *(f"{figure:.2f}" for figure in figures)))
    return found


def other_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return every target that is in neither of the other tables."""
    shown = ("over floor", "times as long", "floor in the rounds", "sampling, ", f"{DENSITY}: nodes")
    names = [goal["name"] for goal in document["targets"] if not any(word in goal["name"] for word in shown)]
    return [("also measured", "figure"), *((name, _aimed(document, name)) for name in names)]


def solver_rows(document: Mapping[str, Any], launches: Mapping[str, int]) -> report.Rows:
    """Return nodes and bytes of the standard network's sampling, and the launches on a GPU: a row per solver."""
    found = [("`--solver`", "products of a block", "nodes", "MB", "GPU launches")]
    for name, words in {
        "unrolled": "substitution over two tiles per factor (`--tile` for more)",
        "meeting": "the first 1/32 substituted, the rest of L and U merged into one",
        "inverse": "L⁻¹, then U⁻¹",
        "fused": "(LU)⁻¹",
    }.items():
        facts, count = document["graphs"][name], launches[f"wide-float32-{name}-sampling"]
        found.append((f"`{name}`", words, str(facts["nodes"]), f"{facts['bytes'] / 1e6:.1f}", str(count)))
    return [*found, ("`rows`", "row by row, for study, up to 32 dimensions", "", "", "")]


def _aimed(document: Mapping[str, Any], name: str) -> str:
    """Format a measured figure with its target in brackets, in bold if it misses."""
    (goal,) = (goal for goal in document["targets"] if goal["name"] == name)
    measured, limit = goal["measured"], float(goal["target"].split()[1])
    whole = measured >= 100 or float(measured).is_integer()
    text = f"{measured:,.0f}" if whole else f"{measured:.2g}" if measured < 0.1 else f"{measured:.2f}"
    return f"{text if goal['met'] else f'**{text}**'} ({limit:,g})"


def _our_runner(graph: graphs.Graph) -> Runner:
    names = graph.outputs
    return Runner(graph.run, lambda values: dict(zip(names, values, strict=True)))


def _rounds(calls: Mapping[str, Callable[[Floats], Any]], feed: Floats, seconds: float) -> dict[str, Any]:
    cases = {name: lambda call=call: call(feed) for name, call in calls.items()}
    return interleaved(cases, seconds=seconds, calls_per_turn=_TURN if len(feed) == 1 else _LONG_TURN)


def _floors(alone: Mapping[int, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    entries = []
    for row in rows:
        if row["runner"] == FLOOR:
            ratio = row["p50"] / alone[row["batch"]].p50
            entries.append(
                {
                    "direction": row["direction"],
                    "batch": row["batch"],
                    "alone": report.times(alone[row["batch"]]),
                    "in_rounds_p50": row["p50"],
                    "ratio": ratio,
                    "agrees": abs(ratio - 1) <= _AGREE,
                }
            )
    return entries


def _at_most(name: str, measured: float | None, limit: float) -> Target:
    return Target(name, f"<= {limit:g}", measured, measured is not None and measured <= limit)


def _at_least(name: str, measured: float | None, limit: float) -> Target:
    return Target(name, f">= {limit:g}", measured, measured is not None and measured >= limit)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _colour(runner: str) -> str:
    others = (EAGER, COMPILED, LEAN, LEAN_COMPILED, NFLOWS, NFLOWS_CACHED, ZUKO, AUTHORS)
    return "0.6" if runner == FLOOR else "tab:orange" if runner in others else "tab:blue"


if __name__ == "__main__":
    report.run(main)
