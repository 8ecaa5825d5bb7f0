"""What does LU-Net reach with each activation, and what do its graphs cost and lose?

Each activation is trained with the usual settings by `lunet_export.training.train`, and exported. float32 is compared
with the float64 reference on the test rows. What is in the results is not trained again.
`python -m benchmarks.activations` writes results/activations.json.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import jko, report
from lunet_export import checkpoint, data
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.graphs.blueprint import Blueprint
from lunet_export.layers import ACTIVATIONS
from lunet_export.runtime import ExportedFlow

DATASETS = ("two-moons", "eight-gaussians", "digits")
_SEED = 0  # of the noise of the rows that are compared


def main() -> None:
    """Train what is missing, write, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=0)
    parser.add_argument("--models", type=Path, default=Path("runs"), help="folder of the trained models")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = options.output / "activations.json"
    document = {"command": "python -m benchmarks.activations", "machine": report.machine(options.threads), "runs": []}
    if path.exists():
        document = json.loads(path.read_text(encoding="utf-8"))
    options.models.mkdir(parents=True, exist_ok=True)
    for dataset in DATASETS:
        for activation in ACTIVATIONS:
            if any((run["dataset"], run["activation"]) == (dataset, activation) for run in document["runs"]):
                continue
            report.progress(f"{activation} on {dataset}")
            model = options.models / f"{activation}-{dataset}.pt"
            trained = jko.run(dataset, "lunet", model, {"activation": activation})
            document["runs"].append({"activation": activation, **trained, **examine(dataset, model)})
            report.write(path, document)
    show(document)


def examine(dataset: str, model: Path) -> dict[str, Any]:
    """Return the nodes of the graphs, and the error of float32 on the test rows, in nats and in tolerances."""
    weights, rows = checkpoint.read(model).weights, data.load(dataset)
    x = rows.continuous(rows.test, np.random.default_rng(_SEED).random(rows.test.shape)).astype(np.float32)
    blueprint, exact = Blueprint.choose(weights, ExportSettings()), x.astype(np.float64)
    exported = ExportedFlow(build_artifact(weights, Provenance(dataset), blueprint.settings), provider="cpu")
    gap = np.abs(exported.density(x)[1] - reference.log_prob(weights, exact))
    tolerance = RoundingModel(weights, "float32").density(exact)["log_prob"]
    return {
        "nodes": {name: len(blueprint.build(name, {}).graph.node) for name in blueprint.settings.graphs},
        "log_prob_from_reference": {
            "median": float(np.median(gap)),
            "max": float(gap.max()),
            "max_of_tolerance": float((gap / tolerance).max()),
            "rows": len(x),
            "rows_with_a_tolerance_of_a_nat": int((tolerance >= 1).sum()),
        },
    }


def rows(document: Mapping[str, Any]) -> report.Rows:
    """Return a row per set, in nats per row; in bits/dim for the digits."""
    found: list[tuple[str, ...]] = [("test nats per row", "entropy of the data", "Gaussian", *_known(document))]
    for dataset in dict.fromkeys(entry["dataset"] for entry in document["runs"]):
        runs = {entry["activation"]: entry for entry in document["runs"] if entry["dataset"] == dataset}
        first = next(iter(runs.values()))
        unit = "nats" if first["entropy_nats"] is not None else "bits_per_dim"
        least = "-" if first["entropy_nats"] is None else f"{first['entropy_nats']:.3f}"
        cells = [dataset if unit == "nats" else f"{dataset}, bits/dim", least, f"{first[f'gaussian_{unit}']:.3f}"]
        cells += [f"{runs[name][f'test_{unit}']:.3f}" if name in runs else "-" for name in _known(document)]
        found.append(tuple(cells))
    return found


def graph_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return the nodes of the digits' graphs and the largest share of a tolerance over all sets, per activation."""
    found = [("activation", "density, nodes", "sampling, nodes", "largest error of log p over its tolerance")]
    for name in _known(document):
        runs = [entry for entry in document["runs"] if entry["activation"] == name]
        (nodes,) = (entry["nodes"] for entry in runs if entry["dataset"] == "digits")
        worst = max(entry["log_prob_from_reference"]["max_of_tolerance"] for entry in runs)
        found.append((name, str(nodes["density"]), str(nodes["sampling"]), f"{worst:.2f}"))
    return found


def _known(document: Mapping[str, Any]) -> list[str]:
    """Return the activations that the results hold."""
    return [name for name in ACTIVATIONS if any(entry["activation"] == name for entry in document["runs"])]


def show(document: Mapping[str, Any]) -> None:
    """Print the table in Markdown."""
    print(report.markdown(rows(document)))


if __name__ == "__main__":
    report.run(main)
