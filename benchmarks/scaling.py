"""How do time, size, load time and error grow with the dimensions, the batch and the blocks?

One of them varies at a time, from the base D = 784, batch 64, 4 blocks. `python -m benchmarks.scaling` writes
results/scaling.json and results/scaling.png.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import graphs, networks, report
from benchmarks.networks import Questions
from lunet_export.bench import interleaved
from lunet_export.layers import LU, Chain

Array = NDArray[np.float64]
Point = tuple[int, int, int]  # D, batch, blocks

BASE = {"dim": networks.DIM, "batch": 64, "blocks": networks.BLOCKS}
AXES: dict[str, tuple[int, ...]] = {
    "dim": (16, 64, 256, 784, 1536, 3072),
    "batch": (1, 8, 64, 512, 4096),
    "blocks": (1, 2, 4, 8, 16),
}
GRAPHS = ("unrolled", "fused", "density")
#: Folding L U without BLAS grows with D^3, half a minute per block at D = 3072. So that point has one block, as the
#: record says.
LARGEST_WHOLE = 1536
_NAMES = {
    "milliseconds": "ms per call",
    "nodes": "nodes",
    "megabytes": "MB",
    "load_seconds": "load, s",
    "error": "error / scale",
}
_FIGURES = tuple(_NAMES)
_ROWS = 4  # rows that are checked; a batch repeats them


def main() -> None:
    """Measure, write, print."""
    options = report.options(__doc__.splitlines()[0], seconds=1.0).parse_args()
    document = measure(AXES, options.seconds, options.threads)
    report.write(options.output / "scaling.json", document)
    draw(document, options.output / "scaling.png")
    show(document)


def measure(axes: Mapping[str, Sequence[int]], seconds: float, threads: int) -> dict[str, Any]:
    """Measure every point of every axis, and fit the growth."""
    wanted = sorted({point(axis, value) for axis, values in axes.items() for value in values}, key=_network)
    found: dict[Point, dict[str, dict[str, Any]]] = {}
    for (dim, blocks), points in groupby(wanted, key=_network):
        report.progress(f"D = {dim}, {blocks} blocks: building")
        found |= measured(networks.standard(dim, blocks), [batch for _, batch, _ in points], seconds, threads)
    lines = {axis: {value: found[point(axis, value)] for value in values} for axis, values in axes.items()}
    return {
        "base": BASE,
        "notes": f"one block instead of {BASE['blocks']} above D = {LARGEST_WHOLE}, left out of the fits",
        "machine": report.machine(threads),
        "axes": {axis: _by_graph(line) for axis, line in lines.items()},
        "growth": {axis: exponents(axis, _by_graph(line)) for axis, line in lines.items()},
    }


def point(axis: str, value: int) -> Point:
    """Return the base with another value on one axis."""
    setting = BASE | {axis: value}
    blocks = setting["blocks"] if setting["dim"] <= LARGEST_WHOLE else 1
    return setting["dim"], setting["batch"], blocks


def measured(weights: Chain, batches: Sequence[int], seconds: float, threads: int) -> dict[Point, dict[str, Any]]:
    """Return the figures of every graph of one network, by point: answers checked first, then timed in turns."""
    models = {name: graphs.sampling_graph(weights, name) for name in GRAPHS[:-1]}
    models[GRAPHS[-1]] = graphs.density_graph(weights)
    opened = {name: graphs.opened(model, threads) for name, model in models.items()}
    questions = Questions.about(weights, _ROWS)
    found = {}
    for batch in batches:
        feeds = {name: questions.batch("density" if name == "density" else "sampling", batch) for name in opened}
        errors = {name: _checked(name, graph, questions, feeds[name]) for name, graph in opened.items()}
        report.progress(f"D = {weights.dim}, {len(weights.of(LU))} blocks, batch {batch}: timing")
        cases = {name: _call(graph, feeds[name]) for name, graph in opened.items()}
        times = interleaved(cases, seconds=seconds, calls_per_turn=50 if batch == 1 else 10)
        found[weights.dim, batch, len(weights.of(LU))] = {
            name: {
                "milliseconds": times[name].p50,
                "megabytes": len(graph.data) / 1e6,
                "error": errors[name],
                "blocks": len(weights.of(LU)),
                **graph.facts(),
                **report.times(times[name]),
            }
            for name, graph in opened.items()
        }
    return found


def growth(x: Sequence[float], y: Sequence[float]) -> float:
    """Return k of y ~ x^k, fitted to the larger half of the points, where constants no longer matter."""
    half = min(len(x) // 2, len(x) - 2)
    return float(np.polyfit(np.log(x[half:]), np.log(y[half:]), 1)[0])


def exponents(axis: str, lines: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    """Return the fitted growth of every figure by graph, over points that differ from the base on this axis only."""
    result = {}
    for name, line in lines.items():
        whole = {value: row for value, row in line.items() if axis == "blocks" or row["blocks"] == BASE["blocks"]}
        figures = ("milliseconds", "nodes", "megabytes", "load_seconds")
        result[name] = {figure: growth(list(whole), [row[figure] for row in whole.values()]) for figure in figures}
    return result


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Draw small multiples, one figure per row and one axis per column; hollow marks have another number of blocks."""
    axes_of = document["axes"]
    with report.picture(path, rows=len(_FIGURES), columns=len(axes_of), size=(11.0, 13.0)) as (figure, panels):
        for row, quantity in zip(panels, _FIGURES, strict=True):
            for (axis, lines), panel in zip(axes_of.items(), row, strict=True):
                for number, (name, line) in enumerate(lines.items()):
                    _line(panel, axis, quantity, line, name=name, colour=f"C{number}", growth=document["growth"])
                panel.set_xscale("log", base=2)
                panel.set_yscale("log")
                panel.set_xlabel({"dim": "D", "batch": "rows per call", "blocks": "LU blocks"}[axis])
                panel.set_ylabel(_NAMES[quantity])
                panel.grid(alpha=0.3)
                panel.legend(fontsize=7)
        base, facts = document["base"], document["machine"]
        title = f"from D = {base['dim']}, batch {base['batch']}, {base['blocks']} blocks; "
        figure.suptitle(f"{title}{facts['processor']}, {facts['threads']} threads; ^k: fitted growth", fontsize=11)


