"""Training curves as a picture."""

from collections.abc import Collection, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from lunet_export.training.gaussian import BASELINE
from lunet_export.training.history import History, of_one_set


def draw(runs: Mapping[str, History], path: Path, *, title: str, baseline: str = BASELINE) -> None:
    """Draw bits/dim of training and validation over the epochs, with the Gaussian's line, as a PNG.

    Several runs share the axes: each has a colour, a thin line for training and, unless it is the same for all, a line
    for its Gaussian. If the runs are of several data sets, the legend names each run's.

    Args:
        runs: Histories by name.
        path: Path of the PNG.
        title: Title of the picture.
        baseline: What the Gaussian is called.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    alone, of_one = len(runs) == 1, of_one_set(runs.values())
    for number, (name, run) in enumerate(runs.items()):
        color, epochs, best = f"C{number}", [record.epoch for record in run.epochs], run.best
        train, valid = ([getattr(record, split) for record in run.epochs] for split in ("train", "valid"))
        summary = f"best: {best.valid:.3f} in {run.unit} {best.epoch}"
        if alone:
            axes.plot(epochs, train, label="training", linewidth=1.2)
            axes.plot(epochs, valid, label="validation", linewidth=1.8)
            axes.plot([best.epoch], [best.valid], "o", color="C1", label=summary)
        else:
            axes.plot(epochs, train, color=color, linewidth=0.8, alpha=0.5)
            where = "" if of_one or not run.dataset else f" on {run.dataset}"
            axes.plot(epochs, valid, color=color, linewidth=1.8, label=f"{name}{where}, {summary}")
            axes.plot([best.epoch], [best.valid], "o", color=color)
    lines = {run.gaussian_test: f"C{number}" for number, run in enumerate(runs.values())}
    for line, color in lines.items():
        axes.axhline(line, color="0.4" if len(lines) == 1 else color, linestyle="--", linewidth=1)
    axes.plot([], [], "--", color="0.4", linewidth=1, label=f"{baseline} (test)")
    axes.set_ylim(*_limits(runs.values()))
    units = {"epoch": "epoch", "block": "block trained"}
    axes.set(
        xlabel=" or ".join(sorted({units.get(run.unit, run.unit) for run in runs.values()})),
        ylabel="bits/dim (lower is better)",
        title=title,
    )
    axes.legend(frameon=False, title=None if alone else "validation; training thin")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def _limits(runs: Collection[History]) -> tuple[float, float]:
    """Return the limits of the axis: figures near the best are seen well, and the first epochs may lie above."""
    lowest = min(min(run.best.valid, run.gaussian_test) for run in runs)
    highest = max(max(run.best.valid, run.gaussian_test) for run in runs)
    spread = max(highest - lowest, 0.05)
    last = max(run.epochs[-1].valid for run in runs)
    everything = max(max(record.train, record.valid) for run in runs for record in run.epochs)
    top = min(max(highest + 3 * spread, last + spread), max(everything, highest) + 0.2 * spread)
    return lowest - 0.5 * spread, top
