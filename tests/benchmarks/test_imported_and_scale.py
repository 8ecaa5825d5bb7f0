"""The scripts that compare imported flows and streams see what is wrong."""

import numpy as np
import pytest
import torch

from benchmarks import imported, scale
from lunet_export.errors import CheckFailedError


@pytest.mark.parametrize("library", imported.PEERS)
def test_our_graphs_give_the_librarys_answers(library):
    torch.manual_seed(0)
    x, z = (np.random.default_rng(seed).standard_normal((8, 3)).astype(np.float32) for seed in (0, 1))
    with imported.double_by_default():
        peer = imported.PEERS[library](3)
        imported.train(peer, 3)
        peer.flow.eval()
        found = imported.compared(peer, x, z, "float32")
    assert max(found["log_prob"], found["x"]) < imported.TARGETS["float32"]


def test_another_answer_is_a_gap():
    assert imported.gap(np.array([1.0, 200.0]), np.array([1.0, 202.0])) == pytest.approx(2 / 202)


def runs(**changed):
    answer = {"count": 10, "log_prob": -5.0, "sha256": "a"}
    return {
        "rows": 10,
        "runs": {name: {**answer, **changed.get(name, {})} for name in ("loop", "local", "ray", "killed")},
    }


def test_lost_or_doubled_rows_are_seen():
    scale.validate_answers(runs())
    for wrong in (
        {"killed": {"count": 11}},
        {"ray": {"log_prob": -5.000001}},
        {"loop": {"log_prob": -6.0}},
        {"killed": {"sha256": "b"}},
    ):
        with pytest.raises(CheckFailedError, match="Expected"):
            scale.validate_answers(runs(**wrong))
