"""What should a context move in an LU-Net: shifts, scales or both, and by which network?

Behind every LU layer x becomes s(c) x + t(c). Variants differ in whether s and t are there, and in whether they see the
context alone, which makes t and log s linear in it, or hidden units too. Each is trained with three seeds, and the best
epoch on the validation rows is compared. Two moons are turned and stretched by their context, so their entropy is
known, as is that of the linear Gaussian; of the digits the label is the context.
`python -m benchmarks.conditional --threads 1` writes results/conditional.json after every run and goes on where it
stopped.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import report
from lunet_export import data
from lunet_export.data import Contexts, Dataset, toy
from lunet_export.layers import Chain, ConditionalAffine, ScaleMap
from lunet_export.torch_layers import Flow
from lunet_export.torch_layers.conditional_affine import ConditionalAffineBijection
from lunet_export.training.fit import log_probs
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.lunet.architecture import LUNetArchitecture, LUNetTrainer
from lunet_export.training.lunet.conditional import HIDDEN, SCALE, conditional
from lunet_export.training.lunet.initial import start
from lunet_export.training.rows import gaussian_of, rows_to_test, training_rows, validation_rows
from lunet_export.training.settings import FitSettings

Array = NDArray[np.float64]

SEEDS = (0, 1, 2)
_ROWS = (8000, 1000, 10000)  # of training, validation and test
_EPOCHS = 60  # of rows that are drawn; digits have the usual number
_NOISE = ScaleMap("none")


@dataclass(frozen=True)
class Variant:
    """What depends on the context: scales by a map, or none; shifts, or none; and the number of hidden units."""

    name: str
    hidden: int
    scale: ScaleMap
    shifts: bool = True
    everywhere: bool = True  # scales behind all layers, not behind the first and the last alone


VARIANTS = (
    Variant("shift, linear", 0, _NOISE),
    Variant("shift, hidden units", HIDDEN, _NOISE),
    Variant("scale, hidden units", HIDDEN, SCALE, shifts=False),
    Variant("shift and scale, linear", 0, SCALE),
    Variant("shift and scale, hidden units", HIDDEN, SCALE),
    Variant("shift, scale at both ends, linear", 0, SCALE, everywhere=False),
    Variant("shift, scale at both ends, hidden units", HIDDEN, SCALE, everywhere=False),
)


def main() -> None:
    """Run what is missing, write, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=0.0)
    parser.add_argument("--only", nargs="*", help="names of data sets")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = options.output / "conditional.json"
    document: dict[str, Any] = {
        "command": "python -m benchmarks.conditional --threads 1",
        "machine": report.machine(options.threads),
        "sets": {},
        "runs": [],
    }
    if path.exists():
        document = json.loads(path.read_text(encoding="utf-8"))
    for name, (rows, entropy) in {name: make() for name, make in SETS.items()}.items():
        if options.only and name not in options.only:
            continue
        document["sets"][name] = {"dim": rows.dim, "contexts": _contexts(rows).dim, "entropy_nats": entropy}
        document["sets"][name]["gaussian_nats"] = _linear_nats(rows)
        for seed in SEEDS:
            for variant in VARIANTS:
                known = [(run["set"], run["variant"], run["seed"]) for run in document["runs"]]
                if (name, variant.name, seed) not in known:
                    report.progress(f"{variant.name} on {name}, seed {seed}")
                    document["runs"].append({"set": name, **run(variant, rows, seed)})
                    report.write(path, document)
    print(report.markdown(table(document)))


def moons() -> tuple[Dataset, float]:
    """Return two moons, turned by c_1 pi / 2 and stretched by e^(c_2 / 2) with c uniform in [-1, 1], and the entropy.

    The third context says nothing.
    """
    found = []
    rows = data.load("two-moons")
    for number, (split, count) in enumerate(zip((rows.train, rows.valid, rows.test), _ROWS, strict=True)):
        c = np.random.default_rng([7, number]).uniform(-1, 1, (count, 3))
        angle, factor = c[:, 0] * np.pi / 2, np.exp(c[:, 1] / 2)
        turned = np.stack(
            [
                np.cos(angle) * split[:, 0] - np.sin(angle) * split[:, 1],
                np.sin(angle) * split[:, 0] + np.cos(angle) * split[:, 1],
            ],
            axis=1,
        )
        found.append((factor[:, None] * turned, c))
    # The logarithm of the factor's square is c_2.
    entropy = float((found[2][1][:, 1] - toy.log_density("two-moons", rows.test)).mean())
    return _conditional("two moons", found), entropy


def linear() -> tuple[Dataset, float]:
    """Return normal rows whose mean is linear in the context, and their entropy on the test rows."""
    rng = np.random.default_rng(8)
    slope, root = rng.standard_normal((6, 3)), np.tril(rng.standard_normal((6, 6)), -1) + np.eye(6)
    found = []
    for count in _ROWS:
        c, z = rng.standard_normal((count, 3)), rng.standard_normal((count, 6))
        found.append((c @ slope.T + z @ root.T, c))
    # The determinant of the root is 1.
    return _conditional("linear Gaussian", found), float((z**2).sum(axis=1).mean() / 2 + 3 * np.log(2 * np.pi))


