"""MNIST: one network that takes the label as its context, beside ten networks of one class each.

Both have the paper's 3 + 1 blocks with leaky squareplus and learned alphas, and see every training row 20 times: the
ten begin with the network of all classes after 10 epochs, as `make mnist-classes` does, and go on for 10 epochs each.
Densities and Bayes' rule are those of the exported graphs on the test rows, with one draw of the noise. Sampling graphs
of one class take turns, with that of the network of all classes.
`OMP_NUM_THREADS=1 python -m benchmarks.labels --threads 1 --data-dir DIR` trains what --models lacks, and writes
results/labels.json.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

import lunet_export
from benchmarks import report
from lunet_export import data, diagnostics
from lunet_export.api.models import Model
from lunet_export.bench import interleaved
from lunet_export.data import Dataset
from lunet_export.distribution import components_of
from lunet_export.runtime import ExportedClasses
from lunet_export.runtime.providers import open_sessions

EPOCHS = 10  # of the network of all classes, and of each network after it
BATCHES = (1, 256)
_TURNS = {1: 50, 256: 5}  # consecutive calls per turn, by batch
_NETWORK: dict[str, Any] = {"activation": "leaky-squareplus", "alpha": "learned"}
#: The networks of one class go on as in the Makefile: 6,000 images are few.
_AFTER: dict[str, Any] = {"whitened": False, "learning_rate": 1e-4, "batch_size": 64}

ALL, GIVEN, EACH = "all classes", "given the label", "one per class"
GIVEN_EACH = "given the label, a context per row"


def main() -> None:
    """Train what is missing, measure, write, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=4.0)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="where the MNIST files lie")
    parser.add_argument("--models", type=Path, default=Path("runs"), help="folder of the trained models")
    parser.add_argument("--again", action="store_true", help="time the sampling graphs of the last run again, alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = options.output / "labels.json"
    folders = {name: options.models / f"labels-{name.replace(' ', '-')}" for name in (ALL, GIVEN, EACH)}
    if options.again:
        document = json.loads(path.read_text(encoding="utf-8"))
    else:
        document = reached(options.models, folders, options.data_dir, options.threads)
    document["sampling"] = sampled(folders, options.seconds, options.threads)
    report.write(path, document)
    print(report.markdown(table(document)))


def reached(models: Path, folders: Mapping[str, Path], data_dir: Path, threads: int) -> dict[str, Any]:
    """Train what is missing, export, and return what the models with classes reach."""
    models.mkdir(parents=True, exist_ok=True)
    found = trained(models, data_dir)
    for name, model in found.items():
        report.progress(f"exporting the network {name}")
        lunet_export.export(model, folders[name], force=True, threads=threads).close()
    rows = data.load("mnist", data_dir=data_dir)
    return {
        "command": "OMP_NUM_THREADS=1 python -m benchmarks.labels --threads 1 --data-dir DIR",
        "machine": report.machine(threads),
        "epochs": EPOCHS,
        "models": {name: examined(found[name], folders[name], rows, threads) for name in (GIVEN, EACH)},
    }


def trained(folder: Path, data_dir: Path) -> dict[str, Model]:
    """Return the network of all classes, the one that is given the label, and the ten of one class each."""
    common: dict[str, Any] = {"data_dir": data_dir, "progress": False}

    def of(name: str, **choices: Any) -> Model:  # noqa: ANN401
        path = folder / f"labels-{name}.pt"
        if path.exists():
            return lunet_export.load(path)
        report.progress(f"training {path}")
        return lunet_export.train("mnist", path, **common, **choices)

    base = of("base", epochs=EPOCHS, **_NETWORK)
    given = of("given", epochs=2 * EPOCHS, context_labels=True, **_NETWORK)
    each = of("each", epochs=EPOCHS, per_class=True, begin=base, **_AFTER)
    return {ALL: base, GIVEN: given, EACH: each}


def examined(model: Model, folder: Path, rows: Dataset, threads: int) -> dict[str, Any]:
    """Return the sizes of a folder with classes, and what it reaches on the test rows."""
    report.progress(f"classifying by {folder}")
    with ExportedClasses(folder, provider="cpu", threads=threads) as flow:
        found = diagnostics.classify(diagnostics.ClassFolderSource(flow), rows, seed=0)
    files = [path for path in folder.iterdir() if path.is_file()]
    return {
        "test_bits_per_dim": found.bits_per_dim,
        "accuracy": found.accuracy,
        "log_loss": found.log_loss,
        "parameters": sum(chain.facts()["free_parameters"] for chain in components_of(model.distribution)),
        "bytes": sum(path.stat().st_size for path in files),
        "graph_bytes": sum(path.stat().st_size for path in files if path.suffix == ".onnx"),
    }


def sampled(folders: Mapping[str, Path], seconds: float, threads: int) -> list[dict[str, Any]]:
    """Return times of the sampling graphs of one class in ms, and how many times as long as of all classes.

    One context serves all rows, and in one more line each row has its own.
    """
    names = {ALL: "sampling.onnx", GIVEN: "sampling.onnx", EACH: "sampling_3.onnx"}
    read = {name: (folders[name] / file).read_bytes() for name, file in names.items()}
    opened = {name: open_sessions([graph], "cpu", threads=threads)[0][0] for name, graph in read.items()}
    found = []
    for batch in BATCHES:
        report.progress(f"sampling, batch {batch}")
        z = np.random.default_rng(0).standard_normal((batch, 784)).astype(np.float32)
        cases = {name: partial(session.run, None, {"z": z}) for name, session in opened.items() if name != GIVEN}
        for name, rows in {GIVEN: 1, GIVEN_EACH: batch}.items():
            context = np.eye(10, dtype=np.float32)[np.full(rows, 3)]
            cases[name] = partial(opened[GIVEN].run, None, {"z": z, "context": context})
        times = interleaved(cases, seconds=seconds, calls_per_turn=_TURNS[batch])
        for name in cases:
            graph = onnx.load_from_string(read[GIVEN if name == GIVEN_EACH else name]).graph
            facts = {"model": name, "batch": batch, "nodes": len(graph.node)}
            found.append({**facts, "over_all_classes": times[name].times(times[ALL]), **report.times(times[name])})
    return found


def table(document: Mapping[str, Any]) -> report.Rows:
    """Return a row per model."""
    head = ("MNIST, 20 passes over the rows", "mixture, test bits/pixel", "accuracy of Bayes' rule", "log loss, nats")
    found = [(*head, "numbers", "folder", *(f"sampling, batch {batch}" for batch in BATCHES))]
    called = {GIVEN: "one network, given the label", EACH: "ten networks, one per class"}
    for name, entry in document["models"].items():
        times = [run for run in document["sampling"] if run["model"] == name]
        found.append(
            (
                called[name],
                f"{entry['test_bits_per_dim']:.3f}",
                f"{entry['accuracy']:.2%}",
                f"{entry['log_loss']:.2f}",
                f"{entry['parameters'] / 1e6:.2f} million",
                f"{entry['bytes'] / 1e6:.0f} MB",
                *(f"{run['p50']:.2f} ms ({run['over_all_classes']:.2f})" for run in times),
            )
        )
    return found


if __name__ == "__main__":
    report.run(main)
