"""The picture of `lunet-export bench --plot`."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from lunet_export.bench import Row


def draw(rows: Sequence[Row], path: Path, *, title: str) -> None:
    """Draw median latency against the batch, both logarithmic: one panel per direction, one line per runner."""
    directions = list(dict.fromkeys(row.direction for row in rows))
    runners = list(dict.fromkeys(row.runner for row in rows))
    batches = sorted({row.batch for row in rows})
    figure = Figure(figsize=(5 * len(directions), 4.2), layout="constrained")
    panels = figure.subplots(1, len(directions), sharey=True, squeeze=False)[0]
    for axes, direction in zip(panels, directions, strict=True):
        for number, runner in enumerate(runners):
            line = sorted((r.batch, r.time.p50) for r in rows if (r.direction, r.runner) == (direction, runner))
            style = "--" if runner.startswith("floor") else "-"
            if line:
                axes.plot(*zip(*line, strict=True), style, marker="o", color=f"C{number}", label=runner)
        axes.set(xscale="log", yscale="log", xlabel="rows per call", title=direction)
        axes.set_xticks(batches, [str(batch) for batch in batches])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize="small")
    panels[0].set_ylabel("milliseconds per call, median")
    figure.suptitle(title)
    figure.savefig(path, dpi=130)
