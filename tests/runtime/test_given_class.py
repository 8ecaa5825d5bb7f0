"""`ExportedClasses` of one network whose context names the class: what the reference says, and what a user gives."""

import pickle
import warnings

import numpy as np
import pytest

from lunet_export import ExportedClasses, ExportedFlow, noise
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel, of_mixture
from lunet_export.errors import ArtifactError, BadInputError, OverflowingRowsError, RowsWarning
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.runtime import open_export
from lunet_export.runtime.scoring import Together, scores
from tests import tolerances
from tests.conditional import CLASSES, DIM, WIDTH, lu_net, of_classes

WEIGHTS = of_classes()
ARTIFACT = build_artifact(WEIGHTS, Provenance("c"), ExportSettings(with_log_prob=True))
EACH = np.eye(WIDTH)


@pytest.fixture(scope="module")
def flow():
    return ExportedClasses(ARTIFACT, provider="cpu", threads=1)


@pytest.fixture(scope="module")
def conditional():
    return ExportedFlow(ARTIFACT, provider="cpu", threads=1)


@pytest.fixture(scope="module")
def rows(flow):
    return flow.sample(30, seed=2)


def allowed_of(x):
    """Tolerances of class_log_prob (N, C), and of log_prob and posterior (N,)."""
    model, exact = RoundingModel(WEIGHTS, "float32"), x.astype(np.float64)
    each = np.stack([model.density(exact, np.tile(one, (len(x), 1)))["log_prob"] for one in EACH], axis=1)
    found = reference.class_log_prob(WEIGHTS, exact)
    return {"class_log_prob": each, **of_mixture(found, each, CLASSES.priors, "float32")}


def test_it_is_opened_as_its_classes_and_as_a_conditional_flow(flow, conditional):
    assert (flow.names, flow.priors, flow.dim, flow.context) == (CLASSES.names, CLASSES.priors, DIM, None)
    assert "3 classes" in repr(flow)
    assert conditional.context.classes == CLASSES
    assert isinstance(open_export(ARTIFACT, provider="cpu"), ExportedFlow)
    again = pickle.loads(pickle.dumps(flow))
    assert (type(again), again.names) == (ExportedClasses, CLASSES.names)
    assert "T-shirt/top" in flow._repr_html_()


def test_a_conditional_flow_without_classes_is_refused():
    other = build_artifact(lu_net(), Provenance("c"), ExportSettings())
    with pytest.raises(ArtifactError, match="Expected a folder with one network per class; this one holds one network"):
        ExportedClasses(other, provider="cpu")


def test_densities_and_posterior_are_those_of_bayes_rule(flow, rows):
    """By the reference, class by class; the posterior of other priors is another one."""
    found = reference.class_log_prob(WEIGHTS, rows.astype(np.float64))
    allowed = allowed_of(rows)
    class_log_prob, log_prob, posterior = flow.density(rows)
    tolerances.assert_within(class_log_prob, found, allowed["class_log_prob"])
    tolerances.assert_within(log_prob, reference.mixture_log_prob(found, CLASSES.priors), allowed["log_prob"])
    tolerances.assert_within(posterior, reference.posterior(found, CLASSES.priors), allowed["posterior"])
    assert tolerances.beyond(posterior, reference.posterior(found, CLASSES.priors[::-1]), allowed["posterior"]) > 1
    joint = np.exp(found) * CLASSES.priors  # p(c | x) = p(x | c) pi_c / sum
    np.testing.assert_allclose(
        reference.posterior(found, CLASSES.priors), joint / joint.sum(axis=1, keepdims=True), atol=1e-10
    )
    np.testing.assert_array_equal(flow.classify(rows), posterior.argmax(axis=1))
    for values in (class_log_prob, log_prob, posterior):
        assert values.dtype == np.float32


