"""`ExportedClasses` as a deployer uses it."""

import numpy as np
import pytest

from lunet_export import ExportedClasses, noise
from lunet_export.errors import BadInputError
from lunet_export.preprocessing import NAMED, dequantize
from lunet_export.runtime import graph_runs
from lunet_export.runtime.scoring import score, scores
from tests import tolerances
from tests.networks import CLASS_NAMES, PRIORS, mixture

WEIGHTS = mixture(16, 3, preprocessing=NAMED["digits"])  # of the folder
OUTPUTS = ("class_log_prob", "log_prob", "posterior")


@pytest.fixture(scope="module")
def flow(exported_classes):
    return ExportedClasses(exported_classes.folder, provider="cpu")


def test_it_knows_its_classes(flow):
    assert (flow.names, flow.priors, flow.dim, flow.provider) == (CLASS_NAMES, PRIORS, 16, "cpu")
    assert [flow.number(label) for label in ("T-shirt/top", 1, "1", "b, c")] == [0, 1, 1, 1]
    assert flow.number("8") == 2  # a name, before it is a number


@pytest.mark.parametrize("label", [3, -1, "3", "-1", "shirt", "", "9" * 30])
def test_a_class_out_of_range_is_refused(flow, label):
    with pytest.raises(BadInputError, match=r"Expected a class of 0 \.\. 2 or one of T-shirt/top, b, c, 8; got"):
        flow.sample(2, seed=0, label=label)


def test_shapes_dtypes_and_agreement_of_the_methods(flow):
    x = flow.sample(7, seed=0)
    class_log_prob, log_prob, posterior = flow.density(x)
    assert (x.shape, x.dtype, class_log_prob.shape, posterior.shape) == ((7, 16), np.float32, (7, 3), (7, 3))
    np.testing.assert_array_equal(flow.class_log_prob(x), class_log_prob)
    np.testing.assert_array_equal(flow.log_prob(x), log_prob)
    np.testing.assert_array_equal(flow.posterior(x), posterior)
    np.testing.assert_array_equal(flow.classify(x), posterior.argmax(axis=1))
    # Each of three is rounded when it is divided, and the sum twice.
    np.testing.assert_array_less(np.abs(posterior.sum(axis=1) - 1), tolerances.of_roundings(3 + 2, 1.0))


def of_samples(n, *, seed):
    """What two runtimes may differ by in `sample(n, seed=seed)`, (n,): a row is of its own class."""
    z, labels = noise.normal(seed, range(n), 16), noise.classes(seed, range(n), PRIORS)
    each = [tolerances.of_sampling(network, z)["x"] for network in WEIGHTS.components]
    return tolerances.TWO * np.stack(each)[labels, np.arange(n)]


def test_same_seed_same_rows_whoever_asks(flow, exported_classes):
    """And with any number of threads: the same up to rounding, which no other row is."""
    again = ExportedClasses(str(exported_classes.folder), provider="cpu", threads=1)
    x, allowed = flow.sample(9, seed=4), of_samples(9, seed=4)
    np.testing.assert_array_equal(x, flow.sample(9, seed=4))
    tolerances.assert_within(again.sample(9, seed=4), x, allowed)
    assert tolerances.beyond(again.sample(9, seed=4)[::-1], x, allowed) > 1
    np.testing.assert_array_equal(flow.labels(9, seed=4), noise.classes(4, range(9), PRIORS))
    assert (flow.sample(9, seed=4) != flow.sample(9, seed=5)).any()


