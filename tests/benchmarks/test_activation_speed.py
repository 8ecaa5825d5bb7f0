"""The speed of both activations beside the floor: answers are checked, and misses are bold."""

import json

import numpy as np
import pytest

from benchmarks import activation_speed, networks, report
from lunet_export.errors import CheckFailedError


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(activation_speed, "BATCHES", (1, 3))
    monkeypatch.setattr(activation_speed, "_TURNS", {1: 1, 3: 1})
    return networks.standard(12, 3)


def test_every_graph_has_a_row_and_a_target(small, monkeypatch):
    found = activation_speed.measure(small, 0.0, 1)
    assert len(found) == 2 * (2 * 3 + 2) + 2 * (2 + 2)
    lines = activation_speed.rows({"rows": found})
    assert len(lines) == 1 + len(activation_speed.TARGETS) + 1
    assert all(len(line) == 4 for line in lines)
    assert len(activation_speed.prediction_rows({"rows": found})) == 1 + 2 * 3


def test_the_solvers_are_predicted_in_the_order_that_was_measured():
    rows = json.loads((report.RESULTS / "activation_speed.json").read_text())["rows"]
    for activation in activation_speed.ACTIVATIONS:
        for batch in activation_speed.BATCHES:
            mine = [row for row in rows if (row["activation"], row["batch"]) == (activation, batch)]
            mine = [row for row in mine if row["predicted"] is not None]
            assert len(mine) == len(activation_speed.SOLVERS)
            assert sorted(mine, key=lambda row: row["p50"]) == sorted(mine, key=lambda row: row["predicted"])


def test_a_wrong_answer_is_not_timed(small, monkeypatch):
    asked = activation_speed.Questions.about
    monkeypatch.setattr(activation_speed.Questions, "about", lambda weights: asked(networks.standard(12, 3, seed=7)))
    with pytest.raises(CheckFailedError, match="Expected right answers before timing"):
        activation_speed.measure(small, 0.0, 1)


def test_misses_are_bold():
    assert activation_speed._aimed(61, 52) == "**61** (52)"
    assert activation_speed._aimed(1.234, 1.3) == "1.23 (1.3)"
    assert activation_speed._aimed(112, None) == "112"
    assert activation_speed._aimed(float(np.nan), 1.3).startswith("**nan")
