"""Telling data apart by log p: the statistic by brute force, and models that can, cannot, and are misled."""

from dataclasses import replace

import numpy as np
import pytest

from lunet_export import diagnostics
from lunet_export.data import Dataset
from lunet_export.diagnostics import WeightsSource, auroc, diagnose
from lunet_export.errors import DataError
from lunet_export.preprocessing import NAMED
from tests.diagnostics.test_classify import WEIGHTS, labelled
from tests.diagnostics.test_diagnose import VECTORS, one_layer

MODEL = WeightsSource(one_layer(VECTORS.train))


def test_auroc_counts_pairs_and_ties():
    rng = np.random.default_rng(0)
    inside, outside = rng.integers(0, 6, 40).astype(float), rng.integers(1, 9, 30).astype(float)
    pairs = inside[:, None] - outside[None, :]
    assert auroc(inside, outside) == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2, rel=1e-12)
    assert auroc(outside, inside) == pytest.approx(1 - auroc(inside, outside), rel=1e-12)
    assert auroc(np.ones(3), np.ones(4)) == 0.5


def against(factor: float) -> diagnostics.Detection:
    """The rows of the data, spread about their mean by `factor`."""
    mean = VECTORS.test.mean(0)
    other = replace(VECTORS, name="other", test=mean + factor * (VECTORS.test - mean))
    found = diagnose(MODEL, VECTORS, seed=0, against=other).detection
    assert (found.dataset, found.against, found.rows_against) == ("vectors", "other", 4000)
    return found


def test_the_same_rows_cannot_be_told():
    found = against(1.0)
    assert (found.auroc, found.typicality) == (pytest.approx(0.5, abs=1e-5), pytest.approx(0.5, abs=1e-5))
    assert found.nats == pytest.approx(found.nats_against)


def test_far_rows_are_told_and_central_ones_mislead_the_likelihood():
    far, central = against(5.0), against(0.1)
    assert min(far.auroc, far.typicality) > 0.85
    assert central.auroc < 0.05
    assert central.nats_against > central.nats
    assert central.typicality > 3 * central.auroc  # rows that are too likely are not typical


def test_nothing_is_told_unasked():
    assert diagnose(MODEL, VECTORS, seed=0).detection is None


def test_a_mixture_tells_by_its_own_density():
    data = labelled()
    dark = Dataset("dark", *(np.zeros((50, 16), np.uint8),) * 3, NAMED["digits"], (4, 4))
    source = diagnostics.MixtureSource(WEIGHTS)
    found = diagnostics.classify(source, data, seed=3, against=dark)
    again = diagnostics.classify(source, data, seed=3, against=replace(data, name="again", labels=None))
    assert found.detection.auroc in (pytest.approx(0.0, abs=0.2), pytest.approx(1.0, abs=0.2))
    assert again.detection.auroc == pytest.approx(0.5)
    assert found.as_json()["detection"]["against"] == "dark"
    assert found.detection.nats == pytest.approx(-found.bits_per_dim * 16 * np.log(2))


def test_other_widths_are_refused():
    narrow = Dataset("narrow", *(np.zeros((30, 2)),) * 3)
    with pytest.raises(DataError, match="Expected rows of 3 dimensions, as the model has; narrow has 2"):
        diagnose(MODEL, VECTORS, seed=0, against=narrow)
