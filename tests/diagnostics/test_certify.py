"""`certify`: a model and its folder say the same, and what breaks a bound is told."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lunet_export import ExportedFlow, parity
from lunet_export.certificate import Bounds
from lunet_export.data import Dataset
from lunet_export.diagnostics import certify_folder, certify_model
from lunet_export.diagnostics.observed import Seen, observe
from lunet_export.errors import DataError
from lunet_export.preprocessing import NAMED
from tests.networks import network

GREY = np.random.default_rng(4).integers(0, 17, (200, 16), dtype=np.uint8)
IMAGES = Dataset("grey", GREY, GREY[:9], GREY[:50], NAMED["digits"])
WEIGHTS = network(16, 3, preprocessing=NAMED["digits"])


@pytest.mark.parametrize("dataset", [IMAGES, None], ids=["data", "samples"])
def test_a_folder_repeats_its_model(exported, dataset):
    seen: list[int] = []
    model = certify_model(WEIGHTS, dataset, rows=30, seed=0, on_rows=seen.append)
    folder = certify_folder(ExportedFlow(exported.folder, provider="cpu"), dataset, rows=30, seed=0)
    assert (model.network, model.data) == (folder.network, folder.data)
    assert (model.violations, folder.violations, sum(seen)) == ((), (), 30)
    assert (model.rows, folder.rows, folder.local.rows) == (30, 30, 8)
    assert folder.observed_data.largest_ratio <= model.observed_data.largest_ratio * 1.001
    assert folder.observed_data.pairs == (30 * 29 / 2 if dataset else 395)  # clamped samples may be equal
    assert (folder.local.measured.largest > 0, folder.local.share < 1, model.local.measured) == (True, True, None)
    assert set(model.not_available) == {"measured round trip"}
    assert set(folder.not_available) == {"stretch, squeeze and prediction of these rows"}
    json.dumps(folder.as_json(), allow_nan=False)
    for spread in (model.local.stretch, model.local.squeeze, model.local.round_trip):
        assert 0 < spread.smallest <= spread.median <= spread.largest


def test_local_figures_lie_around_what_close_pairs_show():
    found = certify_model(WEIGHTS, IMAGES, rows=50, seed=0)
    assert found.observed_data.largest_ratio <= found.local.stretch.largest * 1.01
    assert found.observed_data.largest_ratio >= found.local.squeeze.smallest


def test_rows_of_another_kind_are_refused():
    vectors = Dataset("vectors", np.zeros((20, 3)), np.zeros((5, 3)), np.zeros((5, 3)))
    with pytest.raises(DataError, match="Expected rows of 16 dimensions, as the model has; vectors has 3"):
        certify_model(WEIGHTS, vectors, rows=5, seed=0)


def test_an_older_folder_says_that_it_has_none(folder, rewrite):
    rewrite(folder, lambda document: document.pop("certificate"))
    flow = ExportedFlow(folder, provider="cpu")
    assert flow.artifact.round_trip is None
    assert parity.all_passed(parity.run(flow, flow.vectors, predicted=flow.artifact.round_trip))
    found = certify_folder(flow, IMAGES, rows=10, seed=0)
    assert (found.network, found.local, found.violations) == (None, None, ())
    assert found.not_available["certificate"].endswith("export again")
    assert found.round_trip.largest > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lip_forward": 1e-3}, "stretched by more than 0.001"),
        ({"lip_inverse": 1e-3}, "squeezed by more than 0.001"),
        ({"log_det_max": -400.0}, "log-determinants lie outside"),
    ],
)
def test_a_folder_that_does_other_than_its_certificate_says(folder, rewrite, change, words):
    rewrite(folder, lambda document: document["certificate"]["data"].update(log_det_min=-500.0, **change))
    found = certify_folder(ExportedFlow(folder, provider="cpu"), IMAGES, rows=20, seed=0)
    assert [words in sentence for sentence in found.violations] == [True]
    assert found.violations[0].startswith("data: ")


def test_equal_rows_and_rounding_break_nothing():
    exact = Bounds(2.0, 0.5, 0.0, 0.0)
    x = np.array([[0.0], [1.0], [1.0], [3.0]])
    good = Seen(x, 2 * x, np.zeros(4))
    assert observe(good, exact, "f") == observe(good, None, "f")
    assert observe(good, exact, "f").pairs == 5
    rounded = replace(good, end=2 * x + np.array([[0.0], [1e-6], [-1e-6], [0.0]]))
    assert len(observe(rounded, exact, "f").violations) == 2
    assert observe(replace(rounded, lost=3e-6), exact, "f").violations == ()
    off = replace(good, log_det=np.full(4, 1e-3))
    assert len(observe(off, exact, "f").violations) == 1
    assert observe(replace(off, lost_log_det=2e-3), exact, "f").violations == ()
