"""Training with the label of a row as its context: what is learnt, recorded and refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import lunet_export
from lunet_export import checkpoint
from lunet_export.checks import reference
from lunet_export.classes import Classes
from lunet_export.data import Contexts, Labels
from lunet_export.errors import BadInputError, CheckpointError, DataError
from lunet_export.layers import ConditionalAffine
from lunet_export.training import FitSettings
from lunet_export.training.lunet.architecture import LUNetArchitecture
from lunet_export.training.rows import draws_of, gaussian_of, rows_to_test
from tests.training.test_classes import IMAGES, NAMES, VECTORS
from tests.training.test_contexts import run as train

SETTINGS = FitSettings(epochs=3, batch_size=50, learning_rate=2e-3, fallback=False)
CLASSES = Classes.counted(NAMES, VECTORS.labels.train)


def run(path, data=VECTORS, **choices):
    return train(path, data.given_labels(), SETTINGS, LUNetArchitecture(2), **choices)


@pytest.fixture(scope="module", params=[VECTORS, IMAGES], ids=["vectors", "images"])
def done(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "model.pt"
    return request.param, run(path, request.param), checkpoint.read(path).weights


def test_contexts_name_the_classes_and_priors_are_shares_of_the_training_rows():
    contexts = VECTORS.given_labels().contexts
    assert (contexts.dim, contexts.names, contexts.classes) == (3, None, CLASSES)
    assert CLASSES.priors == (0.5, 0.25, 0.25)
    for split in ("train", "valid", "test"):
        found = getattr(contexts, split)
        np.testing.assert_array_equal(found.argmax(axis=1), getattr(VECTORS.labels, split))
        assert CLASSES.named(found).all()


def test_the_model_knows_its_classes_and_no_hidden_unit(done):
    """Every function of a class is linear in the context that names it."""
    _, _, chain = done
    assert chain.context.classes == CLASSES
    assert [layer.network[0].weight.shape for layer in chain.of(ConditionalAffine)] == [(8, 3)] * 2


def test_figures_are_those_of_bayes_rule(done):
    """log p(x | c) of the rows' own classes, log p(x) and the accuracy of the mixture and of the linear Gaussian."""
    data, result, chain = done
    labels = data.labels.test
    gaussian = gaussian_of(data.given_labels())
    own, mixture, right, linear = [], [], [], []
    for number in range(draws_of(data)):
        x = rows_to_test(data, number)
        found = reference.class_log_prob(chain, x)
        own.append(found[np.arange(len(x)), labels].mean())
        mixture.append(reference.mixture_log_prob(found, CLASSES.priors).mean())
        right.append((reference.posterior(found, CLASSES.priors).argmax(axis=1) == labels).mean())
        each = np.stack([gaussian.log_prob(x, one) for one in np.eye(3)], axis=1)
        linear.append((reference.posterior(each, CLASSES.priors).argmax(axis=1) == labels).mean())
    nats = 4 * np.log(2)
    assert result.test_nats == pytest.approx(-np.mean(own), abs=1e-4)
    assert result.mixture * nats == pytest.approx(-np.mean(mixture), abs=1e-4)
    assert result.accuracy == pytest.approx(np.mean(right), abs=1e-9)
    assert result.gaussian_accuracy == pytest.approx(np.mean(linear), abs=1e-9)
    assert result.test < result.mixture  # the class tells something


def test_shuffled_labels_classify_no_better_than_the_priors(tmp_path):
    """Planted: what the labels say of the rows is lost, so the most frequent class is the best guess."""
    right = run(tmp_path / "right.pt")
    rng = np.random.default_rng(0)
    mixed = Labels(
        NAMES, *(rng.permutation(part) for part in (VECTORS.labels.train, VECTORS.labels.valid)), VECTORS.labels.test
    )
    wrong = run(tmp_path / "wrong.pt", replace(VECTORS, labels=mixed))
    assert right.accuracy > 0.65
    assert right.accuracy > wrong.accuracy + 0.1
    assert right.mixture < wrong.mixture


def test_a_run_without_classes_has_no_such_figures(tmp_path):
    contexts = replace(VECTORS.given_labels().contexts, classes=None)
    result = train(tmp_path / "m.pt", replace(VECTORS, contexts=contexts), SETTINGS, LUNetArchitecture(2))
    assert (result.mixture, result.accuracy, result.gaussian_mixture, result.gaussian_accuracy) == (None,) * 4
    assert checkpoint.read(tmp_path / "m.pt").weights.context.classes is None


