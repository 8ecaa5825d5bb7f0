"""The picture of `lunet-export diagnose --plot`."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lunet_export.diagnostics import Report
from lunet_export.likelihood import bits_per_dim


def draw(report: Report, path: Path, *, title: str) -> None:
    """Draw bits/dim of PPCA over the number of directions, train and test, with lines for the model, as PNG."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    curves = {"train": (report.ppca_train, report.model.train), "test": (report.ppca_test, report.model.test)}
    for color, (split, (curve, model)) in zip(("C0", "C1"), curves.items(), strict=True):
        bits = bits_per_dim(-curve, report.dim)
        axes.plot(np.arange(len(bits)), bits, color=color, label=f"PPCA, {split}")
        axes.axhline(
            model.bits_per_dim,
            color=color,
            linestyle="--",
            linewidth=1,
            label=f"model, {split}: {model.bits_per_dim:.3f}",
        )
    best = float(bits_per_dim(-report.ppca_test[report.best_q], report.dim))
    axes.plot([report.best_q], [best], "o", color="C1", label=f"best q = {report.best_q}: {best:.3f}")
    baseline = "Gaussian" if report.dependence is None else "linear Gaussian"
    axes.set(
        xlabel=f"directions q; q = {report.dim} is the {baseline}", ylabel="bits/dim (lower is better)", title=title
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)
