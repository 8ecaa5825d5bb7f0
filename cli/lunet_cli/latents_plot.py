"""The picture of `lunet-export plot latents`."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from lunet_export.figures import Histogram, LatentDistribution
from lunet_export.figures.latent_distribution import mean_square_density, normal_density

_EXACT: dict[str, Any] = {"color": "0.15", "linewidth": 1.4}


def draw(latents: LatentDistribution, path: Path, *, title: str) -> None:
    """Draw four panels: all entries, projections, |z|^2 / D, and mean and standard deviation per dimension, as PNG."""
    figure = Figure(figsize=(10, 7.4), layout=ConstrainedLayoutEngine(h_pad=0.1))  # inches
    (top_left, top_right), (bottom_left, bottom_right) = figure.subplots(2, 2)
    _entries(top_left, latents)
    _projections(top_right, latents)
    _mean_square(bottom_left, latents)
    _dimensions(bottom_right, latents)
    for axes in (top_left, top_right, bottom_left, bottom_right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(axes.get_title(), fontsize=10.5)
        axes.legend(frameon=False, fontsize="small", loc="upper right")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def _entries(axes: Axes, latents: LatentDistribution) -> None:
    histogram, summary = latents.entries, latents.summary
    axes.stairs(histogram.density, histogram.edges, fill=True, color="C0", alpha=0.45, label="entries of z")
    _normal(axes, histogram)
    smallest = 1 / (latents.rows * latents.dim * (histogram.edges[1] - histogram.edges[0]))
    axes.set(
        yscale="log",
        ylim=(smallest / 2, 1),
        xlabel="z" + _outside(histogram),
        ylabel="density (logarithmic)",
        title=f"all entries; rms skewness {summary.skewness:.3g}, excess kurtosis {summary.excess_kurtosis:.3g}",
    )


def _projections(axes: Axes, latents: LatentDistribution) -> None:
    for number, histogram in enumerate(latents.projections):
        label = "z · u, random unit vectors u" if number == 0 else None
        axes.stairs(histogram.density, histogram.edges, color="C0", alpha=0.6, linewidth=1, label=label)
    _normal(axes, latents.projections[0])
    low, high = latents.projection_stds.min(), latents.projection_stds.max()
    axes.set(
        ylim=(0, 1.35 * max(0.4, *(histogram.density.max() for histogram in latents.projections))),
        xlabel="z · u",
        ylabel="density",
        title=f"{len(latents.projections)} random projections; std {low:.3f} to {high:.3f}",
    )


def _mean_square(axes: Axes, latents: LatentDistribution) -> None:
    histogram = latents.mean_square
    axes.stairs(histogram.density, histogram.edges, fill=True, color="C0", alpha=0.45, label="test rows")
    low, high = histogram.edges[[0, -1]]
    r = np.linspace(low, high, 1001)[1:]
    density = mean_square_density(r, latents.dim)
    axes.plot(r, density, label=f"χ² distribution for N(0, I), D = {latents.dim}", **_EXACT)
    mean, std, exact = latents.mean_of_square, latents.std_of_square, np.sqrt(2 / latents.dim)
    top = 1.25 * max(histogram.density.max(), density.max() if latents.dim > 2 else 1.0)
    axes.set(
        ylim=(0, top),
        xlabel="|z|²/D" + _outside(histogram),
        ylabel="density",
        title=f"|z|²/D; mean {mean:.3f} (exact: 1), std {std:.3f} (exact: {exact:.3f})",
    )


def _dimensions(axes: Axes, latents: LatentDistribution) -> None:
    index, chance = np.arange(1, latents.dim + 1), 3 / np.sqrt(latents.rows)
    size = 5 if latents.dim > 100 else 18
    for values, color, name, half in (
        (latents.stds - 1, "C1", "standard deviation - 1", chance / np.sqrt(2)),
        (latents.means, "C0", "mean", chance),
    ):
        axes.scatter(index, values, s=size, color=color, label=name, linewidth=0)
        for end in (-half, half):
            axes.axhline(end, color=color, linewidth=1, linestyle="--")
    axes.axhline(0, color="0.15", linewidth=0.8)
    largest = float(np.abs(latents.means).max())
    top = 1.2 * max(chance, largest, float(np.abs(latents.stds - 1).max()))
    axes.set(
        ylim=(-top, 1.4 * top),  # room for the legend
        xlabel="dimension (dashed: three standard errors)",
        title=f"each dimension; std {latents.stds.min():.3f} to {latents.stds.max():.3f}, |mean| up to {largest:.3f}",
    )
    if latents.dim <= 10:
        axes.set_xticks(index)
        axes.set_xlim(0.5, latents.dim + 0.5)


def _normal(axes: Axes, histogram: Histogram) -> None:
    z = np.linspace(histogram.edges[0], histogram.edges[-1], 501)
    axes.plot(z, normal_density(z), label="N(0, 1)", **_EXACT)


def _outside(histogram: Histogram) -> str:
    return f" ({histogram.outside:.2g} of all lies outside)" if histogram.outside >= 1e-4 else ""
