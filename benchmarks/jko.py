"""What do LU-Net and JKO-iFlow reach on every 2-D set and on the digits, and how long do they train?

Each is trained with its usual settings by `lunet_export.training.train`, from its own start to its own end; validation
is part of the time. The least possible figure is the entropy of the density that a set is drawn from, over the same
test rows. What is in the results is not trained again, so a stopped script goes on with what is missing.
`python -m benchmarks.jko` writes results/jko.json and, for each 2-D set, results/jko-NAME.png.
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
from lunet_export.checks import reference
from lunet_export.data import toy
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.figures import block_strip, validate_blocks
from lunet_export.flows.jko import with_steps
from lunet_export.graphs.blueprint import Blueprint, round_trip_error
from lunet_export.layers import Chain, Velocity
from lunet_export.runtime import ExportedFlow
from lunet_export.torch_layers import EagerFlow
from lunet_export.training import KINDS, train

DATASETS = (*toy.DENSITIES, "digits")
FLOWS = {"LU-Net": "lunet", "JKO-iFlow": "jko"}
STEPS = (1, 3, 6)
_POINTS, _SEED = 3000, 0  # of a strip
_CELLS = 400  # of the grid of an integral, a side


def main() -> None:
    """Train what is missing, write, draw, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=0)
    parser.add_argument("--models", type=Path, default=Path("runs"), help="folder of the trained models")
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
        if not model.exists():
            continue
        (entry,) = (run for run in document["runs"] if (run["dataset"], run["flow"]) == (dataset, "JKO-iFlow"))
        if "log_prob_from_reference" not in entry:
            entry |= examine(dataset, model)
            report.write(path, document)
        if dataset in toy.DENSITIES:
            strip(dataset, model, options.output / f"jko-{dataset}.png")
    show(document)


def run(dataset: str, family: str, model: Path, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Train a usual architecture with the given changes; return seconds, and nats and bits/dim of the test rows."""
    rows = data.load(dataset)
    settings = KINDS[family].settings(len(rows.train), rows.dim)
    architecture = KINDS[family].choose(rows.dim, rows.image_shape, given or {})
    begin = time.perf_counter()
    result = train(
        rows,
        settings,
        model,
        architecture=architecture,
        device=torch.device("cpu"),
        resume=False,
        on_start=lambda line, trainer: None,
        on_step=lambda step, bits: None,
        on_epoch=lambda record: report.progress(f"  {record.epoch}: {record.valid:.4f}"),
    )
    seconds = time.perf_counter() - begin
    nats = float(np.log(2)) * rows.dim
    return {
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


def examine(dataset: str, model: Path) -> dict[str, Any]:
    """Return the cost of a JKO-iFlow's steps, the integral of its density, and how far ONNX Runtime is from PyTorch."""
    weights, rows = checkpoint.read(model).weights, data.load(dataset)
    x = rows.continuous(rows.test, np.random.default_rng(_SEED).random(rows.test.shape)).astype(np.float32)
    blueprint = Blueprint.choose(weights, ExportSettings(hutchinson=True))
    exported = ExportedFlow(build_artifact(weights, Provenance(dataset), blueprint.settings), provider="cpu")
    z = exported.latent(len(x), seed=_SEED)
    eager = EagerFlow(weights, "float32")
    ours, theirs = exported.density(x), eager.density(x)
    found: dict[str, Any] = {
        "round_trip": {str(steps): round_trip_error(with_steps(weights, steps)) for steps in STEPS},
        "nodes": {name: len(blueprint.build(name, {}).graph.node) for name in blueprint.settings.graphs},
        "onnx_from_pytorch": {
            "log_prob": float(np.abs(ours[1] - theirs[1]).max()),
            "z": float(np.abs(ours[0] - theirs[0]).max()),
            "x": float(np.abs(exported.decode(z) - eager.decode(z)).max()),
            "rows": len(x),
        },
        "log_prob_from_reference": {
            name: float(np.abs(got - reference.log_prob(weights, x.astype(np.float64))).max())
            for name, got in (("onnxruntime", ours[1]), ("pytorch", theirs[1]))
        },
    }
    if weights.dim == 2:
        found["integral"] = {str(steps): integral(with_steps(weights, steps), rows.test) for steps in STEPS}
    return found


def integral(weights: Chain, x: np.ndarray) -> float:
    """Return the integral of p(x) over a rectangle around the rows, in float64.

    Sums over a grid converge fast, because the density is smooth and vanishes at the border.
    """
    low, high = x.min(axis=0), x.max(axis=0)
    axes = [np.linspace(a - (b - a) / 2, b + (b - a) / 2, _CELLS) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    flow = EagerFlow(weights, "float64")
    total = sum(float(np.exp(flow.density(part)[1]).sum()) for part in np.array_split(grid, 100))
    return total * float(np.prod([axis[1] - axis[0] for axis in axes]))


def strip(dataset: str, model: Path, path: Path) -> None:
    """Draw the picture of a model's blocks."""
    from lunet_cli.blocks_plot import draw

    weights = validate_blocks(checkpoint.read(model).weights)
    found = block_strip(weights, data.load(dataset), points=_POINTS, seed=_SEED)
    draw(
        found,
        path,
        title=f"JKO-iFlow on {dataset}: {len(weights.of(Velocity))} blocks, and how far each moves the test rows",
    )
    report.progress(f"wrote {path}")


def rows(document: Mapping[str, Any]) -> report.Rows:
    """Return a row per set, in nats per row, or bits/dim for the digits, with seconds of training."""
    found: list[tuple[str, ...]] = [("test nats per row", "entropy of the data", "Gaussian", *FLOWS)]
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


def step_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return how exact the steps are on eight Gaussians: a row per number of steps."""
    (entry,) = (run for run in document["runs"] if (run["dataset"], run["flow"]) == ("eight-gaussians", "JKO-iFlow"))
    head = ("eight Gaussians, steps per block", "largest error of x → z → x", "∫ p(x) dx")
    errors = entry["round_trip"].items()
    return [head, *((steps, f"{error:.1e}", f"{entry['integral'][steps]:.5f}") for steps, error in errors)]


def export_rows(document: Mapping[str, Any]) -> report.Rows:
    """Return the nodes of the exported graphs, and the largest differences of log p in float32: a row per set."""
    found = [
        (
            "exported JKO-iFlow",
            "nodes of density and sampling",
            "log p, ONNX Runtime from PyTorch",
            "ONNX Runtime from the reference",
            "PyTorch from the reference",
        )
    ]
    for entry in document["runs"]:
        if "nodes" in entry:
            nodes, exact = entry["nodes"], entry["log_prob_from_reference"]
            gaps = (entry["onnx_from_pytorch"]["log_prob"], exact["onnxruntime"], exact["pytorch"])
            name = f"{entry['dataset']}, {entry['onnx_from_pytorch']['rows']:,} rows"
            found.append((name, f"{nodes['density']}, {nodes['sampling']}", *(f"{gap:.1e}" for gap in gaps)))
    return found


def show(document: Mapping[str, Any]) -> None:
    """Print the table in Markdown."""
    print(report.markdown(rows(document)))


if __name__ == "__main__":
    report.run(main)
