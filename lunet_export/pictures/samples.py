"""Samples as a picture: a grid of images, or points in the plane."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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
_BORDERS = (64, 32, 20, 32)  # pixels beside a plane: left, top, right, bottom


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


def validate_drawable(model: Shown) -> None:
    """Raise unless rows of this model can be drawn.

    Raises:
        BadInputError: if they are neither images nor points in the plane.
    """
    if not showable(model.image_shape, model.dim):
        raise BadInputError(
            f"Expected images or 2-D points to draw; {model.name} has {model.dim} dimensions and no image shape. "
            "Write numbers instead: lunet-export sample FOLDER -o samples.npy"
        )


def showable(image_shape: tuple[int, ...] | None, dim: int) -> bool:
    """Return whether rows are points in the plane, or images of 1, 3 or 4 channels."""
    return dim == 2 if image_shape is None else image_shape[2:] in ((), (1,), (3,), (4,))


def draw(x: Floats, model: Shown, path: Path, *, columns: int | None = None) -> None:
    """Write rows x (N, D) as a PNG.

    Images are floor(x), clipped to their grey levels and stretched to 0 .. 255, in a grid of `columns`, near-square by
    default. Points in the plane have axes and a title.

    Raises:
        BadInputError: if `validate_drawable` raises it.
    """
    from PIL import Image

    validate_drawable(model)
    shape = model.image_shape
    if shape is None:
        window = window_of(x)
        picture = with_axes(plane(x, window), window, f"{model.name}: {len(x)} samples")
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


def plane(points: Floats, window: Window) -> Pixels:
    """Draw points (N, 2) in their window: few as dots, many as a histogram, darker where there are more."""
    if len(points) < _MANY_POINTS:
        return _dots(points, window)
    bins = int(np.clip(np.sqrt(len(points)) * 2, 60, _PLANE_SIDE // 2))
    counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=bins, range=window)
    shade = np.sqrt(counts / max(1.0, np.percentile(counts[counts > 0], 99) if counts.any() else 1.0))
    picture = (255 * (1 - np.clip(shade, 0, 1))).astype(np.uint8).T[::-1]
    factor = max(1, _PLANE_SIDE // bins)
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


def _dots(points: Floats, window: Window) -> Pixels:
    """Draw one disc per point, on a side of _PLANE_SIDE pixels."""
    picture = np.full((_PLANE_SIDE, _PLANE_SIDE), 255, dtype=np.uint8)
    place = ((points - window[:, 0]) / (window[:, 1] - window[:, 0]) * _PLANE_SIDE).astype(np.int64)
    for across in range(-_DOT, _DOT + 1):
        for down in range(-_DOT, _DOT + 1):
            if across**2 + down**2 <= _DOT**2:
                column, row = place[:, 0] + across, _PLANE_SIDE - 1 - place[:, 1] + down
                inside = (np.minimum(column, row) >= 0) & (np.maximum(column, row) < _PLANE_SIDE)
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
    pen.text((left, top // 3), title.encode("ascii", "replace").decode(), fill=0)  # the font has only these letters
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
