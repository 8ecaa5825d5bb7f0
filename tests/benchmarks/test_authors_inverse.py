"""The authors' inverse on trained weights: their recipe trains, and the record holds what was measured."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import authors_inverse, networks, report, rivals
from lunet_export.checks import reference
from lunet_export.flows import lunet
from lunet_export.layers import LU
from lunet_export.preprocessing import NAMED, dequantize
from tests import tolerances
from tests.networks import network

DIM = 16


@pytest.fixture(scope="module")
def grey():
    """Images of blurred noise, so that pixels go together."""
    rng = np.random.default_rng(0)
    return np.clip(rng.normal(120, 40, (600, 1)) + rng.normal(0, 15, (600, DIM)), 0, 255).astype(np.uint8)


def test_the_recipe_trains_and_its_latents_are_folded_in(grey):
    weights, recorded = authors_inverse.recipe_of(grey[:500], grey[500:], epochs=4)
    assert (recorded["rows"], recorded["epochs"]) == (500, 4)
    assert recorded["paper_convention_folded"] < recorded["paper_convention"]
    x = dequantize(grey[:500], np.random.default_rng(1).random((500, DIM)))
    square = np.square(reference.encode(weights, x)[0]).mean(axis=1)  # of other noise than the statistics
    assert square.mean() == pytest.approx(1, abs=tolerances.of_estimate(square.std(), len(square)))
    _, begun = authors_inverse.recipe_of(grey[:500], grey[500:], epochs=1)
    assert recorded["paper_convention"] < begun["paper_convention"]
    for block in weights.of(LU):
        assert not np.tril(block.upper, -1).any()


def test_what_the_splines_are_asked_is_told():
    found = authors_inverse.asked(network(4, 3), 1e6 * np.ones((2, 4)))
    assert found["beyond_the_spline"] > 0
    assert found["least"] <= found["most"]
    flat = lunet([LU(np.eye(4), np.eye(4), np.zeros(4))] * 2, 0.1)
    assert authors_inverse.asked(flat, np.zeros((2, 4)))["knots_walked"] == 0
    steps = authors_inverse.asked(flat, np.tile([-10.0, -20.0], (3, 2)))  # 10 / 0.1 / 0.001 knots apart
    assert steps["knots_walked"] == pytest.approx(1e5, abs=tolerances.of_roundings(8, 2e5, "float64"))
    assert steps["beyond_the_spline"] == 0


def test_a_run_fills_the_record_and_the_table(grey, tmp_path, monkeypatch, capsys):
    weights = network(DIM, 3, preprocessing=NAMED["images"])
    monkeypatch.setattr(report, "options", lambda question, seconds: Parser(tmp_path))
    monkeypatch.setattr(authors_inverse, "BATCHES", (1, 3))
    monkeypatch.setattr(authors_inverse, "_zeros", lambda folder: (grey[:500], grey[500:]))
    monkeypatch.setattr(authors_inverse.checkpoint, "read", lambda path: SimpleNamespace(weights=weights))
    monkeypatch.setattr(networks, "standard", lambda: weights)
    right = rivals.authors
    monkeypatch.setattr(rivals, "authors", lambda model: right(model, points=20_001))
    authors_inverse.main()
    document = json.loads((tmp_path / "authors_inverse.json").read_text())
    assert {(row["network"], row["batch"]) for row in document["rows"]} == {
        (name, size)
        for name in (authors_inverse.RECIPE, authors_inverse.OURS, authors_inverse.SEEDED)
        for size in (1, 3)
    }
    assert all(row["authors_cpu_s"] > 0 and row["unrolled_s"] > 0 for row in document["rows"])
    assert capsys.readouterr().out.count("\n") == len(authors_inverse.rows(document))


class Parser:
    def __init__(self, output):
        self._found = SimpleNamespace(threads=1, output=output, data_dir=output, epochs=1)

    def add_argument(self, *arguments, **settings):
        pass

    def parse_args(self):
        return self._found
