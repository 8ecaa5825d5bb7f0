"""The speed of both activations beside the floor: answers are checked, and misses are bold."""

import numpy as np
import pytest

from benchmarks import activation_speed, networks
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
