"""How fast are the graphs of LU-Net's smooth activations beside the floor of their products?

Both networks have the same LU layers, 3 + 1 blocks with D = 784 and the logit of images. All graphs of a direction and
batch take turns with the floor, and with the floor once more, which shows what the machine itself varies by. Answers
are checked first. `python -m benchmarks.activation_speed` writes results/activation_speed.json.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks import graphs, networks, report
from benchmarks.networks import Questions
from lunet_export.bench import interleaved
from lunet_export.flows import lunet
from lunet_export.graphs.estimate import estimates
from lunet_export.graphs.settings import Load
from lunet_export.layers import LU, Chain

FLOOR, AGAIN = "floor", "the floor again"
ACTIVATIONS = ("leaky-softplus", "leaky-squareplus")
SOLVERS = ("unrolled", "meeting", "fused")
BATCHES = (1, 256)
_TURNS = {1: 50, 256: 5}  # consecutive calls per turn, by batch

#: Targets of nodes and of times over the floor's at batch 1 and 256.
TARGETS: dict[tuple[str, str], tuple[int | None, float, float]] = {
    ("leaky-softplus", "unrolled"): (None, 2.3, 1.9),
    ("leaky-softplus", "meeting"): (None, 1.7, 1.45),
    ("leaky-softplus", "fused"): (None, 1.4, 1.35),
    ("leaky-softplus", "density"): (None, 1.35, 1.25),
    ("leaky-squareplus", "unrolled"): (52, 1.9, 1.55),
    ("leaky-squareplus", "meeting"): (48, 1.35, 1.17),
    ("leaky-squareplus", "fused"): (26, 1.13, 1.07),
    ("leaky-squareplus", "density"): (35, 1.2, 1.12),
}


def main() -> None:
    """Measure, write, print."""
    options = report.options(__doc__.splitlines()[0], seconds=4.0).parse_args()
    document = {
        "command": "python -m benchmarks.activation_speed",
        "machine": report.machine(options.threads),
        "rows": measure(networks.standard(), options.seconds, options.threads),
    }
    report.write(options.output / "activation_speed.json", document)
    report.table(rows(document))
    report.table(prediction_rows(document))


def measure(weights: Chain, seconds: float, threads: int) -> list[dict[str, Any]]:
    """Return a row for every graph and batch: its nodes, times in ms, and times over the floor's."""
    floor = graphs.opened(graphs.floor_graph(weights), threads)
    networks_of = {activation: with_activation(weights, activation) for activation in ACTIVATIONS}
    questions = {activation: Questions.about(network) for activation, network in networks_of.items()}
    found: list[dict[str, Any]] = []
    for direction, names in (("sampling", SOLVERS), ("density", ("density",))):
        opened = {
            (activation, name): open_graph(network, name, threads)
            for activation, network in networks_of.items()
            for name in names
        }
        for batch in BATCHES:
            report.progress(f"{direction}, batch {batch}")
            expected = predictions(networks_of, batch) if direction == "sampling" else {}
            feeds = {activation: asked.batch(direction, batch) for activation, asked in questions.items()}
            for (activation, name), graph in opened.items():
                answers = dict(zip(graph.outputs, graph.run(feeds[activation]), strict=True))
                questions[activation].check(f"{activation}, {name}", answers)
            every = {**opened, ("", FLOOR): floor, ("", AGAIN): floor}
            feeds[""] = feeds[ACTIVATIONS[0]]
            cases = {key: partial(graph.run, feeds[key[0]]) for key, graph in every.items()}
            named = {", ".join(key): case for key, case in cases.items()}
            times = interleaved(named, seconds=seconds, calls_per_turn=_TURNS[batch])
            base = times[f", {FLOOR}"].p50
            for key, graph in every.items():
                measured = times[", ".join(key)]
                facts = {"activation": key[0], "graph": key[1], "direction": direction, "batch": batch}
                over = {"nodes": graph.nodes, "over_floor": measured.p50 / base, "predicted": expected.get(key)}
                found.append({**facts, **over, **report.times(measured)})
    return found


def predictions(networks_of: Mapping[str, Chain], batch: int) -> dict[tuple[str, str], float]:
    """Return the milliseconds that the model of `--solver auto` expects, by activation and solver."""
    return {
        (activation, estimate.solver.name): estimate.milliseconds
        for activation, network in networks_of.items()
        for estimate in estimates(network, dtype="float32", load=Load("cpu", batch))
    }


def with_activation(weights: Chain, activation: str) -> Chain:
    """Return the same LU layers with another activation between them."""
    return lunet(weights.of(LU), networks.ALPHA, weights.preprocessing, activation)


def open_graph(network: Chain, name: str, threads: int) -> graphs.Graph:
    """Open the density graph, or the sampling graph of a solver."""
    model = graphs.density_graph(network) if name == "density" else graphs.sampling_graph(network, name)
    return graphs.opened(model, threads)


def rows(document: Mapping[str, Any]) -> report.Rows:
    """Return a row per activation and graph, each figure with its target in brackets; misses are bold."""
    found: report.Rows = [("graph", "nodes", "batch 1, over the floor", "batch 256, over the floor")]
    for (activation, name), targets in TARGETS.items():
        mine = [row for row in document["rows"] if (row["activation"], row["graph"]) == (activation, name)]
        figures = [mine[0]["nodes"], *(row["over_floor"] for batch in BATCHES for row in mine if row["batch"] == batch)]
        direction = name if name == "density" else f"sampling, `{name}`"
        found.append((f"{activation}: {direction}", *map(_aimed, figures, targets)))
    again = [
        max(abs(row["over_floor"] - 1) for row in document["rows"] if row["graph"] == AGAIN and row["batch"] == batch)
        for batch in BATCHES
    ]
    return [*found, ("the floor again, at most off by", "", *(f"{gap:.0%}" for gap in again))]


def prediction_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return the predicted time over the measured one, a row per sampling graph."""
    found: report.Rows = [("sampling", "batch 1, predicted over measured", "batch 256, predicted over measured")]
    for activation, name in TARGETS:
        if name in SOLVERS:
            mine = [row for row in document["rows"] if (row["activation"], row["graph"]) == (activation, name)]
            shares = [row["predicted"] / row["p50"] for batch in BATCHES for row in mine if row["batch"] == batch]
            found = [*found, (f"{activation}, `{name}`", *(f"{share:.2f}" for share in shares))]
    return found


def _aimed(measured: float, target: float | None) -> str:
    text = f"{measured}" if isinstance(measured, int) else f"{measured:.2f}"
    if target is None:
        return text
    return f"{text if measured <= target else f'**{text}**'} ({target:g})"


if __name__ == "__main__":
    report.run(main)
