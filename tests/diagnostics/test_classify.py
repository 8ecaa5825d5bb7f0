"""Bayes classification: its figures counted by hand, and data that are of another model."""

from dataclasses import replace

import numpy as np
import pytest

from lunet_export import ExportedClasses, diagnostics, noise
from lunet_export.checks import reference
from lunet_export.data import Dataset, Labels
from lunet_export.errors import DataError
from lunet_export.preprocessing import NAMED, dequantize
from tests import tolerances
from tests.networks import CLASS_NAMES, PRIORS, mixture

WEIGHTS = mixture(16, 3, preprocessing=NAMED["digits"])


def labelled(n: int = 120, names=CLASS_NAMES) -> Dataset:
    rng = np.random.default_rng(0)
    rows, labels = rng.integers(0, 17, (n, 16), dtype=np.uint8), rng.integers(0, 3, n)
    return Dataset(
        "noise", rows, rows[:10], rows, NAMED["digits"], (4, 4), labels=Labels(names, labels, labels[:10], labels)
    )


def test_the_figures_are_those_counted_by_hand():
    data = labelled()
    found = diagnostics.classify(diagnostics.MixtureSource(WEIGHTS), data, seed=3)
    labels = data.classes().test
    x = dequantize(data.test, noise.uniform(3, range(120), 16, draw=1))
    log_probs = reference.class_log_prob(WEIGHTS, x)
    posterior = reference.posterior(log_probs, PRIORS)
    called = posterior.argmax(axis=1)
    assert found.accuracy == pytest.approx((called == labels).mean())
    assert found.confusion.tolist() == [
        [int(((labels == a) & (called == b)).sum()) for b in range(3)] for a in range(3)
    ]
    assert found.log_loss == pytest.approx(-np.log(posterior[np.arange(120), labels]).mean())
    assert found.bits_per_dim == pytest.approx(-reference.mixture_log_prob(log_probs, PRIORS).mean() / (16 * np.log(2)))
    for number, entry in enumerate(found.classes):
        own = labels == number
        assert (entry.name, entry.rows) == (CLASS_NAMES[number], own.sum())
        assert entry.recall == pytest.approx((called[own] == number).mean())
        if (called == number).any():
            assert entry.precision == pytest.approx((labels[called == number] == number).mean())
        assert entry.bits_per_dim == pytest.approx(-log_probs[own, number].mean() / (16 * np.log(2)))
    assert found.as_json()["confusion"] == found.confusion.tolist()


def test_a_folder_gives_what_its_model_gives(exported_classes):
    folder = diagnostics.ClassFolderSource(ExportedClasses(exported_classes.folder, provider="cpu"))
    ours, theirs = (
        diagnostics.classify(source, labelled(), seed=0) for source in (folder, diagnostics.MixtureSource(WEIGHTS))
    )
    x = dequantize(labelled().test, noise.uniform(0, range(120), 16, draw=1))
    allowed = tolerances.of_classes(WEIGHTS, x)
    of_bits = allowed["log_prob"].mean() / (16 * np.log(2))
    assert abs(ours.bits_per_dim - theirs.bits_per_dim) <= of_bits
    # -log of a posterior is log p of the mixture less that of the class.
    of_loss = (allowed["class_log_prob"].max(axis=1) + allowed["log_prob"]).mean()
    assert abs(ours.log_loss - theirs.log_loss) <= of_loss
    posterior = np.sort(reference.posterior(reference.class_log_prob(WEIGHTS, x), PRIORS), axis=1)
    doubtful = posterior[:, -1] - posterior[:, -2] <= 2 * allowed["posterior"]
    assert abs(ours.accuracy - theirs.accuracy) <= doubtful.mean()
    other = diagnostics.classify(folder, labelled(), seed=1)
    assert abs(other.bits_per_dim - theirs.bits_per_dim) > of_bits
    assert abs(other.log_loss - theirs.log_loss) > of_loss


def test_a_class_without_rows_has_no_recall():
    data = labelled()
    labels = data.classes()
    only = replace(data, labels=replace(labels, test=np.zeros_like(labels.test)))
    found = diagnostics.classify(diagnostics.MixtureSource(WEIGHTS), only, seed=0)
    assert (found.classes[1].rows, np.isnan(found.classes[1].recall), np.isnan(found.classes[1].bits_per_dim)) == (
        0,
        True,
        True,
    )


def test_other_data_are_refused():
    source = diagnostics.MixtureSource(WEIGHTS)
    with pytest.raises(DataError, match="Expected class labels"):
        diagnostics.classify(source, replace(labelled(), labels=None), seed=0)
    with pytest.raises(DataError, match="data of the model's classes, T-shirt/top, b, c, 8; noise has a, b, c"):
        diagnostics.classify(source, labelled(names=("a", "b", "c")), seed=0)
    data = labelled()
    narrow = replace(data, train=data.train[:, :9], test=data.test[:, :9])
    with pytest.raises(DataError, match="Expected rows of 16 dimensions"):
        diagnostics.classify(source, narrow, seed=0)