def rows(document: Mapping[str, Any]) -> report.Rows:
    """Return the fitted exponents of growth: a row per axis and graph."""
    names = {"dim": "dimensions", "batch": "rows per call", "blocks": "blocks"}
    found = [("exponent of growth with", "graph", "time", "nodes", "file size", "load time")]
    for axis, graphs_of in document["growth"].items():
        for graph, fitted in graphs_of.items():
            figures = (fitted[key] for key in ("milliseconds", "nodes", "megabytes", "load_seconds"))
            found.append((names[axis], graph, *(f"{abs(round(figure, 2)):.2f}" for figure in figures)))
    return found


def show(document: Mapping[str, Any]) -> None:
    """Print the points and the fitted growth."""
    lines = [("axis", "value", "blocks", "graph", "ms", "nodes", "MB", "load s", "error")]
    for axis, graphs_of in document["axes"].items():
        for name, line in graphs_of.items():
            for value, row in line.items():
                figures = (f"{row[key]:.3g}" for key in ("milliseconds", "nodes", "megabytes", "load_seconds", "error"))
                lines.append((axis, str(value), str(row["blocks"]), name, *figures))
    report.table(lines)
    print()
    head = ("growth with", "graph", "ms", "nodes", "MB", "load s")
    report.table(
        [head]
        + [
            (axis, name, *(f"^{k:.2f}" for k in fitted.values()))
            for axis, graphs_of in document["growth"].items()
            for name, fitted in graphs_of.items()
        ]
    )


def _line(
    panel: Any,  # noqa: ANN401
    axis: str,
    quantity: str,
    line: Mapping[int, Mapping[str, Any]],
    *,
    name: str,
    colour: str,
    growth: Mapping[str, Any],
) -> None:
    k = growth[axis][name].get(quantity)
    label = name if k is None else f"{name} ^{k:.2f}"
    whole = {value: row for value, row in line.items() if axis == "blocks" or row["blocks"] == BASE["blocks"]}
    panel.plot(list(whole), [row[quantity] for row in whole.values()], "o-", color=colour, label=label, markersize=4)
    for value in line.keys() - whole.keys():
        panel.plot([value], [line[value][quantity]], "o", color=colour, markerfacecolor="none")


def _checked(name: str, graph: graphs.Graph, questions: Questions, feed: NDArray[np.floating]) -> float:
    """Check the outputs, and return their largest error over the largest number in them."""
    got = dict(zip(graph.outputs, graph.run(feed), strict=True))
    questions.check(name, got)
    errors = []
    for output, value in got.items():
        expected = np.resize(questions.answers[output], value.shape)
        errors.append(np.abs(value - expected).max() / np.abs(expected).max())
    return float(max(errors))


def _call(graph: graphs.Graph, feed: NDArray[np.floating]) -> Callable[[], object]:
    return lambda: graph.run(feed)


def _network(at: Point) -> tuple[int, int]:
    return at[0], at[2]


def _by_graph(line: Mapping[int, Mapping[str, Any]]) -> dict[str, dict[int, Any]]:
    return {name: {value: found[name] for value, found in line.items()} for name in GRAPHS}


if __name__ == "__main__":
    report.run(main)
