"""What the page computes itself: the arc between two latents, and the grey levels of a drawing."""

import json
from pathlib import Path

import numpy as np
import pytest

from lunet_export import embedding
from lunet_export.figures.interpolation import spherical
from tests.embedding.builds import command

PAGE = Path(embedding.__file__).parent / "projects" / "browser"
PARTS = Path(__file__).parent / "browser" / "parts.mjs"
RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(2, 64))
ARCS = [(A, B, 0.0), (A, B, 0.25), (A, B, 0.5), (A, B, 1.0), (A, 2 * A, 0.3), (A, -A, 0.3), (A, 0 * A, 0.5)]
BITMAP = (RNG.random((32, 32)) < 0.4).astype(float)
BAR = np.zeros((280, 280))
BAR[100:200, 50:90] = 1
CORNER = np.zeros((280, 280))
CORNER[:50, :33] = 1
DRAWINGS = [
    {"shape": [8, 8], "levels": 17, "name": "digits", "ink": BITMAP.tolist()},
    {"shape": [28, 28], "levels": 256, "name": "mnist", "ink": BAR.tolist()},
    {"shape": [28, 28], "levels": 256, "name": "fashion-mnist", "ink": CORNER.tolist()},
]
SLIDERS = [[-1, 2], [0, 1], [0, 9], [-1e-9, 3e-9], [-2.34, 1e6], [0.1, 0.3], [2000, 2024], [5, 5]]


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    path = tmp_path_factory.mktemp("parts") / "models.json"
    arcs = [[start.tolist(), end.tolist(), t] for start, end, t in ARCS]
    path.write_text(json.dumps({"arcs": arcs, "sliders": SLIDERS, "drawings": DRAWINGS}))
    done = command("node", PARTS, PAGE, path)
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_the_arc_is_that_of_the_pictures(computed):
    for (start, end, t), got in zip(ARCS, computed["arcs"], strict=True):
        expected = spherical(start[None], end[None], np.array([t]))[0, 0]
        np.testing.assert_allclose(got, expected, atol=1e-12)


def test_digits_count_the_set_pixels_of_blocks(computed):
    found = computed["drawings"][0]
    assert found["kind"] == "blocks"
    assert found["levels"] == BITMAP.reshape(8, 4, 8, 4).sum(axis=(1, 3)).ravel().tolist()


def test_mnist_has_its_box_and_its_centre_of_mass(computed):
    found = computed["drawings"][1]
    picture = np.array(found["levels"]).reshape(28, 28)
    rows, columns = (np.flatnonzero(picture.any(axis=axis)) for axis in (1, 0))
    assert (found["kind"], len(rows), len(columns)) == ("centred", 20, 8)  # 100 x 40 of ink in a box of 20 x 20
    centre = [picture.sum(axis=axis) @ np.arange(28) / picture.sum() for axis in (1, 0)]
    assert all(13.5 <= place <= 14.5 for place in centre), centre


def test_other_pictures_are_averages(computed):
    found = computed["drawings"][2]
    expected = np.round(255 * CORNER.reshape(28, 10, 28, 10).mean(axis=(1, 3))).ravel()
    assert found["kind"] == "averaged"
    assert np.abs(np.array(found["levels"]) - expected).max() <= 1


def test_a_slider_stops_at_both_ends_and_at_round_numbers(computed):
    for (low, high), got in zip(SLIDERS, computed["sliders"], strict=True):
        assert (got[0], got[-1]) == (low, high)
        if low == high:
            assert got == [low]
            continue
        assert 30 < len(got) <= 103, (low, high, len(got))  # steps of 1, 2 or 5: a third of a hundred at least
        step = np.median(np.diff(got))
        assert (np.diff(got) > 0).all()
        assert (np.diff(got) <= step * (1 + 1e-6)).all()
        multiples = np.array(got[1:-1]) / step
        np.testing.assert_allclose(multiples, np.round(multiples), atol=1e-6 * np.abs(multiples).max())
    assert {1.0, 2.0, 3.0, 8.0} <= set(computed["sliders"][2])
