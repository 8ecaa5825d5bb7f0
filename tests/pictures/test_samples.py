"""Points in the plane as pixels, with axes."""

import numpy as np
import pytest

from lunet_export import noise
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
