"""The training curve as a picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from lunet_export.training.fit import EpochRecord


def draw(history: Sequence[EpochRecord], gaussian: float, path: Path, *, title: str) -> None:
    """Bits/dim of training and validation over the epochs, with the Gaussian's line, as PNG."""
    epochs = [record.epoch for record in history]
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(epochs, [record.train for record in history], label="training", linewidth=1.2)
    axes.plot(epochs, [record.valid for record in history], label="validation", linewidth=1.8)
    axes.axhline(gaussian, color="0.4", linestyle="--", linewidth=1, label="full-covariance Gaussian (test)")
    best = min(history, key=lambda record: record.valid)
    axes.plot([best.epoch], [best.valid], "o", color="C1", label=f"best: {best.valid:.3f} in epoch {best.epoch}")
    lowest, highest = min(best.valid, gaussian), max(best.valid, gaussian)
    spread = max(highest - lowest, 0.05)
    axes.set_ylim(lowest - spread, max(highest + 3 * spread, history[-1].valid + spread))
    axes.set(xlabel="epoch", ylabel="bits/dim (lower is better)", title=title)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
