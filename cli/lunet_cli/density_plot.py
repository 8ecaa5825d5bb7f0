"""The picture of `lunet-export plot density`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from lunet_export.columns import Names
from lunet_export.figures import DensityMap


def draw(found: DensityMap, path: Path, *, title: str, columns: Names | None = None) -> None:
    """Draw samples of the model, its density, and the true density if it is known, all in one window, as PNG.

    The axes are labelled by the names of the columns, if they have names.
    """
    across, up = columns or ("x₁", "x₂")
    maps = [("p(x) of the model", found.model)]
    if found.truth is not None:
        maps.append(("p(x) of the data", found.truth))
    # The truth sets the colours: a model may have a ridge that is high and too thin to see.
    top = float(found.model.max()) if found.truth is None else float(found.truth.max())
    colors = PowerNorm(0.5, vmin=0, vmax=top)  # the root shows a broad cloud beside a narrow peak
    (left, right), (low, high) = found.window
    ratio = float(np.clip((high - low) / (right - left), 0.4, 1.6))
    panels = 1 + len(maps)
    figure = Figure(figsize=(3.7 * panels + 0.6, 3.4 * ratio + 0.9), layout="constrained")
    axes, *others = figure.subplots(1, panels, sharex=True, sharey=True)
    axes.plot(*found.samples.T, ".", color="C0", markersize=3.5, alpha=0.5, markeredgewidth=0)
    axes.set_title(f"{len(found.samples):,} samples of the model", fontsize=10.5)
    axes.set(xlim=(left, right), ylim=(low, high))
    axes.set_ylabel(up, parse_math=False)
    for panel, (name, density) in zip(others, maps, strict=True):
        image = panel.imshow(
            density, origin="lower", extent=(left, right, low, high), norm=colors, cmap="magma", aspect="auto"
        )
        panel.set_title(f"{name}; integral shown {found.integral(density):.3f}", fontsize=10.5)
    for panel in (axes, *others):
        panel.set_xlabel(across, parse_math=False)
        panel.locator_params(axis="x", nbins=6)
        panel.set_box_aspect(ratio)
    extend = "max" if found.model.max() > top else "neither"
    figure.colorbar(image, ax=others, extend=extend, label="p(x), per unit area", fraction=0.05, pad=0.02, shrink=0.75)
    figure.suptitle(title, fontsize=11.5)
    figure.savefig(path, dpi=100)


def draw_given(
    maps: Sequence[DensityMap], given: Sequence[str], path: Path, *, title: str, columns: Names | None = None
) -> None:
    """Draw samples given several contexts in one row, and the densities given these below, in one window, as PNG.

    Args:
        maps: One map per context.
        given: What the contexts are, as text.
        path: File to write.
        title: Title of the picture.
        columns: Names of the axes.
    """
    across, up = columns or ("x₁", "x₂")
    (left, right), (low, high) = maps[0].window
    colors = PowerNorm(0.5, vmin=0, vmax=max(float(found.model.max()) for found in maps))
    figure = Figure(figsize=(3.4 * len(maps) + 0.8, 6.9), layout="constrained")
    above, below = figure.subplots(2, len(maps), sharex=True, sharey=True, squeeze=False)
    for found, context, samples, density in zip(maps, given, above, below, strict=True):
        samples.plot(*found.samples.T, ".", color="C0", markersize=3.5, alpha=0.5, markeredgewidth=0)
        samples.set(xlim=(left, right), ylim=(low, high))
        samples.set_title(f"{len(found.samples):,} samples given\n{context}", fontsize=10.5, parse_math=False)
        image = density.imshow(
            found.model, origin="lower", extent=(left, right, low, high), norm=colors, cmap="magma", aspect="auto"
        )
        density.set_title(f"p(x | c); integral shown {found.integral(found.model):.3f}", fontsize=10.5)
        density.set_xlabel(across, parse_math=False)
    for row in (above, below):
        row[0].set_ylabel(up, parse_math=False)
    figure.colorbar(image, ax=below, label="p(x | c), per unit area", fraction=0.05, pad=0.02, shrink=0.75)
    figure.suptitle(title, fontsize=11.5)
    figure.savefig(path, dpi=100)
