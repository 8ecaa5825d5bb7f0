"""What do LU-Net, both RealNVPs and the Gaussian reach in the same time of training?

Each network is trained with its usual settings for the same number of seconds of wall-clock time. Figures are true
bits/pixel. Validation stops the clock; the best model by it is evaluated on the test rows, once. A run that is in the
results is not repeated, so a stopped script goes on with the next one. The learning rate falls over the steps that fit
into the budget, estimated from the time of the first few. If that is less than an epoch, the run is one epoch of as
many rows as fit. `python -m benchmarks.equal_cost --data-dir DIR` writes results/equal_cost.json and
results/equal_cost.png.
"""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import report
from lunet_export import data
from lunet_export.data import Dataset
from lunet_export.errors import BadInputError
from lunet_export.torch_layers import Flow
from lunet_export.training import KINDS, FitSettings, Trainer
from lunet_export.training.choice import Comparison
from lunet_export.training.fit import mean_bits_per_dim
from lunet_export.training.rows import gaussian_of, rows_to_test

DATASETS = ("mnist", "fashion-mnist")
BUDGET = 900.0
_VALIDATION_ROWS = 500  # of the validation split, the same for all: convolutions take 25 ms per row
_TEST_SEED = 1000
_POINTS = 24  # of a curve, denser at its beginning
_FIRST_STEPS = 3  # that are timed


@dataclass(frozen=True)
class Contender:
    """A network, and those of its settings that are not the usual ones."""

    name: str
    family: str
    image: bool
    given: Mapping[str, Any] = field(default_factory=dict)


CONTENDERS = (
    Contender("LU-Net", "lunet", image=False),
    Contender("RealNVP, dense", "realnvp", image=False),
    # Small batches, because hardly a hundred steps of 128 rows would fit into a quarter of an hour.
    Contender("RealNVP, convolutional", "realnvp", image=True, given={"batch_size": 32}),
)
_ORDER = [contender.name for contender in CONTENDERS]


class Finished(Exception):
    """Raised when the budget is spent."""


class Clock:
    """Counts seconds of training, without validation, and notes the figure at times ever farther apart."""

    def __init__(self, trainer: Trainer, budget: float) -> None:
        self._trainer, self._budget = trainer, budget
        self._due = [budget * (number / _POINTS) ** 2 for number in range(1, _POINTS + 1)]
        self._spent, self._since = 0.0, time.perf_counter()
        self.steps = 0
        self.best = trainer.optimizer.model().to_chain()
        self.curve: list[dict[str, float]] = [{"seconds": 0.0, "steps": 0, "valid": trainer.start}]

    def on_step(self, step: int, bits: float) -> None:
        """Count a step.

        Raises:
            Finished: if the budget is spent.
        """
        del step, bits
        self.steps += 1
        spent = self._spent + time.perf_counter() - self._since
        if spent < self._due[0]:
            return
        self._due = [due for due in self._due if due > spent]
        valid = self._trainer.validate()
        if valid < min(point["valid"] for point in self.curve):
            self.best = self._trainer.optimizer.model().to_chain()
        self._trainer.flow.train()
        self.curve.append({"seconds": spent, "steps": self.steps, "valid": valid})
        report.progress(f"  {spent:6.0f} s, step {self.steps}: {valid:.4f}")
        self._spent, self._since = spent, time.perf_counter()
        if not self._due:
            raise Finished