def test_a_row_of_the_mixture_is_that_row_of_its_class(flow):
    x, labels, allowed = flow.sample(30, seed=1), flow.labels(30, seed=1), of_samples(30, seed=1)
    assert set(labels.tolist()) == {0, 1, 2}
    for number, name in enumerate(CLASS_NAMES):
        of_class, own = flow.sample(30, seed=1, label=name), labels == number
        tolerances.assert_within(x[own], of_class[own], allowed[own])
        assert tolerances.beyond(x[~own], of_class[~own], allowed[~own]) > 1
        np.testing.assert_array_equal(of_class, flow.decode(flow.latent(30, seed=1), number))
    middle, cold = np.zeros((1, 16)), flow.sample(5, seed=1, label=2, temperature=0.0)
    allowed = tolerances.TWO * tolerances.of_sampling(WEIGHTS.components[2], middle)["x"]
    tolerances.assert_within(cold, flow.decode(middle, 2).repeat(5, axis=0), allowed.repeat(5))


def test_batch_of_none_gives_empty_arrays(flow):
    none = np.empty((0, 16))
    assert [part.shape for part in flow.density(none)] == [(0, 3), (0,), (0, 3)]
    assert (flow.classify(none).shape, flow.decode(none, 1).shape, flow.sample(0, seed=0).shape) == (
        (0,),
        (0, 16),
        (0, 16),
    )


def test_large_batches_run_in_chunks(flow, monkeypatch):
    x = flow.sample(10, seed=1)
    whole, allowed = flow.density(x), tolerances.of_classes(WEIGHTS, x)
    monkeypatch.setattr(graph_runs, "LARGEST_BATCH", 4)
    for name, ours, theirs in zip(OUTPUTS, flow.density(x), whole, strict=True):
        tolerances.assert_within(ours, theirs, tolerances.TWO * allowed[name], name)
        assert tolerances.beyond(ours[::-1], theirs, tolerances.TWO * allowed[name]) > 1


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda flow: flow.log_prob(np.zeros(16)), "Add a batch axis"),
        (lambda flow: flow.posterior(np.full((1, 16), 17.0)), r"Expected x in \[0, 17\)"),
        (lambda flow: flow.classify(np.full((1, 16), np.nan)), "finite float32 numbers in x"),
        (lambda flow: flow.decode(np.zeros((1, 15)), 0), r"Expected z of shape \(N, 16\)"),
        (lambda flow: flow.sample(-1, seed=0), "number of samples of 0 or more"),
        (lambda flow: flow.sample(1, seed=-1), "Expected a seed"),
        (lambda flow: flow.sample(1, seed=0, temperature=-1.0), "temperature of 0 or more"),
    ],
)
def test_what_cannot_be_is_refused(flow, call, sentence):
    with pytest.raises(BadInputError, match=sentence):
        call(flow)


def test_scores_are_means_over_the_draws_of_the_noise(flow):
    grey = np.random.default_rng(0).integers(0, 17, (4, 16))
    found = scores(flow, grey, draws=3, seed=2)
    log_prob, posterior = found["log_prob"], found["posterior"]
    draws = [dequantize(grey, noise.uniform(2, range(4), 16, draw=k)) for k in range(3)]
    allowed = [tolerances.of_classes(WEIGHTS, x) for x in draws]
    for number, (name, got) in enumerate({"log_prob": log_prob, "posterior": posterior}.items(), start=1):
        most = tolerances.TWO * np.mean([one[name] for one in allowed], axis=0)
        each = [flow.density(x)[number].astype(np.float64) for x in draws]
        tolerances.assert_within(got, np.mean(each, axis=0), most, name)
        assert tolerances.beyond(got, each[0], most) > 1  # one draw is not their mean
    np.testing.assert_array_equal(score(flow, grey, draws=3, seed=2), log_prob)
    x = flow.sample(4, seed=0)
    np.testing.assert_array_equal(scores(flow, x, draws=5)["posterior"], flow.posterior(x))


def test_on_cuda_every_graph_is_asked_for_there(exported_classes, cuda_on_host):
    flow = ExportedClasses(exported_classes.folder, provider="cuda", cuda={"tf32": True})
    flow.sample(2, seed=0, label=1)
    assert cuda_on_host == [("cuda", False), ("cuda", False)]
    assert flow.tf32
    assert (flow.vectors.density.tolerance["log_prob"] > flow.artifact.vectors.density.tolerance["log_prob"]).all()
