"""What a notebook shows of a model: facts, samples and curves as HTML, without style sheets or scripts."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from lunet_export.columns import numbered
from lunet_export.pictures.samples import Shown, grid, showable, ticks, to_grey, window_of

Floats = NDArray[np.floating]

#: Numbers of samples that `samples` shows of each sort, and of columns of a table.
IMAGES, POINTS, ROWS = 16, 500, 5
_COLUMNS = 8
_SIDE, _MARGIN = 240, 36  # of a plot, in units of its view box, and what is beside it
_COLOURS = ("#4c72b0", "#dd8452", "#55a868")


def page(title: str, facts: Mapping[str, str], *figures: str) -> str:
    """Return a table of facts by name under a title, and figures, HTML themselves, beside it."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(fact)}</td></tr>" for name, fact in facts.items())
    table = f"<table><caption><b>{escape(title)}</b></caption>{rows}</table>"
    cells = "".join(f"<div>{part}</div>" for part in (table, *figures) if part)
    return f'<div style="display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start">{cells}</div>'


def wanted(model: Shown) -> int:
    """Return how many samples `samples` shows of a model."""
    if not showable(model.image_shape, model.dim):
        return ROWS
    return POINTS if model.image_shape is None else IMAGES


def samples(x: Floats, model: Shown, columns: Sequence[str] | None = None) -> str:
    """Return rows x (N, D) as HTML: images as a grid, 2-D vectors as points, others as a table.

    Args:
        x: Rows of the model.
        model: What the rows are.
        columns: Names of the D columns, where they are known.
    """
    if not showable(model.image_shape, model.dim):
        return _table(x[:ROWS], columns)
    if model.image_shape is None:
        return scatter(x, columns)
    return _image(grid(to_grey(x, model), model.image_shape))


def _image(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=True)
    data = b64encode(file.getvalue()).decode()
    return f'<img width="{_SIDE}" alt="samples" src="data:image/png;base64,{data}"/>'


def _table(x: Floats, columns: Sequence[str] | None) -> str:
    names = columns or numbered(x.shape[1])
    more = ["…"] if x.shape[1] > _COLUMNS else []
    head = "".join(f"<th>{escape(name)}</th>" for name in [*names[:_COLUMNS], *more])
    rows = ([f"{value:.4g}" for value in row[:_COLUMNS]] + more for row in x)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><caption>samples</caption><tr>{head}</tr>{body}</table>"


def scatter(points: Floats, columns: Sequence[str] | None = None) -> str:
    """Return points (N, 2) in the plane as SVG; the 1 % farthest may be left out."""
    window = window_of(points)
    inside = ((points >= window[:, 0]) & (points <= window[:, 1])).all(axis=1)
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in _placed(points[inside], window))
    path = f'<path d="{dots}" stroke="{_COLOURS[0]}" stroke-opacity="0.6" stroke-width="3" stroke-linecap="round"/>'
    return _plot(path, window, columns or numbered(2))


def curves(lines: Mapping[str, Sequence[float]], across: str, up: str) -> str:
    """Return one curve per name as SVG: its values over 1, 2, ..., with names of both axes.

    Values above the last of all curves by far are cut off: the first steps of a training.
    """
    values = np.concatenate([np.asarray(line, np.float64) for line in lines.values()])
    low, high = values.min(), np.percentile(values, 95)
    margin = 0.1 * max(high - low, 1e-6 * max(1.0, abs(high)))
    longest = max(map(len, lines.values()))
    window = np.array([[1.0, max(longest, 2.0)], [low - margin, high + margin]])
    paths, names = "", ""
    for number, (name, line) in enumerate(lines.items()):
        points = np.column_stack([np.arange(1, len(line) + 1), np.minimum(line, window[1, 1])])
        colour = _COLOURS[number % len(_COLOURS)]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in _placed(points, window))
        paths += f'<polyline points="{joined}" stroke="{colour}"/>'
        names += f'<text x="{_SIDE - 4}" y="{16 + 14 * number}" text-anchor="end" fill="{colour}">{escape(name)}</text>'
    return _plot(paths + names, window, (across, up))


def _placed(points: Floats, window: Floats) -> Iterator[tuple[float, float]]:
    """Yield where points lie in the view box, whose y points down."""
    share = (points - window[:, 0]) / (window[:, 1] - window[:, 0])
    return ((float(x) * _SIDE, (1 - float(y)) * _SIDE) for x, y in share)


def _plot(inside: str, window: Floats, names: Sequence[str]) -> str:
    """Return a frame with ticks and names of the axes around what is drawn."""
    box = f"{-_MARGIN - 12} -8 {_SIDE + _MARGIN + 20} {_SIDE + _MARGIN + 8}"
    marks = ""
    for value in ticks(*window[0]):
        ((x, _),) = _placed(np.array([[value, window[1, 0]]]), window)
        marks += f'<text x="{x:.1f}" y="{_SIDE + 14}" text-anchor="middle">{round(value, 9):.6g}</text>'
    for value in ticks(*window[1]):
        ((_, y),) = _placed(np.array([[window[0, 0], value]]), window)
        marks += f'<text x="-4" y="{y + 3:.1f}" text-anchor="end">{round(value, 9):.6g}</text>'
    across, up = (escape(name) for name in names)
    marks += f'<text x="{_SIDE / 2}" y="{_SIDE + 28}" text-anchor="middle">{across}</text>'
    marks += f'<text transform="translate({-_MARGIN - 2} {_SIDE / 2}) rotate(-90)" text-anchor="middle">{up}</text>'
    return (
        f'<svg viewBox="{box}" width="{_SIDE + _MARGIN + 20}" xmlns="http://www.w3.org/2000/svg" fill="none" '
        f'stroke-width="1.5"><rect width="{_SIDE}" height="{_SIDE}" stroke="currentColor" stroke-width="0.5"/>{inside}'
        f'<g fill="currentColor" font-size="10" font-family="sans-serif">{marks}</g></svg>'
    )