def main() -> None:
    """Run what is missing, write, draw, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=BUDGET)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="where the IDX files lie")
    parser.add_argument("--datasets", nargs="*", default=DATASETS, help="of these sets")
    parser.add_argument("--only", nargs="*", help="names of contenders")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = options.output / "equal_cost.json"
    header = {
        "command": "python -m benchmarks.equal_cost",
        "budget_s": options.seconds,
        "machine": report.machine(options.threads),
    }
    document = _known(path, header)
    for dataset in options.datasets:
        rows = data.load(dataset, data_dir=options.data_dir)
        if dataset not in document["gaussians"]:
            document["gaussians"][dataset] = gaussian(rows)
            report.write(path, document)
        for contender in CONTENDERS:
            known = any((run["dataset"], run["name"]) == (dataset, contender.name) for run in document["runs"])
            if known or (options.only and contender.name not in options.only):
                continue
            report.progress(f"{contender.name} on {dataset}, {options.seconds:.0f} s")
            document["runs"].append(run(contender, rows, options.seconds))
            report.write(path, document)
    draw(document, options.output / "equal_cost.png")
    show(document)


def gaussian(rows: Dataset) -> dict[str, float]:
    """Fit the full-covariance Gaussian of the training rows; return seconds, and bits/pixel of the test rows."""
    begin = time.perf_counter()
    fitted = gaussian_of(rows)
    seconds = time.perf_counter() - begin
    log_prob = fitted.log_prob(rows_to_test(rows, 0))
    return {"seconds": seconds, "test": float(-log_prob.mean() / (rows.dim * np.log(2)))}


def run(contender: Contender, rows: Dataset, budget: float) -> dict[str, Any]:
    """Train for `budget` seconds; return the curve of the validation rows, and one figure of the test rows."""
    few, settings = fitted(contender, replace(rows, valid=rows.valid[:_VALIDATION_ROWS]), budget)
    trainer = begun(contender, few, settings)
    clock = Clock(trainer, budget)
    with suppress(Finished):
        while True:
            trainer.run_epoch(clock.on_step)
    return {
        "dataset": rows.name,
        "name": contender.name,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "schedule": settings.schedule,
        "epochs": settings.epochs,
        "parameters": sum(parameter.numel() for parameter in trainer.flow.parameters()),
        "steps": clock.steps,
        "rows_seen": clock.steps * settings.batch_size,
        "curve": clock.curve,
        "test": mean_bits_per_dim(Flow.of(clock.best), rows, rows.test, seed=_TEST_SEED),
    }


def fitted(contender: Contender, rows: Dataset, budget: float) -> tuple[Dataset, FitSettings]:
    """Return the usual settings for as many epochs as fit into the budget, and the rows if less than one fits."""
    given = {"patience": 10**6, **contender.given}
    settings = KINDS[contender.family].settings(len(rows.train), rows.dim, **given)
    trainer = begun(contender, rows, replace(settings, epochs=1))
    begin, counted = time.perf_counter(), []

    def stop(step: int, bits: float) -> None:
        del bits
        counted.append(time.perf_counter() - begin)
        if step == _FIRST_STEPS:
            raise Finished

    with suppress(Finished):
        trainer.run_epoch(stop)
    steps = max(1, int(budget / (counted[-1] - counted[0]) * (len(counted) - 1)))
    if steps < trainer.steps_per_epoch:
        rows = replace(rows, train=rows.train[: steps * settings.batch_size])
    return rows, replace(settings, epochs=max(1, round(steps / trainer.steps_per_epoch)))


def begun(contender: Contender, rows: Dataset, settings: FitSettings) -> Trainer:
    """Return the state before the first step."""
    shape = rows.image_shape if contender.image else None
    architecture = KINDS[contender.family].choose(rows.dim, shape, {})
    gaussian, train = gaussian_of(rows), rows.train.astype(np.float64)
    comparison = Comparison(gaussian, train, rows.valid.astype(np.float64))
    first = architecture.first(gaussian, settings, train, comparison, lambda done, of: None)
    return architecture.trainer(first, rows, settings, torch.device("cpu"))


def _known(path: Path, header: Mapping[str, Any]) -> dict[str, Any]:
    if not path.exists():
        return {**header, "gaussians": {}, "runs": []}
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if document.get("budget_s") != header["budget_s"]:
        raise BadInputError(f"Expected runs of {header['budget_s']} s in {path}; got others. Give another --output.")
    return document


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Draw validation bits/pixel over seconds of training, one panel per data set, with the Gaussian as a line."""
    names = list(document["gaussians"])
    with report.picture(path, rows=1, columns=len(names), size=(5.5 * len(names), 4.0)) as (_, axes):
        for dataset, axis in zip(names, axes[0], strict=True):
            line = document["gaussians"][dataset]["test"]
            axis.axhline(line, color="tab:gray", linestyle="--", label="full-covariance Gaussian")
            for found in sorted(document["runs"], key=lambda found: _ORDER.index(found["name"])):
                if found["dataset"] == dataset:
                    seconds = [point["seconds"] / 60 for point in found["curve"]]
                    axis.plot(seconds, [point["valid"] for point in found["curve"]], marker=".", label=found["name"])
            lowest = min(
                point["valid"] for run in document["runs"] for point in run["curve"] if run["dataset"] == dataset
            )
            axis.set_ylim(lowest - 0.15, line + 1.0)
            axis.set_title(dataset)
            axis.set_xlabel("minutes of training")
            axis.set_ylabel("validation bits/pixel, true scale")
            axis.spines[["top", "right"]].set_visible(False)
            axis.legend(frameon=False)


def rows(document: Mapping[str, Any]) -> report.Rows:
    """Return test bits/pixel, time, steps and rows of every run."""
    found: list[tuple[str, ...]] = [("data", "model", "test bits/pixel", "training", "steps, rows per step")]
    for dataset, line in document["gaussians"].items():
        found.append((dataset, "full-covariance Gaussian", f"{line['test']:.3f}", f"{line['seconds']:.0f} s", "-"))
        for entry in sorted(document["runs"], key=lambda entry: _ORDER.index(entry["name"])):
            if entry["dataset"] == dataset:
                minutes = f"{entry['curve'][-1]['seconds'] / 60:.0f} min"
                steps = f"{entry['steps']:,} of {entry['batch_size']}"
                found.append((dataset, entry["name"], f"{entry['test']:.3f}", minutes, steps))
    return found


def show(document: Mapping[str, Any]) -> None:
    """Print the table in Markdown."""
    print(report.markdown(rows(document)))


if __name__ == "__main__":
    report.run(main)
