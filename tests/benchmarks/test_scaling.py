"""Fitted growth, and which points are fitted."""

import numpy as np
import pytest

from benchmarks import graphs, networks, scaling
from lunet_export.errors import CheckFailedError
from tests.families.lunet import changed


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 2.7])
def test_growth_recovers_a_known_exponent(exponent):
    x = [16, 64, 256, 784, 1536, 3072]
    assert scaling.growth(x, [3.0 * value**exponent for value in x]) == pytest.approx(exponent, abs=1e-12)


def test_growth_looks_at_the_larger_half_only():
    x = np.array([1, 8, 64, 512, 4096])
    assert scaling.growth(x, np.maximum(x, 64.0)) == pytest.approx(1.0)


def test_every_axis_passes_through_the_base():
    base = tuple(scaling.BASE[name] for name in ("dim", "batch", "blocks"))
    for axis, values in scaling.AXES.items():
        assert base in [scaling.point(axis, value) for value in values]


def test_points_with_fewer_blocks_are_left_out_of_the_fit():
    largest = scaling.point("dim", 3072)
    assert largest[2] == 1
    row = {"milliseconds": 1.0, "nodes": 1, "megabytes": 1.0, "load_seconds": 1.0}
    line = {value: {**row, "milliseconds": float(value), "blocks": 4} for value in (16, 64, 256, 784)}
    line[3072] = {**row, "blocks": 1}
    assert scaling.exponents("dim", {"unrolled": line})["unrolled"]["milliseconds"] == pytest.approx(1.0)


def rounding_of(weights):
    """What rounding may make of z and log_prob, over the largest number in them."""
    asked = networks.Questions.about(weights, 4)
    return max(asked.tolerance[name].max() / np.abs(asked.answers[name]).max() for name in ("z", "log_prob"))


def test_a_wrong_graph_is_not_timed(monkeypatch):
    right = graphs.density_graph
    monkeypatch.setattr(graphs, "density_graph", lambda weights: right(changed(weights)))
    with pytest.raises(CheckFailedError, match="Expected right answers before timing; density gives"):
        scaling.measured(networks.standard(8, 1), [1], 0.0, 1)


def test_points_are_measured_and_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "BASE", {"dim": 8, "batch": 4, "blocks": 2})
    document = scaling.measure({"dim": (4, 8), "batch": (1, 4), "blocks": (1, 2)}, seconds=0.0, threads=1)
    assert document["axes"]["dim"]["unrolled"][8] == document["axes"]["batch"]["unrolled"][4]
    assert document["axes"]["blocks"]["density"][1]["error"] <= rounding_of(networks.standard(8, 1))
    scaling.draw(document, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
