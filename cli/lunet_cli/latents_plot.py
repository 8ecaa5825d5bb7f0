"""The picture of `lunet-export plot latents`."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from lunet_export.figures import Histogram, LatentDistribution
from lunet_export.figures.latent_distribution import mean_square_density, normal_density

_LAW: dict[str, Any] = {"color": "0.15", "linewidth": 1.4}


def draw(law: LatentDistribution, path: Path, *, title: str) -> None:
    """Draw four panels: all entries, projections, |z|^2 / D, and mean and standard deviation per dimension, as PNG."""
    figure = Figure(figsize=(10, 7.4), layout=ConstrainedLayoutEngine(h_pad=0.1))  # inches
    (top_left, top_right), (bottom_left, bottom_right) = figure.subplots(2, 2)
    _entries(top_left, law)
    _projections(top_right, law)
    _mean_square(bottom_left, law)
    _dimensions(bottom_right, law)
    for axes in (top_left, top_right, bottom_left, bottom_right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(axes.get_title(), fontsize=10.5)
        axes.legend(frameon=False, fontsize="small", loc="upper right")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def _entries(axes: Axes, law: LatentDistribution) -> None:
    histogram, summary = law.entries, law.summary
    axes.stairs(histogram.density, histogram.edges, fill=True, color="C0", alpha=0.45, label="entries of z")
    _normal(axes, histogram)
    smallest = 1 / (law.rows * law.dim * (histogram.edges[1] - histogram.edges[0]))
    axes.set(
        yscale="log",
        ylim=(smallest / 2, 1),
        xlabel="z" + _outside(histogram),
        ylabel="density (logarithmic)",
        title=f"all entries; rms skewness {summary.skewness:.3g}, excess kurtosis {summary.excess_kurtosis:.3g}",
    )


def _projections(axes: Axes, law: LatentDistribution) -> None:
    for number, histogram in enumerate(law.projections):
        label = "z · u, random unit vectors u" if number == 0 else None
        axes.stairs(histogram.density, histogram.edges, color="C0", alpha=0.6, linewidth=1, label=label)
    _normal(axes, law.projections[0])
    low, high = law.projection_stds.min(), law.projection_stds.max()
    axes.set(
        ylim=(0, 1.35 * max(0.4, *(histogram.density.max() for histogram in law.projections))),
        xlabel="z · u",
        ylabel="density",
        title=f"{len(law.projections)} random projections; std {low:.3f} to {high:.3f}",
    )


def _mean_square(axes: Axes, law: LatentDistribution) -> None:
    histogram = law.mean_square
    axes.stairs(histogram.density, histogram.edges, fill=True, color="C0", alpha=0.45, label="test rows")
    low, high = histogram.edges[[0, -1]]
    r = np.linspace(low, high, 1001)[1:]
    density = mean_square_density(r, law.dim)
    axes.plot(r, density, label=f"χ² distribution for N(0, I), D = {law.dim}", **_LAW)
    law_std = np.sqrt(2 / law.dim)
    top = 1.25 * max(histogram.density.max(), density.max() if law.dim > 2 else 1.0)
    axes.set(
        ylim=(0, top),
        xlabel="|z|²/D" + _outside(histogram),
        ylabel="density",
        title=f"|z|²/D; mean {law.mean_of_square:.3f} (exact: 1), std {law.std_of_square:.3f} (exact: {law_std:.3f})",
    )


def _dimensions(axes: Axes, law: LatentDistribution) -> None:
    index, chance = np.arange(1, law.dim + 1), 3 / np.sqrt(law.rows)
    size = 5 if law.dim > 100 else 18
    for values, color, name, half in (
        (law.stds - 1, "C1", "standard deviation - 1", chance / np.sqrt(2)),
        (law.means, "C0", "mean", chance),
    ):
        axes.scatter(index, values, s=size, color=color, label=name, linewidth=0)
        for end in (-half, half):
            axes.axhline(end, color=color, linewidth=1, linestyle="--")
    axes.axhline(0, color="0.15", linewidth=0.8)
    largest = float(np.abs(law.means).max())
    top = 1.2 * max(chance, largest, float(np.abs(law.stds - 1).max()))
    axes.set(
        ylim=(-top, 1.4 * top),  # room for the legend
        xlabel="dimension (dashed: three standard errors)",
        title=f"each dimension; std {law.stds.min():.3f} to {law.stds.max():.3f}, |mean| up to {largest:.3f}",
    )
    if law.dim <= 10:
        axes.set_xticks(index)
        axes.set_xlim(0.5, law.dim + 0.5)


def _normal(axes: Axes, histogram: Histogram) -> None:
    z = np.linspace(histogram.edges[0], histogram.edges[-1], 501)
    axes.plot(z, normal_density(z), label="N(0, 1)", **_LAW)


def _outside(histogram: Histogram) -> str:
    return f" ({histogram.outside:.2g} of all lies outside)" if histogram.outside >= 1e-4 else ""
