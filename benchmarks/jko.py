"""What do LU-Net and JKO-iFlow reach on every 2-D set and on the digits, and how long do they train?

Each is trained by its usual settings, by `lunet_export.training.train`, from its own start to its own end; validation
is part of the time. The least possible figure is the entropy of the density that a set is drawn from, over the same
test rows. What is in the results is not trained again, so a stopped script goes on with what is missing.
`python -m benchmarks.jko` writes results/jko.json and, of each 2-D set, results/jko-NAME.png.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import report
from lunet_export import checkpoint, data
from lunet_export.data import toy
from lunet_export.families.jko.graphs.blueprint import round_trip_error
from lunet_export.figures import block_strip, refuse_blocks
from lunet_export.training import FitSettings, train
from lunet_export.training.structure import part_of

DATASETS = (*toy.DENSITIES, "digits")
FLOWS = {"LU-Net": "lunet", "JKO-iFlow": "jko"}
_POINTS, _SEED = 3000, 0  # of a strip


def main() -> None:
    """Train what is missing, write, draw, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=0)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the trained models")
    parser.add_argument("--datasets", nargs="*", default=DATASETS, help="of these sets")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = options.output / "jko.json"
    document = {"command": "python -m benchmarks.jko", "machine": report.machine(options.threads), "runs": []}
    if path.exists():
        document = json.loads(path.read_text(encoding="utf-8"))
    options.models.mkdir(parents=True, exist_ok=True)
    for dataset in options.datasets:
        for name, family in FLOWS.items():
            if any((run["dataset"], run["flow"]) == (dataset, name) for run in document["runs"]):
                continue
            report.progress(f"{name} on {dataset}")
            document["runs"].append({"flow": name, **run(dataset, family, options.models / f"{family}-{dataset}.pt")})
            report.write(path, document)
        model = options.models / f"jko-{dataset}.pt"
        if dataset in toy.DENSITIES and model.exists():
            strip(dataset, model, options.output / f"jko-{dataset}.png")
    show(document)


def run(dataset: str, family: str, model: Path) -> dict[str, Any]:
    """Train one; seconds, and nats and bits/dim of the test rows."""
    rows = data.load(dataset)
    settings = FitSettings.for_data(len(rows.train), rows.dim, family=family)
    structure = part_of(family).Structure.choose(rows.dim, rows.image_shape, {})
    begin = time.perf_counter()
    result = train(
        rows,
        settings,
        model,
        structure=structure,
        device=torch.device("cpu"),
        resume=False,
        on_start=lambda line, trainer: None,
        on_step=lambda step, bits: None,
        on_epoch=lambda record: report.progress(f"  {record.epoch}: {record.valid:.4f}"),
    )
    seconds = time.perf_counter() - begin
    weights = checkpoint.read(model).weights
    nats = float(np.log(2)) * rows.dim
    found = {
        **{
            key: value
            for key, value in asdict(result).items()
            if key in ("dataset", "dim", "network", "unit", "epochs")
        },
        "seconds": seconds,
        "test_nats": result.test_nats,
        "test_bits_per_dim": result.test,
        "gaussian_nats": result.gaussian_test * nats,
        "gaussian_bits_per_dim": result.gaussian_test,
        "entropy_nats": float(-toy.log_density(dataset, rows.test).mean()) if dataset in toy.DENSITIES else None,
    }
    if family == "jko":
        found["round_trip"] = {str(steps): round_trip_error(weights.with_steps(steps)) for steps in (1, 2, 3, 6, 12)}
    return found


def strip(dataset: str, model: Path, path: Path) -> None:
    """The picture of a model's blocks."""
    from lunet_cli.blocks_plot import draw

    weights = refuse_blocks(checkpoint.read(model).weights)
    found = block_strip(weights, data.load(dataset), points=_POINTS, seed=_SEED)
    draw(
        found, path, title=f"JKO-iFlow on {dataset}: {len(weights.fields)} blocks, and how far each moves the test rows"
    )
    report.progress(f"wrote {path}")


def lines(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table: a row a set, in nats a row, of the digits in bits/dim, with seconds of training."""
    found: list[tuple[str, ...]] = []
    for dataset in dict.fromkeys(entry["dataset"] for entry in document["runs"]):
        runs = {entry["flow"]: entry for entry in document["runs"] if entry["dataset"] == dataset}
        first = next(iter(runs.values()))
        unit = "nats" if first["entropy_nats"] is not None else "bits_per_dim"
        least = "-" if first["entropy_nats"] is None else f"{first['entropy_nats']:.3f}"
        cells = [dataset if unit == "nats" else f"{dataset}, bits/dim", least, f"{first[f'gaussian_{unit}']:.3f}"]
        for name in FLOWS:
            entry = runs.get(name)
            cells.append("-" if entry is None else f"{entry[f'test_{unit}']:.3f}, {entry['seconds']:.0f} s")
        found.append(tuple(cells))
    return found


def show(document: Mapping[str, Any]) -> None:
    """The table in Markdown on stdout."""
    head = ("test nats a row", "entropy of the data", "Gaussian", *FLOWS)
    for row in (head, ["---"] * len(head), *lines(document)):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    report.run(main)