def test_other_classes_are_refused_to_start_from_or_to_resume(tmp_path):
    other = replace(VECTORS, labels=replace(VECTORS.labels, names=("x", "y", "z")))
    run(tmp_path / "m.pt")
    chain = checkpoint.read(tmp_path / "m.pt").weights
    sentence = "the classes T-shirt/top, b, c, for the model to start from; those of clouds name the classes x, y, z"
    with pytest.raises(BadInputError, match=sentence):
        run(tmp_path / "n.pt", other, begin=chain)
    with pytest.raises(BadInputError, match=r"clouds has none\. Train with `context_labels=True`"):
        train(tmp_path / "n.pt", VECTORS, SETTINGS, LUNetArchitecture(2), begin=chain)
    unnamed = replace(VECTORS, contexts=replace(VECTORS.given_labels().contexts, classes=None))
    with pytest.raises(BadInputError, match="those of clouds name no classes"):
        train(tmp_path / "n.pt", unnamed, SETTINGS, LUNetArchitecture(2), begin=chain)
    with pytest.raises(CheckpointError, match="differs: context"):
        run(tmp_path / "m.pt", other, resume=True)


def test_a_run_from_a_model_of_the_same_classes_takes_the_priors_of_its_own_rows(tmp_path):
    run(tmp_path / "m.pt")
    chain = checkpoint.read(tmp_path / "m.pt").weights
    fewer = np.sort(np.argsort(VECTORS.labels.train)[100:])  # half of the rows of the first class are left out
    labels = replace(VECTORS.labels, train=VECTORS.labels.train[fewer])
    run(tmp_path / "n.pt", replace(VECTORS, train=VECTORS.train[fewer], labels=labels), begin=chain)
    again = checkpoint.read(tmp_path / "n.pt").weights
    assert again.context.classes == Classes(NAMES, (1 / 3, 1 / 3, 1 / 3))


def test_rows_without_labels_with_contexts_or_with_a_class_of_no_rows_are_refused():
    with pytest.raises(DataError, match="Expected class labels; this data set has none"):
        replace(VECTORS, labels=None).given_labels()
    with pytest.raises(DataError, match="Expected no other contexts with the labels as contexts; clouds has some"):
        VECTORS.given_labels().given_labels()
    empty = np.where(VECTORS.labels.train == 2, 0, VECTORS.labels.train)
    with pytest.raises(DataError, match=r"Expected two classes or more, each with training rows\. Expected positive"):
        replace(VECTORS, labels=replace(VECTORS.labels, train=empty)).given_labels()
    with pytest.raises(DataError, match="Expected two classes or more"):
        Contexts.of_labels(Labels(("a",), *[np.zeros(3, dtype=int)] * 3))


FAST = {"epochs": 2, "blocks": 2, "progress": False}


def test_a_frame_with_a_column_of_words(tmp_path):
    rows = VECTORS.train[:120]
    frame = pd.DataFrame(rows, columns=list("abcd")).assign(
        kind=[NAMES[number] for number in VECTORS.labels.train[:120]]
    )
    model = lunet_export.train(frame, tmp_path / "m.pt", label="kind", context_labels=True, **FAST)
    assert model.columns == ("a", "b", "c", "d")
    assert set(model.distribution.context.classes.names) == set(NAMES)
    assert 0 < model.training["accuracy"] <= 1
    flow = lunet_export.export(model, tmp_path / "m", provider="cpu")
    assert flow.context.classes == model.distribution.context.classes
    classes = lunet_export.ExportedClasses(tmp_path / "m", provider="cpu")
    assert classes.classify(frame.drop(columns="kind")).shape == (120,)


@pytest.mark.parametrize(
    ("choices", "kind", "sentence"),
    [
        ({"per_class": True}, BadInputError, "got both. Leave one out"),
        ({"flow": "jko"}, BadInputError, "Expected rows without contexts for jko"),
        ({"context_columns": ["a"]}, DataError, "Expected no other contexts with the labels"),
        ({"label": None}, DataError, "Name their column by `label`"),
    ],
)
def test_choices_that_do_not_fit_are_refused(choices, kind, sentence, tmp_path):
    frame = pd.DataFrame(VECTORS.train[:60], columns=list("abcd")).assign(kind=VECTORS.labels.train[:60])
    with pytest.raises(kind, match=sentence):
        lunet_export.train(
            frame, tmp_path / "m.pt", context_labels=True, progress=False, **{"label": "kind", **choices}
        )
