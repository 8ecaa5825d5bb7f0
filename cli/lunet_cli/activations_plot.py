"""The picture of `lunet-export plot activations`."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lunet_export.diagnostics.activations import COLLAPSED
from lunet_export.figures import ActivationInputs, UnitInputs
from lunet_export.layers import Activation

_MOST_COLUMNS = 4
_FEW = 10  # units: up to here they are drawn with gaps and numbered
_ACTIVE, _LINEAR = ("#9ecae1", "#3182bd"), ("#fcae91", "#de2d26")  # outer quantiles, inner quantiles
_CURVED, _SLOPE = "#fff0c2", "0.15"


def draw(found: ActivationInputs, path: Path, *, title: str) -> None:
    """Draw one panel per activation, as PNG: the slope of f over its input, above the quantiles of every unit.

    Units that never leave their branch are red; a network of red units is an affine map.
    """
    count = len(found.activations)
    columns = min(count, _MOST_COLUMNS)
    rows = -(-count // columns)
    height = 3.9 if found.activations[0].active.size > _FEW else 2.7
    figure = Figure(figsize=(max(3.6 * columns, 6.5), height * rows + 0.9), layout="constrained")
    cells = figure.subfigures(rows, columns, squeeze=False).ravel()
    for number, inputs in enumerate(found.activations):
        top, bottom = cells[number].subplots(2, 1, sharex=True, height_ratios=[1, 3.2])
        _slope(top, inputs)
        _units(bottom, inputs)
        for axes in (top, bottom):
            _bends(axes, inputs.f)
        if number % columns == 0:
            top.set_ylabel("slope")
            bottom.set_ylabel("units, by median")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def _slope(axes: Axes, inputs: UnitInputs) -> None:
    low, high = inputs.window
    a = np.linspace(low, high, 400)
    histogram = inputs.histogram
    axes.stairs(histogram.density / max(histogram.density.max(), 1e-300), histogram.edges, fill=True, color="0.75")
    axes.plot(a, _slope_of(inputs.f, a), color=_SLOPE, linewidth=1.4)
    axes.set(xlim=(low, high), ylim=(0, 1.1), yticks=[0, 1])
    axes.spines[["top", "right"]].set_visible(False)
    found = inputs.activation
    verdict = "affine" if inputs.collapsed else f"{found.active:.0%} of inputs active"
    axes.set_title(
        f"activation {found.number}: {verdict}\n{inputs.active_units:.0%} of units nonlinear",
        fontsize=10,
        color=_LINEAR[1] if inputs.collapsed else "black",
    )


def _slope_of(f: Activation, a: np.ndarray) -> np.ndarray:
    """Return f'(a), (N,); the mean over units if each has its own slope."""
    return f.slope(a[:, None]).mean(axis=1)


def _bends(axes: Axes, f: Activation) -> None:
    """Shade the inputs where f is not straight; a kink is a thin line."""
    for (_, left), (right, _) in pairwise(f.branches):
        axes.axvspan(left, right, color=_CURVED, linewidth=0 if left < right else 1, zorder=0)


def _units(axes: Axes, inputs: UnitInputs) -> None:
    outer_low, low, middle, high, outer_high = inputs.quantiles
    dim = len(middle)
    place, height = np.arange(1, dim + 1), 1.0 if dim > _FEW else 0.7
    for depth, (left, right) in enumerate([(outer_low, outer_high), (low, high)]):
        colors = np.where(inputs.active >= COLLAPSED, _ACTIVE[depth], _LINEAR[depth])
        axes.barh(place, right - left, left=left, height=height, color=colors, linewidth=0)
    axes.scatter(middle, place, s=2 if dim > _FEW else 30, color="black", linewidth=0, zorder=3)
    axes.set(ylim=(0.5, dim + 0.5), xlabel="a, the input")
    if dim <= _FEW:
        axes.set_yticks(place)
    axes.spines[["top", "right"]].set_visible(False)
