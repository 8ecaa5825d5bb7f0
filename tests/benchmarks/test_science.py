"""The flows of science leave Python in both directions, and the comparison of them sees what is wrong."""

import numpy as np
import pytest
import torch

from benchmarks import contexts, gallery, given, imported, science
from lunet_export import ExportedFlow, importers, parity
from lunet_export.checks import reference
from lunet_export.export import Provenance, export

pytest.importorskip("sbi", reason="sbi is not installed: run make setup-dev")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries about each other


def trained(name):
    """A flow of the gallery after few steps: what is compared does not depend on how good it is."""
    return given.seeded(lambda: gallery.FLOWS[name](steps=3))


@pytest.mark.slow
@pytest.mark.parametrize("name", gallery.FLOWS)
def test_a_flow_is_its_librarys_own_in_both_dtypes_and_leaves_as_a_folder(name, tmp_path):
    peer = trained(name)
    weights = importers.read(peer.flow).weights
    x, c = (part[: science.ROWS].astype(np.float64) for part in (peer.rows, peer.contexts))
    z = np.random.default_rng(0).standard_normal(x.shape)
    wanted = peer.in_float64(x, c), peer.in_float64(z, c, sampling=True)
    _, facts = contexts.compared(weights, (x, z, c if weights.context else None), wanted, threads=1)
    assert max(facts["float64"]) < science.PARITY
    assert max(facts["float32 of the tolerance"]) < 1
    export(weights, tmp_path / "flow", Provenance(name))
    flow = ExportedFlow(tmp_path / "flow", provider="cpu", threads=1)
    assert parity.all_passed(parity.run(flow, flow.artifact.vectors))


@pytest.mark.parametrize("name", ["zuko NSF", "IKFlow"])
def test_a_flow_of_other_weights_is_far_off(name):
    """The comparison above can fail."""
    peer = trained(name)
    weights = importers.read(peer.flow).weights
    with torch.no_grad():
        next(each for each in peer.flow.parameters() if each.requires_grad and each.ndim == 2).mul_(1 + 1e-5)
    x, c = (part[: science.ROWS].astype(np.float64) for part in (peer.rows, peer.contexts))
    wanted = peer.in_float64(x, c), reference.decode(weights, x, c)
    _, facts = contexts.compared(weights, (x, x, c), wanted, threads=1)
    assert facts["float64"][0] > science.PARITY


def test_rows_at_which_a_library_raises_are_counted_and_the_others_compared():
    rows = np.arange(10.0)[:, None]

    def answers(part, contexts):
        if (part == 3).any():
            raise AssertionError("a negative discriminant")
        return np.where(part[:, 0] == 7, np.nan, part[:, 0] * (1 + 1e-3))

    found = science.errors(answers, rows[:, 0], rows, rows)
    assert np.flatnonzero(np.isnan(found)).tolist() == [3, 7]
    told = science.summary(found)
    assert told["without"] == 2
    assert told["largest"] == pytest.approx(1e-3)
    assert told["median"] == pytest.approx(1e-3)


def test_the_errors_of_a_wrong_library_show():
    peer = given.seeded(gallery.steep_nflows)
    weights = importers.read(peer.flow).weights
    flow = contexts.opened(weights, "float32", 1)
    found = science.accuracy(weights, peer, flow, count=50)
    assert found["sampling"][science.THEIRS]["largest"] < 1e-3
    with torch.no_grad():
        next(peer.flow.parameters()).mul_(0.5)
    wrong = science.accuracy(weights, peer, flow, count=50)
    assert wrong["sampling"][science.THEIRS]["median"] > 1e-3
    assert wrong["sampling"][contexts.OURS] == found["sampling"][contexts.OURS]


class Plain(torch.nn.Module):
    """A direction that PyTorch's exporter takes, or one that branches on numbers."""

    def __init__(self, *, branches):
        super().__init__()
        self.branches = branches

    def forward(self, rows):
        if self.branches and (rows > 0).all():
            return rows.sum(1)
        return rows.sum(1) * 2


@pytest.mark.parametrize(("branches", "eager", "told"), [(False, 2, None), (False, 3, "wrong"), (True, 2, "Guard")])
def test_what_pytorchs_exporter_makes_is_compared_or_its_error_told(branches, eager, told):
    flow = Plain(branches=branches)
    peer = given.Peer(flow, lambda module, rows, _: module(rows), None, None, None)
    fed = [np.linspace(-1, 1, 18, dtype=np.float32).reshape(6, 3)]
    facts, graph = science.theirs(peer, "density", lambda rows, _: rows.sum(1) * eager, fed)
    assert (graph is None) == (told is not None)
    assert facts.get("why_not", "").startswith(told or "")
    assert "nodes" in facts or told == "Guard"


def test_the_own_graph_takes_contexts_and_any_batch():
    flow = torch.nn.Linear(2, 2)
    graph = imported.own_graph(flow, lambda x, c: flow(x) + c, torch.randn(6, 2), torch.randn(6, 2))
    run = science._runner(graph, threads=1)
    for batch in (1, 9):
        assert run(*np.ones((2, batch, 2), np.float32)).shape == (batch, 2)


def test_missed_targets_are_marked():
    times = [
        {"direction": direction, "batch": batch, "faster": {science.OWN: 1.9, science.EAGER: 5.0}}
        for direction in science.DIRECTIONS
        for batch in science.BATCHES
    ]
    found = science.target_rows({"flows": [{"name": science.TARGET_FLOW, "times": times}]})
    assert [line[3] for line in found[1:]] == 2 * ["**missed**", "**missed**", "met"]
