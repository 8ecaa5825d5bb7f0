"""Points in the plane as pixels, with axes."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lunet_export import noise
from lunet_export.errors import BadInputError
from lunet_export.pictures import samples as pictures


def test_few_points_are_dots_at_their_places_and_many_are_counted():
    """Fifty were a few large squares."""
    x = np.array([[0.0, 0.0], [1.0, 3.0], [0.5, 1.0]])
    window = np.array([[-1.0, 2.0], [-1.0, 4.0]])
    picture = pictures.plane(x, window)
    side, dark = len(picture), picture < 255
    for across, up in x:
        column, row = int((across + 1) / 3 * side), side - 1 - int((up + 1) / 5 * side)
        assert dark[row, column]
        dark[row - 4 : row + 5, column - 4 : column + 5] = False
    assert not dark.any()
    many = noise.normal(0, range(5000), 2)
    assert len(np.unique(pictures.plane(many, pictures.window_of(many)))) > 3


def test_the_plane_has_axes_and_a_title(tmp_path):
    for far in (2.0, -3e7):  # one point, where float32 has nothing between it and a narrow window
        window = pictures.window_of(np.full((1, 2), far, dtype=np.float32))
        assert 2 <= len(pictures.ticks(*window[0])) <= 8
    assert pictures.ticks(-1.2, 2.3) == [-1.0, 0.0, 1.0, 2.0]
    assert pictures.ticks(0.0, 6e-3) == pytest.approx([0.0, 1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3])
    window = np.array([[-1.0, 2.0], [-1.0, 4.0]])
    empty = np.full((600, 600), 255, dtype=np.uint8)
    framed, other = (pictures.with_axes(empty, window, title) for title in ("a: 3 samples", "bé: 3 samples"))
    assert (framed[:31] < 255).any()  # the title
    assert (framed[:31] != other[:31]).any()
    assert (framed[640:] < 255).any()  # numbers below
    assert (framed[40:600, :55] < 255).any()  # numbers on the left
    assert (framed[33:631, 65:663] == 255).all()  # the plane itself


def model(dim, image_shape=None):
    return SimpleNamespace(name="m", dim=dim, image_shape=image_shape, preprocessing=None, columns=None)


@pytest.mark.parametrize("rows", [50, 3000])
def test_vectors_are_drawn_as_pairs_of_columns(rows):
    """Columns 1 and 2 are one line from corner to corner; column 3 is apart from them."""
    first, third = noise.normal(0, range(rows), 2).T
    picture = pictures.pairs(np.stack([first, first, third], axis=1), ("a", "b", "a name of many letters"), "m")
    left, top, step = 152, 32, 152
    panels = [[picture[top + i * step :, left + j * step :][:150, :150] for j in range(3)] for i in range(3)]
    of_line, of_cloud = panels[1][0] < 255, panels[2][0] < 255
    upwards = np.abs(np.subtract.outer(149 - np.arange(150), np.arange(150))) <= 4
    assert of_line.any()
    assert not (of_line & ~upwards).any()
    assert (of_cloud & ~upwards).any()
    assert all((panels[i][j] == 255).all() for i in range(3) for j in range(i + 1, 3))
    assert all((panels[i][i] == 120).any() for i in range(3))


def test_one_column_is_a_histogram_and_of_many_some_are_drawn(tmp_path):
    for dim, count in ((1, 1), (5, 5), (30, 8)):
        pictures.draw(noise.normal(0, range(40), dim), model(dim), tmp_path / "x.png")
        with Image.open(tmp_path / "x.png") as picture:
            assert picture.size == (152 + count * 152 + 20, 32 + count * 152 + 36)


def test_images_of_two_channels_cannot_be_drawn(tmp_path):
    with pytest.raises(BadInputError, match="1, 3 or 4 channels to draw; those of m have 2"):
        pictures.draw(np.zeros((1, 8)), model(8, image_shape=(2, 2, 2)), tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()
