"""The runners beside ours compute the same network, and a fault is caught before anything is timed."""

import numpy as np
import pytest

from benchmarks import graphs, networks, peers, rivals
from benchmarks.lean import LeanRunner
from benchmarks.networks import Questions
from lunet_export.errors import BadInputError, CheckFailedError
from tests.networks import network

DIM = 8
_POINTS = 200_001  # a tenth of the authors' spline: still within rounding, and fast

RUNNERS = {
    "lean": LeanRunner,
    "nflows": lambda weights: rivals.nflows(weights, cached=False),
    "nflows, cached": lambda weights: rivals.nflows(weights, cached=True),
    "zuko": rivals.zuko,
    "authors": lambda weights: rivals.authors(weights, points=_POINTS),
}
every_runner = pytest.mark.parametrize("name", RUNNERS)


def make(name, weights):
    package = name.partition(",")[0]
    if package in ("nflows", "zuko"):
        pytest.importorskip(package, reason=f"{package} is not installed: run make setup-dev")
    return RUNNERS[name](weights)


@pytest.fixture(scope="module")
def weights():
    return networks.standard(DIM, 3)


@pytest.fixture(scope="module")
def questions(weights):
    return Questions.about(weights)


@every_runner
@pytest.mark.parametrize("batch", [1, 11])
def test_it_computes_our_network(name, batch, weights, questions):
    runner = make(name, weights)
    z, log_prob = runner.density(questions.batch("density", batch))
    x = runner.decode(questions.batch("sampling", batch))
    assert x.shape == (batch, DIM)
    assert questions.check(name, {"z": z, "log_prob": log_prob} if name != "authors" else {"z": z}) <= 1
    assert questions.check(name, {"x": x}) <= 1


def test_our_graphs_compute_it_too(weights, questions):
    models, refused = graphs.sampling_graphs(weights)
    assert {"unrolled", "fused"} <= models.keys()
    assert not models.keys() & refused.keys()
    for name, model in {**models, "density": graphs.density_graph(weights)}.items():
        graph = graphs.opened(model, threads=1)
        direction = "density" if name == "density" else "sampling"
        outputs = graph.run(questions.batch(direction, 5))
        assert questions.check(name, dict(zip(graph.outputs, outputs, strict=True))) <= 1


@pytest.mark.parametrize("name", ["zuko", "lean"])
def test_signs_of_the_diagonal_are_kept(name):
    weights = network(DIM, 2)
    questions = Questions.about(weights)
    assert questions.check(name, {"x": make(name, weights).decode(questions.z)}) <= 1


def test_nflows_refuses_what_it_cannot_represent():
    pytest.importorskip("nflows", reason="nflows is not installed: run make setup-dev")
    with pytest.raises(BadInputError, match=r"Expected diagonals of U above 0.001, all that nflows has; got -"):
        rivals.nflows(network(DIM, 2), cached=False)


def test_a_fault_is_caught_before_timing(weights, questions, monkeypatch):
    """One pixel off by a tenth of a grey level; no clock may start."""
    runner = LeanRunner(weights)

    def wrong(z):
        x = runner.decode(z).copy()
        x[-1, 3] += 0.1
        return x

    def never(*arguments, **options):
        raise AssertionError("timed before the check")

    monkeypatch.setattr(peers, "interleaved", never)
    runners = {"wrong": peers.Runner(wrong, lambda x: {"x": x})}
    with pytest.raises(CheckFailedError, match=r"Expected right answers before timing; wrong gives x = .* column 3,"):
        peers.timed(runners, questions, "sampling", 4, seconds=1.0, default="wrong")


def test_a_nan_is_a_fault(questions):
    x = questions.answers["x"].copy()
    x[0, 0] = np.nan
    with pytest.raises(CheckFailedError, match="Expected right answers before timing"):
        questions.check("broken", {"x": x})


def test_targets_that_were_not_measured_are_not_met():
    target = peers._at_most("meeting: nodes", None, 120)
    assert (target.measured, target.met) == (None, False)
    assert peers._at_least("eager", 5.0, 5).met
    assert not peers._at_most("floor", float("nan"), 1).met