def digits() -> tuple[Dataset, None]:
    """Return the 8 x 8 digits with their labels as contexts, of unknown entropy."""
    rows = data.load("digits")
    labels = rows.classes()
    one = np.eye(len(labels.names))
    contexts = Contexts(labels.names, *(one[numbers] for numbers in (labels.train, labels.valid, labels.test)))
    return replace(rows, contexts=contexts), None


SETS = {"two moons": moons, "linear Gaussian": linear, "digits given their label": digits}


def _conditional(name: str, splits: list[tuple[Array, Array]]) -> Dataset:
    (train, a), (valid, b), (test, c) = splits
    return Dataset(name, train, valid, test, contexts=Contexts(None, a, b, c))


def _contexts(rows: Dataset) -> Contexts:
    assert rows.contexts is not None
    return rows.contexts


def _linear_nats(rows: Dataset) -> dict[str, float]:
    """Return the nats per row of the linear Gaussian."""
    gaussian, contexts = gaussian_of(rows), _contexts(rows)
    valid = -gaussian.log_prob(validation_rows(rows), contexts.valid).mean()
    return {"valid": float(valid), "test": -float(gaussian.log_prob(rows_to_test(rows, 0), contexts.test).mean())}


class _Held(LUNetTrainer):
    """This run holds the shifts by the context where they are."""

    @classmethod
    def trainable(cls, weights: Chain, settings: FitSettings, dtype: torch.dtype) -> Flow:
        flow = super().trainable(weights, settings, dtype)
        for layer in flow.modules_of(ConditionalAffineBijection):
            for numbers in layer.network.parameters():
                numbers.register_hook(_without_shifts)
        return flow


def _without_shifts(gradient: torch.Tensor) -> torch.Tensor:
    """Return the gradient of a matrix or a bias that gives shifts and scales side by side, for the scales alone."""
    held = gradient.clone()
    held[: len(held) // 2] = 0
    return held


def first_of(variant: Variant, rows: Dataset, architecture: LUNetArchitecture, settings: FitSettings) -> Chain:
    """Return a variant before its first step."""
    gaussian = gaussian_of(rows)
    if not variant.shifts:
        assert gaussian.slope is not None
        alone = Gaussian.fit(training_rows(rows), rows.preprocessing)
        gaussian = replace(alone, context=gaussian.context, slope=np.zeros_like(gaussian.slope))
    chosen = {"init": settings.init, "signs": settings.signs, "seed": settings.seed}
    network = start(gaussian, **chosen, blocks=architecture.blocks, f=architecture.f)
    part = {"hidden": variant.hidden, "scale": variant.scale, "everywhere": variant.everywhere}
    found = conditional(network, gaussian, settings.seed, **part)
    return architecture.with_alphas(found)


def run(variant: Variant, rows: Dataset, seed: int) -> dict[str, Any]:
    """Train once; return the nats per row of the best epoch, and the numbers that the context's part has."""
    given = {"contexts": _contexts(rows).dim, "seed": seed, "init": "bend"}
    given |= {} if rows.preprocessing else {"epochs": _EPOCHS}
    settings = LUNetArchitecture.settings(len(rows.train), rows.dim, **given)
    architecture = LUNetArchitecture.choose(rows.dim, rows.image_shape, {})
    kind = LUNetTrainer if variant.shifts else _Held
    first = first_of(variant, rows, architecture, settings)
    trainer = kind(first, rows, settings, device=torch.device("cpu"))
    before = time.process_time()
    while not trainer.finished:
        trainer.run_epoch(lambda step, bits: None)
    seconds = time.process_time() - before
    best, contexts = trainer.best_flow, _contexts(rows)
    valid = log_probs(best, validation_rows(rows), contexts.valid)
    test = log_probs(best, rows_to_test(rows, 0), contexts.test)
    return {
        "variant": variant.name,
        "seed": seed,
        "epochs": len(trainer.history),
        "best_epoch": trainer.best.epoch,
        "cpu_seconds": seconds,
        "context_parameters": sum(layer.stored for layer in first.of(ConditionalAffine)),
        "valid_nats": -float(valid.mean()),
        "test_nats": -float(test.mean()),
    }


def table(document: Mapping[str, Any]) -> report.Rows:
    """Return a row per variant: nats per validation row of each set, with the standard error over the seeds."""
    sets, runs = document["sets"], document["runs"]
    found = [("validation nats per row", *sets)]
    for variant in dict.fromkeys(run["variant"] for run in runs):
        cells = []
        for name in sets:
            nats = [run["valid_nats"] for run in runs if (run["set"], run["variant"]) == (name, variant)]
            cells.append(_told(nats))
        found.append((variant, *cells))
    known = ["-" if entry["entropy_nats"] is None else f"{entry['entropy_nats']:.3f}" for entry in sets.values()]
    found.append(("linear Gaussian", *(f"{entry['gaussian_nats']['valid']:.3f}" for entry in sets.values())))
    found.append(("entropy, test rows", *known))
    return found


def _told(nats: list[float]) -> str:
    if len(nats) < 2:
        return f"{nats[0]:.3f}" if nats else "-"
    return f"{mean(nats):.3f} ± {stdev(nats) / len(nats) ** 0.5:.3f}"


if __name__ == "__main__":
    report.run(main)
