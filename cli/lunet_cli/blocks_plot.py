"""The picture of `lunet-export plot blocks`."""

from pathlib import Path

import numpy as np
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure

from lunet_export.figures import BlockStrip

_REACH = 3.2  # standard deviations shown


def draw(found: BlockStrip, path: Path, *, title: str) -> None:
    """Draw two rows of panels, h_0 to h_K, as PNG: test rows above, samples below. A point keeps its colour."""
    count = len(found.data)
    figure = Figure(figsize=(1.75 * count + 0.4, 4.3), layout="constrained")
    rows = figure.subplots(2, count, sharex=True, sharey=True, squeeze=False)
    reach = max(_REACH, float(np.quantile(np.abs(found.data[0]), 0.999)))
    for number in range(count):
        rows[0][number].set_title(_title(found, number), fontsize=9)
    for axes, points, colored_by, name in (
        (rows[0], found.data, found.data[0], "test rows"),
        (rows[1], found.samples, found.samples[-1], "samples"),
    ):
        color = _hues(colored_by)
        for panel, here in zip(axes, points, strict=True):
            panel.scatter(*here.T, c=color, s=1.6, linewidths=0)
            panel.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
            panel.set_aspect("equal")
        axes[0].set_ylabel(name)
    figure.suptitle(
        f"{title}\nabove: data to N(0, I), left to right; below: N(0, I) to samples, right to left", fontsize=10
    )
    figure.savefig(path, dpi=110)


def _title(found: BlockStrip, number: int) -> str:
    if number == 0:
        return "whitened data"
    return f"block {number}: by {found.moved[number - 1]:.2f}"


def _hues(points: np.ndarray) -> np.ndarray:
    """Return a colour for each direction, paler towards the centre."""
    angle = np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi) % 1
    distance = np.sqrt((points**2).sum(axis=1))
    saturation = np.clip(distance / 1.2, 0.25, 0.9)
    return hsv_to_rgb(np.stack([angle, saturation, np.full(len(points), 0.85)], axis=1))
