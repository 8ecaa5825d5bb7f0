"""What a notebook shows: well-formed, escaped, and of the numbers that it is said to be of."""

import re
from base64 import b64decode
from io import BytesIO
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from lunet_export.pictures import html, samples
from lunet_export.preprocessing import Logit


def shown(dim, shape=None, levels=17):
    return SimpleNamespace(name="m", dim=dim, image_shape=shape, preprocessing=Logit(levels, 0.1) if shape else None)


def texts(part, tag):
    return [element.text for element in ElementTree.fromstring(part).iter(tag)]


def test_facts_are_a_table_and_nothing_in_them_is_obeyed():
    page = html.page("<script>a</script>", {"kind": "a & b", "<i>": '"'}, "", "<p>seen</p>")
    tree = ElementTree.fromstring(page)
    assert [element.text for element in tree.iter() if element.tag in ("b", "th", "td", "p")] == [
        "<script>a</script>",
        "kind",
        "a & b",
        "<i>",
        '"',
        "seen",
    ]
    assert tree.find(".//script") is None
    assert len(tree) == 2  # a figure that is empty has no place


def test_vectors_are_a_table_with_the_names_of_their_columns():
    x = np.arange(18.0).reshape(6, 3)
    assert html.wanted(shown(3)) == html.ROWS
    part = html.samples(x, shown(3), ("mass", "a<b", "c"))
    assert texts(part, "th") == ["mass", "a<b", "c"]
    assert [float(cell) for cell in texts(part, "td")] == x[:5].ravel().tolist()
    assert texts(html.samples(x, shown(3)), "th") == ["x_1", "x_2", "x_3"]
    assert texts(html.samples(np.zeros((2, 784)), shown(784)), "th")[-2:] == ["x_8", "…"]


@pytest.mark.parametrize("shape", [(4, 4), (2, 2, 4), (4, 4, 1)])
def test_images_are_a_grid_of_their_grey_levels(shape):
    x = np.random.default_rng(0).uniform(0, 17, (html.IMAGES, 16))
    assert html.wanted(shown(16, shape)) == html.IMAGES
    source = ElementTree.fromstring(html.samples(x, shown(16, shape))).get("src")
    picture = np.asarray(Image.open(BytesIO(b64decode(source.partition("base64,")[2]))))
    np.testing.assert_array_equal(picture, samples.grid(samples.to_grey(x, shown(16, shape)), shape))


def test_points_are_dots_at_their_places():
    x = np.random.default_rng(0).standard_normal((html.POINTS, 2)) * [3.0, 0.1] + [0.0, 100.0]
    assert html.wanted(shown(2)) == html.POINTS
    part = html.samples(x, shown(2), ("a", "b"))
    window = samples.window_of(x)
    inside = x[((x >= window[:, 0]) & (x <= window[:, 1])).all(axis=1)]
    assert len(inside) > 0.97 * len(x)
    dots = np.array(re.findall(r"M(\S+) (\S+)h0", part), dtype=float) / 240
    dots[:, 1] = 1 - dots[:, 1]
    np.testing.assert_allclose(window[:, 0] + dots * (window[:, 1] - window[:, 0]), inside, rtol=0, atol=0.01)
    assert texts(part, "{http://www.w3.org/2000/svg}text")[-2:] == ["a", "b"]


@pytest.mark.parametrize("lines", [{"one": [1.0]}, {"a": [9.0, 2.0, 1.5], "b": [3.0, 2.5]}, {"flat": [1.0] * 40}])
def test_curves_have_a_point_per_step_inside_the_frame(lines):
    part = html.curves(lines, "epoch", "bits/dim")
    found = ElementTree.fromstring(part).iter("{http://www.w3.org/2000/svg}polyline")
    for line, values in zip(found, lines.values(), strict=True):
        points = np.array([pair.split(",") for pair in line.get("points").split()], dtype=float)
        assert len(points) == len(values)
        assert ((points >= 0) & (points <= 240)).all()
        assert (np.diff(points[:, 1]) >= 0).all()  # falling curves: y points down
    assert set(lines) <= set(texts(part, "{http://www.w3.org/2000/svg}text"))
