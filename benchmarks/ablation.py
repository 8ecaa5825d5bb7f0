"""What does each choice of the training gain or cost, in 5 epochs with 3 seeds?

Every variant differs from the defaults of `lunet-export train mnist` only in what its line says. All have the paper's
3 + 1 blocks unless they say otherwise. They are compared on the validation rows; the test rows are not used.
`python -m benchmarks.ablation --data-dir DIR` writes results/ablation.json after every run and goes on where it
stopped; with `--dataset fashion-mnist --activations`, results/ablation-fashion-mnist.json.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np
import torch

from benchmarks import report
from lunet_export import data, noise
from lunet_export.certificate import certify
from lunet_export.data import Dataset
from lunet_export.errors import BadInputError, LunetExportError
from lunet_export.flows.lunet import PAPERS
from lunet_export.training import Trainer
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.lunet.architecture import LUNetArchitecture, LUNetTrainer
from lunet_export.training.lunet.initial import start
from lunet_export.training.rows import gaussian_of

EPOCHS, SEEDS = 5, (0, 1, 2)
_CERTIFIED_ROWS = 16


@dataclass(frozen=True)
class Variant:
    """Settings of a variant that differ from the defaults."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    blocks: int = 4
    alpha: float | str = 0.1  # as `--alpha` takes it
    activation: str = PAPERS


#: The paper's activation with learned alphas, and leaky squareplus with fixed and learned ones.
ACTIVATIONS = (
    Variant("leaky softplus, --alpha layer", alpha="layer"),
    Variant("leaky squareplus", activation="leaky-squareplus"),
    Variant("leaky squareplus, --alpha layer", alpha="layer", activation="leaky-squareplus"),
    Variant("leaky squareplus, --alpha learned", alpha="learned", activation="leaky-squareplus"),
)
VARIANTS = (
    Variant("defaults"),
    Variant("signs positive", {"signs": "positive"}),
    Variant("signs random", {"signs": "random"}),
    Variant("plain coordinates", {"whitened": False}),
    Variant(
        "plain coordinates, rate 1e-3, one-cycle", {"whitened": False, "learning_rate": 1e-3, "schedule": "one-cycle"}
    ),
    Variant("init whiten: the Gaussian itself", {"init": "whiten"}),
    Variant("init identity: no correlations", {"init": "identity"}),
    Variant("rate 2e-3", {"learning_rate": 2e-3}),
    Variant("rate 8e-3", {"learning_rate": 8e-3}),
    Variant("linear fall", {"schedule": "linear"}),
    Variant("one-cycle", {"schedule": "one-cycle"}),
    Variant("constant rate", {"schedule": "constant"}),
    Variant("constant rate, average 0.998", {"schedule": "constant", "average": 0.998}),
    Variant("linear fall, average 0.99", {"schedule": "linear", "average": 0.99}),
    Variant("batch 128", {"batch_size": 128}),
    Variant("batch 512", {"batch_size": 512}),
    Variant("weight decay 0.1", {"weight_decay": 0.1}),
    Variant("weight decay 1", {"weight_decay": 1.0}),
    Variant("alpha 0.03", alpha=0.03),
    Variant("alpha 0.3", alpha=0.3),
    *ACTIVATIONS,
    Variant("1 + 1 blocks", blocks=2),
    Variant("7 + 1 blocks", blocks=8),
    Variant("15 + 1 blocks", blocks=16),
    Variant("15 + 1 blocks, rate 1e-3", {"learning_rate": 1e-3}, blocks=16),
    Variant("15 + 1 blocks, rate 3e-4", {"learning_rate": 3e-4}, blocks=16),
    Variant("log-diagonal 0.1", {"regulariser": "log-diagonal", "regulariser_weight": 0.1}),
    Variant("log-diagonal 1", {"regulariser": "log-diagonal", "regulariser_weight": 1.0}),
    Variant("balance 0.001", {"regulariser": "balance", "regulariser_weight": 1e-3}),
    Variant("balance 0.01", {"regulariser": "balance", "regulariser_weight": 1e-2}),
    Variant("bound 2", {"bound": 2.0}),
)