def test_a_class_is_the_flow_given_its_context(flow, conditional, rows):
    for number, (name, one) in enumerate(zip(CLASSES.names, EACH, strict=True)):
        expected = conditional.log_prob(rows, context=one)
        np.testing.assert_array_equal(flow.class_log_prob(rows)[:, number], expected)
        x = conditional.sample(9, seed=4, context=one)
        for label in (name, number):
            np.testing.assert_array_equal(flow.sample(9, seed=4, label=label), x)
        z = flow.latent(9, seed=4)
        np.testing.assert_array_equal(flow.decode(z, name), x)
        again, log_prob = flow.decode_with_log_prob(z, name)
        with_it = conditional.decode_with_log_prob(z, context=one)
        np.testing.assert_array_equal(again, with_it[0])
        np.testing.assert_array_equal(log_prob, with_it[1])


def test_samples_are_of_classes_by_their_priors(flow):
    labels = flow.labels(40, seed=1)
    np.testing.assert_array_equal(labels, noise.classes(1, range(40), CLASSES.priors))
    assert set(labels.tolist()) == {0, 1, 2}
    x = flow.sample(40, seed=1)
    allowed = RoundingModel(WEIGHTS, "float32").sampling(flow.latent(40, seed=1).astype(np.float64), EACH[labels])["x"]
    for number in range(WIDTH):
        of_class, own = flow.sample(40, seed=1, label=number), labels == number
        tolerances.assert_within(x[own], of_class[own], tolerances.TWO * allowed[own])
        assert tolerances.beyond(x[~own], of_class[~own], tolerances.TWO * allowed[~own]) > 1
    np.testing.assert_array_equal(flow.sample(9, seed=1, first=20), flow.sample(29, seed=1)[20:])


def test_no_rows_give_empty_answers(flow):
    none = np.empty((0, DIM))
    assert [part.shape for part in flow.density(none)] == [(0, WIDTH), (0,), (0, WIDTH)]
    assert (flow.classify(none).shape, flow.sample(0, seed=0).shape) == ((0,), (0, DIM))


def test_rows_too_far_from_every_class_are_named(flow, rows):
    far = rows.copy()
    far[3] = 1e30
    with pytest.raises(OverflowingRowsError, match="row 3"):
        flow.log_prob(far)


def test_rows_that_no_class_was_made_for_are_warned_of(flow, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flow.log_prob(rows)
    with pytest.warns(RowsWarning, match="half of these have more than"):
        flow.log_prob(1e4 * rows)


def test_a_context_that_names_no_class_is_warned_of(conditional, rows):
    sentence = r"1 in its place and 0 elsewhere; row 1 \(from 0\) has 0.5, 0.5, 0\. Nothing"
    given = EACH[np.zeros(len(rows), dtype=int)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conditional.log_prob(rows, context=given)
    given[1] = 0.5, 0.5, 0
    with pytest.warns(RowsWarning, match=sentence):
        conditional.log_prob(rows, context=given)
    with pytest.warns(RowsWarning, match=r"row 0 \(from 0\) has 0, 0, 0\."):
        conditional.sample(3, seed=0, context=np.zeros(WIDTH))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda flow: flow.sample(2, seed=0, label="4"),
            r"Expected a class of 0 \.\. 2 or one of T-shirt/top, b, c, 1",
        ),
        (lambda flow: flow.log_prob(np.zeros((2, DIM + 1))), "Expected x of shape"),
        (lambda flow: scores(flow, np.zeros((2, DIM)), context=EACH[0]), "Expected no context for a flow that takes"),
    ],
)
def test_wrong_input_is_one_sentence(call, sentence, flow):
    with pytest.raises(BadInputError, match=sentence):
        call(flow)


def test_several_folders_with_classes_are_scored_together(flow, rows):
    found = scores(Together((flow, flow), (0.5, 0.5)), rows)
    np.testing.assert_allclose(found["log_prob"], flow.log_prob(rows), rtol=1e-6)
    np.testing.assert_array_equal(scores(flow, rows)["posterior"], flow.posterior(rows))
