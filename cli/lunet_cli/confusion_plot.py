"""The picture of `lunet-export classify --plot`."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lunet_export.diagnostics import Classification


def draw(found: Classification, path: Path, *, title: str) -> None:
    """Draw the confusion matrix as PNG: numbers of rows, coloured by their share of the true class."""
    names = [entry.name for entry in found.classes]
    counts, total = found.confusion, found.confusion.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(total, 1)
    side = 1.8 + 0.55 * len(names)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=45, ha="right")
    axes.set_yticks(ticks, names)
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    figure.savefig(path, dpi=130)