def main() -> None:
    """Run what is missing, write, draw, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=0.0)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="where the MNIST files lie")
    parser.add_argument("--dataset", default="mnist", help="any data set of `lunet-export train`")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"of every run (default {EPOCHS})")
    parser.add_argument("--only", nargs="*", help="names of variants")
    parser.add_argument("--activations", action="store_true", help="the defaults and the other activations only")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = data.load(options.dataset, data_dir=options.data_dir)
    name = "ablation" if rows.name == "mnist" else f"ablation-{rows.name}"
    path = options.output / f"{name}.json"
    header = {
        "command": "python -m benchmarks.ablation",
        "dataset": rows.name,
        "epochs": options.epochs,
        "machine": report.machine(options.threads),
    }
    runs = _known(path, header)
    gaussian = gaussian_of(rows)
    among = (VARIANTS[0], *ACTIVATIONS) if options.activations else VARIANTS
    chosen = [variant for variant in among if not options.only or variant.name in options.only]
    for seed in SEEDS:  # all variants with one seed first: a stopped script has compared all of them
        for variant in chosen:
            if not any(entry["variant"] == variant.name and entry["seed"] == seed for entry in runs):
                runs.append(run(variant, rows, gaussian, epochs=options.epochs, seed=seed))
                report.write(path, {**header, "runs": runs})
    show(runs)
    draw(runs, options.output / f"{name}.png")


def run(variant: Variant, rows: Dataset, gaussian: Gaussian, *, epochs: int, seed: int) -> dict[str, Any]:
    """Train once; return the validation figure of the last epoch, CPU seconds, and how the map is conditioned."""
    given = {"epochs": epochs, "seed": seed, **variant.settings}
    settings = LUNetArchitecture.settings(len(rows.train), rows.dim, **given)
    architecture = LUNetArchitecture(variant.blocks, variant.alpha, variant.activation)
    first = start(
        gaussian, init=settings.init, signs=settings.signs, blocks=variant.blocks, f=architecture.f, seed=seed
    )
    begin = architecture.with_alphas(first)
    entry = {"variant": variant.name, "seed": seed, "blocks": variant.blocks, "alpha": variant.alpha}
    entry |= {"activation": variant.activation}
    entry |= {"settings": asdict(settings)}
    report.progress(f"{variant.name}, seed {seed}")
    try:
        trainer = LUNetTrainer(begin, rows, settings, device=torch.device("cpu"))
        before = time.process_time()
        for _ in range(epochs):
            trainer.run_epoch(lambda step, bits: None)
    except LunetExportError as error:
        return {**entry, "failed": str(error)}
    seconds, last = time.process_time() - before, trainer.history[-1]
    entry |= {"start": trainer.start, "valid": last.valid, "train": last.train, "cpu_seconds": seconds}
    return {**entry, **conditioning(trainer)}


def conditioning(trainer: Trainer) -> dict[str, float]:
    """Return certified bounds of the network behind its pre-processing, and medians over a few validation rows."""
    rows = trainer.data
    x = rows.continuous(rows.valid[:_CERTIFIED_ROWS], noise.uniform(1, range(_CERTIFIED_ROWS), rows.dim))
    found = certify(trainer.optimizer.model().to_chain(), x.astype(np.float64), dtype="float32")
    return {
        "lip_forward": found.network.lip_forward,
        "lip_inverse": found.network.lip_inverse,
        "stretch": float(np.median(found.rows.network_stretch)),
        "squeeze": float(np.median(found.rows.network_squeeze)),
        "round_trip": float(np.median(found.rows.round_trip)),
    }


def summary(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each variant's mean and standard deviation over its seeds, and its gain over the defaults of the same."""
    defaults = {entry["seed"]: entry["valid"] for entry in runs if entry["variant"] == VARIANTS[0].name}
    found = []
    for variant in VARIANTS:
        entries = [entry for entry in runs if entry["variant"] == variant.name]
        whole = [entry for entry in entries if "valid" in entry]
        if not whole:
            continue
        valid = [entry["valid"] for entry in whole]
        against = [entry["valid"] - defaults[entry["seed"]] for entry in whole if entry["seed"] in defaults]
        line = {"variant": variant.name, "runs": len(whole), "failed": len(entries) - len(whole)}
        line |= {"valid": mean(valid), "deviation": stdev(valid) if len(valid) > 1 else 0.0}
        line |= {"against_defaults": mean(against) if against else None}
        line |= {"start": mean(entry["start"] for entry in whole)}
        line |= {"cpu_seconds_an_epoch": mean(entry["cpu_seconds"] / entry["settings"]["epochs"] for entry in whole)}
        for name in ("lip_forward", "lip_inverse", "squeeze", "round_trip"):
            if all(name in entry for entry in whole):
                line[name] = median(entry[name] for entry in whole)
        found.append(line)
    return found


