"""Samples as a picture: a grid of images, points in the plane, or the pairs of a table's columns."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lunet_export.columns import Names, numbered
from lunet_export.errors import BadInputError
from lunet_export.preprocessing import Logit

Floats = NDArray[np.floating]
Pixels = NDArray[np.uint8]
Window = NDArray[np.floating]  # (2, 2): low and high of each axis

_GAP = 2  # pixels between images
_SMALLEST_SIDE = 600  # pixels of the picture, to which small images are enlarged by a whole factor
_PLANE_SIDE = 600
_BACKGROUND = 40
_MANY_POINTS, _DOT = 2000, 3  # number of points from which they are counted, not drawn; radius in pixels
_BORDERS = (64, 32, 20, 36)  # pixels beside a plane: left, top, right, bottom
_MOST_COLUMNS, _PANEL_SIDE = 8, 150  # of a matrix of pairs; pixels
_LONGEST_LABEL = 20  # letters of a column's name that fit beside a panel


class Shown(Protocol):
    """This is what must be known of a model to draw its rows, as a manifest knows it."""

    @property
    def name(self) -> str:
        """Return the user's name of the model."""

    @property
    def dim(self) -> int:
        """Return the number of dimensions D."""

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """Return (height, width) or (height, width, channels); None for vectors."""

    @property
    def preprocessing(self) -> Logit | None:
        """Return the pre-processing, which has the number of grey levels."""

    @property
    def columns(self) -> Names | None:
        """Return the names of the columns of vectors, if they have any."""


def validate_drawable(model: Shown) -> None:
    """Raise unless rows of this model can be drawn.

    Raises:
        BadInputError: if they are images of 2 channels, or of more than 4.
    """
    if model.image_shape is not None and not showable(model.image_shape, model.dim):
        raise BadInputError(
            f"Expected images of 1, 3 or 4 channels to draw; those of {model.name} have {model.image_shape[2]}. "
            "Write numbers instead: lunet-export sample FOLDER -o samples.npy"
        )


def showable(image_shape: tuple[int, ...] | None, dim: int) -> bool:
    """Return whether rows are points in the plane, or images of 1, 3 or 4 channels."""
    return dim == 2 if image_shape is None else image_shape[2:] in ((), (1,), (3,), (4,))


def draw(x: Floats, model: Shown, path: Path, *, columns: int | None = None) -> None:
    """Write rows x (N, D) as a PNG.

    Images are floor(x), clipped to their grey levels and stretched to 0 .. 255, in a grid of `columns`, near-square by
    default. Points in the plane have axes and a title. Other vectors are shown by `pairs`.

    Raises:
        BadInputError: if `validate_drawable` raises it.
    """
    from PIL import Image

    validate_drawable(model)
    shape = model.image_shape
    title = f"{model.name}: {len(x)} samples"
    if shape is None and model.dim == 2:
        window = window_of(x)
        picture = with_axes(plane(x, window), window, title)
    elif shape is None:
        picture = pairs(x, model.columns or numbered(model.dim), title)
    else:
        picture = grid(to_grey(x, model), shape, columns=columns)
    Image.fromarray(picture).save(path, format="PNG")


def to_grey(x: Floats, model: Shown) -> Pixels:
    """Return floor(x), clipped to the grey levels and stretched to 0 .. 255."""
    levels = model.preprocessing.levels if model.preprocessing else 256
    grey = np.clip(np.floor(x), 0, levels - 1)
    return np.round(grey * (255 / (levels - 1))).astype(np.uint8)


