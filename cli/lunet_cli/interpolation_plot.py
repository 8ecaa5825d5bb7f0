"""The picture of `lunet-export plot interpolation`."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lunet_export.pictures import samples as pictures

_DPI = 100
_LEFT, _RIGHT, _TOP, _BOTTOM = 12, 12, 60, 12  # pixels around the grid


def draw(x: NDArray[np.float64], model: pictures.Shown, path: Path, *, title: str) -> None:
    """Draw the images x (pairs, steps, D) as a grid, one pair per row, each pixel scaled by a whole number, as PNG."""
    _, steps, dim = x.shape
    shape = model.image_shape or (1, dim)
    canvas = pictures.grid(pictures.to_grey(x.reshape(-1, dim), model), shape, columns=steps)
    height, width = canvas.shape[:2]
    whole = (width + _LEFT + _RIGHT, height + _TOP + _BOTTOM)
    figure = Figure(figsize=(whole[0] / _DPI, whole[1] / _DPI), dpi=_DPI)
    place = (_LEFT / whole[0], _BOTTOM / whole[1], width / whole[0], height / whole[1])
    axes = figure.add_axes(place)
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    column = width / steps
    middles = [(number + 0.5) * column for number in range(steps)]
    axes.xaxis.tick_top()
    axes.set_xticks(
        middles, ["image", *(f"{number / (steps - 1):.2g}" for number in range(1, steps - 1)), "image"], fontsize=9
    )
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.text(0.5, 1 - 10 / whole[1], title, ha="center", va="top", fontsize=11)
    figure.savefig(path, dpi=_DPI)