def show(runs: Sequence[Mapping[str, Any]]) -> None:
    """Print a line per variant on stdout."""
    lines = [("variant", "valid", "+-", "against", "CPU s/epoch", "K+", "K-", "s_min", "round trip")]
    for line in summary(runs):
        against = "" if line["against_defaults"] is None else f"{line['against_defaults']:+.4f}"
        condition = [
            f"{line[k]:.2g}" if k in line else "" for k in ("lip_forward", "lip_inverse", "squeeze", "round_trip")
        ]
        figures = (f"{line['valid']:.4f}", f"{line['deviation']:.4f}", against, f"{line['cpu_seconds_an_epoch']:.0f}")
        lines.append((line["variant"], *figures, *condition))
    report.table(lines)


def rows(document: Mapping[str, Any]) -> report.Rows:
    """Return validation bits/dim of every variant, its spread over the seeds, and its difference from the defaults."""
    found = [["variant", "seeds", "validation bits/dim", "±", "beside the defaults", "K+", "K−"]]  # noqa: RUF001
    for line in summary(document["runs"]):
        against = "" if line["against_defaults"] is None else f"{line['against_defaults']:+.4f}"
        bounds = (f"{line[key]:.2g}" if key in line else "" for key in ("lip_forward", "lip_inverse"))
        spread = f"{line['deviation']:.4f}" if line["runs"] > 1 else ""
        cells = (str(line["runs"]), f"{line['valid']:.4f}", spread, against)
        found.append([line["variant"], *cells, *bounds])
    return found


def draw(runs: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw what each variant gains or costs beside the defaults, with its seeds as points."""
    lines = summary(runs)[::-1]
    with report.picture(path, rows=1, columns=1, size=(8.0, 0.3 * len(lines) + 1.2)) as (_, axes):
        axis = axes[0][0]
        for height, line in enumerate(lines):
            valid = [run["valid"] for run in runs if run["variant"] == line["variant"] and "valid" in run]
            axis.plot(valid, [height] * len(valid), "o", color="tab:blue", alpha=0.5, markersize=4)
            axis.plot([line["valid"]], [height], "|", color="black", markersize=12)
        axis.axvline(next(line["valid"] for line in lines if line["variant"] == VARIANTS[0].name), color="0.7")
        axis.set_yticks(range(len(lines)), [line["variant"] for line in lines], fontsize=8)
        axis.set_xlabel(f"validation bits/dim after {runs[0]['settings']['epochs']} epochs (lower is better)")
        axis.spines[["top", "right"]].set_visible(False)


def _known(path: Path, header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the runs of an earlier call with the same data and epochs.

    Raises:
        BadInputError: if the file is of another kind of run.
    """
    if not path.exists():
        return []
    known = json.loads(path.read_text(encoding="utf-8"))
    if any(known[key] != header[key] for key in ("dataset", "epochs")):
        raise BadInputError(
            f"Expected runs of {header['dataset']} and {header['epochs']} epochs in {path}. Move it away."
        )
    return list(known["runs"])


if __name__ == "__main__":
    report.run(main)