def grid(grey: Pixels, image_shape: tuple[int, ...], *, columns: int | None = None) -> Pixels:
    """Return N images in rows and columns with a gap, enlarged by a whole factor; near-square by default."""
    n, (height, width) = len(grey), image_shape[:2]
    columns = columns or int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    shape = (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, *image_shape[2:])
    canvas = np.full(shape, _BACKGROUND, dtype=np.uint8)
    for index, image in enumerate(grey.reshape(n, *image_shape)):
        row, column = divmod(index, columns)
        top, left = _GAP + row * (height + _GAP), _GAP + column * (width + _GAP)
        canvas[top : top + height, left : left + width] = image
    if canvas.shape[2:] == (1,):
        canvas = canvas[..., 0]
    factor = -(-_SMALLEST_SIDE // max(canvas.shape[:2]))
    return canvas.repeat(factor, axis=0).repeat(factor, axis=1)


def pairs(x: Floats, names: Names, title: str) -> Pixels:
    """Draw rows (N, D): a plane per pair of columns and a histogram per column, of the first 8 columns.

    Args:
        x: Rows.
        names: Names of the columns.
        title: Text above.
    """
    from PIL import Image, ImageDraw

    count, (left, top, right, bottom) = min(x.shape[1], _MOST_COLUMNS), _BORDERS
    step, window = _PANEL_SIDE + _GAP, window_of(x[:, :count])
    labels = [_ascii(name if len(name) <= _LONGEST_LABEL else f"{name[: _LONGEST_LABEL - 3]}...") for name in names]
    left += 6 * _LONGEST_LABEL - left // 2
    canvas = Image.new("L", (left + count * step + right, top + count * step + bottom), 255)
    pen = ImageDraw.Draw(canvas)
    of_all = "" if count == x.shape[1] else f"; columns 1 to {count} of {x.shape[1]}"
    pen.text((left, top // 3), _ascii(title + of_all), fill=0)
    for row in range(count):
        for column in range(row + 1):
            here = (left + column * step, top + row * step)
            if row == column:
                panel = _bars(x[:, row], window[row])
            else:
                panel = plane(x[:, [column, row]], window[[column, row]], side=_PANEL_SIDE)
            canvas.paste(Image.fromarray(panel), here)
            pen.rectangle((here[0] - 1, here[1] - 1, here[0] + _PANEL_SIDE, here[1] + _PANEL_SIDE), outline=160)
        middle, label = _PANEL_SIDE / 2, labels[row]
        pen.text((left - 8 - pen.textlength(label), top + row * step + middle - 6), label, fill=0)
        pen.text((left + row * step + middle - pen.textlength(label) / 2, top + count * step + 18), label, fill=0)
        low, high = window[row]
        for value in (found := ticks(low, high))[:: len(found) - 1]:
            at, number = left + row * step + (value - low) / (high - low) * _PANEL_SIDE, f"{round(value, 9):.6g}"
            pen.line((at, top + count * step, at, top + count * step + 3), fill=0)
            pen.text((at - pen.textlength(number) / 2, top + count * step + 4), number, fill=0)
    return np.asarray(canvas)


def _bars(values: Floats, window: Window) -> Pixels:
    """Draw a histogram of numbers (N,) as high as a panel."""
    counts, _ = np.histogram(values, bins=_PANEL_SIDE // 5, range=(float(window[0]), float(window[1])))
    heights = np.repeat(0.9 * _PANEL_SIDE * counts / max(1, counts.max()), 5)
    filled = np.arange(_PANEL_SIDE)[:, None] >= _PANEL_SIDE - heights
    return np.where(filled, 120, 255).astype(np.uint8)


def plane(points: Floats, window: Window, *, side: int = _PLANE_SIDE) -> Pixels:
    """Draw points (N, 2) in their window: few as dots, many as a histogram, darker where there are more."""
    if len(points) < _MANY_POINTS:
        return _dots(points, window, side)
    divisors = [bins for bins in range(1, side // 2 + 1) if side % bins == 0]
    bins = min(divisors, key=lambda bins: abs(bins - np.clip(np.sqrt(len(points)) * 2, 60, side // 2)))
    counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=bins, range=window)
    shade = np.sqrt(counts / max(1.0, np.percentile(counts[counts > 0], 99) if counts.any() else 1.0))
    picture = (255 * (1 - np.clip(shade, 0, 1))).astype(np.uint8).T[::-1]
    factor = side // bins
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def window_of(points: Floats) -> Window:
    """Return ((low, high) per axis) around points (N, 2); the 1 % farthest may lie outside."""
    low, high = np.percentile(points.astype(np.float64), [0.5, 99.5], axis=0)
    margin = 0.1 * np.maximum(high - low, 1e-6 * np.maximum(1.0, np.abs(high)))
    return np.stack([low - margin, high + margin], axis=1)


def ticks(low: float, high: float) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten in [low, high], 3 to 7 of them."""
    rough = (high - low) / 6
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [float(number * step) for number in np.arange(np.ceil(low / step), np.floor(high / step) + 1)]


def _dots(points: Floats, window: Window, side: int) -> Pixels:
    """Draw one disc per point."""
    picture, dot = np.full((side, side), 255, dtype=np.uint8), max(1, _DOT * side // _PLANE_SIDE)
    place = ((points - window[:, 0]) / (window[:, 1] - window[:, 0]) * side).astype(np.int64)
    for across in range(-dot, dot + 1):
        for down in range(-dot, dot + 1):
            if across**2 + down**2 <= dot**2:
                column, row = place[:, 0] + across, side - 1 - place[:, 1] + down
                inside = (np.minimum(column, row) >= 0) & (np.maximum(column, row) < side)
                picture[row[inside], column[inside]] = _BACKGROUND
    return picture


def with_axes(picture: Pixels, window: Window, title: str) -> Pixels:
    """Return a picture of the plane with a frame, numbered ticks and a title."""
    from PIL import Image, ImageDraw

    left, top, right, bottom = _BORDERS
    height, width = picture.shape
    canvas = Image.new("L", (left + width + right, top + height + bottom), 255)
    canvas.paste(Image.fromarray(picture), (left, top))
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((left - 1, top - 1, left + width, top + height), outline=0)
    pen.text((left, top // 3), _ascii(title), fill=0)
    for (low, high), across in zip(window, (True, False), strict=True):
        for value in ticks(low, high):
            share, label = (value - low) / (high - low), f"{round(value, 9):.6g}"
            if across:
                x, y = left + share * width, top + height
                pen.line((x, y, x, y + 4), fill=0)
                pen.text((x - pen.textlength(label) / 2, y + 7), label, fill=0)
            else:
                x, y = left - 1, top + (1 - share) * height
                pen.line((x - 4, y, x, y), fill=0)
                pen.text((x - 8 - pen.textlength(label), y - 6), label, fill=0)
    return np.asarray(canvas)


def _ascii(text: str) -> str:
    """Return a text in the letters that the font has."""
    return text.encode("ascii", "replace").decode()
