"""No NaN and no infinity leaves a flow for a finite row: a row that overflows is refused, by its number."""

import pickle

import numpy as np
import pytest

from lunet_export import ExportedFlow, parity
from lunet_export.errors import BadInputError, OverflowingRowsError
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.runtime import ExportedClasses
from lunet_export.runtime.rows import LARGEST_BATCH
from lunet_export.streaming import SampleJob, ScoreJob
from tests import tolerances
from tests.networks import network

FAR = {"float32": 1e30, "float64": 1e300}


def run_of(dtype: str, **settings) -> ExportedFlow:
    artifact = build_artifact(network(3, 3), Provenance("far"), ExportSettings(dtype=dtype, **settings))
    return ExportedFlow(artifact, provider="cpu")


@pytest.mark.parametrize("dtype", FAR)
@pytest.mark.parametrize("method", ["log_prob", "encode", "decode_with_log_prob"])
def test_a_row_that_overflows_is_refused_by_its_number(method, dtype):
    flow = run_of(dtype, with_log_prob=True)
    rows = np.zeros((5, 3))
    rows[[1, 3], 2] = FAR[dtype]
    with pytest.raises(
        OverflowingRowsError, match=rf"answers {dtype} can hold; row 1, and 1 more, overflows"
    ) as caught:
        getattr(flow, method)(rows)
    assert caught.value.rows.tolist() == [False, True, False, True, False]
    assert ("float64" in str(caught.value).split("overflows")[1]) == (dtype == "float32")


def test_the_largest_latents_are_refused_too():
    flow = run_of("float32")
    with pytest.raises(OverflowingRowsError, match="row 0 overflows: it is too far out"):
        flow.decode(np.full((1, 3), np.finfo(np.float32).max))


def test_rows_are_counted_through_all_batches():
    rows = np.zeros((2 * LARGEST_BATCH + 3, 3))
    rows[LARGEST_BATCH + 7, 0] = 1e30
    with pytest.raises(OverflowingRowsError, match=f"row {LARGEST_BATCH + 7} overflows"):
        run_of("float32").log_prob(rows)


def test_a_class_far_away_is_no_reason_to_refuse_but_all_are(exported_classes):
    flow = ExportedClasses(exported_classes.folder, provider="cpu")
    with pytest.raises(OverflowingRowsError):
        flow.decode(np.full((1, 16), 3e38), 0)


def test_a_check_fails_on_what_is_no_number_and_does_not_stop(exported):
    """The runtime refuses such answers; whoever checks a graph sees them."""
    flow = ExportedFlow(exported.folder, provider="cpu")
    flow._run = lambda graph, outputs, fed: [
        np.full(len(rows) if name == "log_prob" else rows.shape, np.nan, np.float32)
        for rows in fed.values()
        for name in outputs
    ]
    failed = {check.name for check in parity.run(flow, flow.vectors) if not check.passed}
    assert {"golden: density, z", "golden: density, log_prob", "golden: sampling, x"} <= failed


def test_the_error_goes_from_worker_to_worker():
    with pytest.raises(OverflowingRowsError) as caught:
        run_of("float32").log_prob(np.full((2, 3), 1e30))
    again = pickle.loads(pickle.dumps(caught.value.counted_from(40)))
    assert str(again).startswith("Expected rows whose answers float32 can hold; row 40, and 1 more, overflows")


@pytest.fixture
def plane(tmp_path):
    from lunet_export.export import export

    export(network(3, 3), tmp_path / "plane", Provenance("plane"))
    return tmp_path / "plane"


def test_streams_stop_at_such_a_row_or_give_it_nan(plane, tmp_path):
    rows = np.random.default_rng(0).standard_normal((9, 3))
    rows[[0, 4], 1], rows[6, 2] = 1e30, np.nan
    np.save(tmp_path / "rows.npy", rows)
    job = {"folders": (str(plane),), "source": str(tmp_path / "rows.npy")}
    table = ScoreJob(**job, invalid="nan").work()(0, 9)
    assert np.flatnonzero(np.isnan(table["log_prob"])).tolist() == [0, 4, 6]
    good = ~np.isnan(table["log_prob"])
    allowed = tolerances.TWO * tolerances.of_density(network(3, 3), rows[good])["log_prob"]
    tolerances.assert_within(table["log_prob"][good], ExportedFlow(plane).log_prob(rows[good]), allowed)
    np.save(tmp_path / "rows.npy", rows[:6])
    with pytest.raises(BadInputError, match="row 4 overflows"):
        ScoreJob(**job).work()(3, 3)
    assert np.isnan(ScoreJob(**job, invalid="nan").work()(4, 1)["log_prob"]).all()


def test_streamed_samples_that_overflow_are_counted_from_the_first(plane):
    with pytest.raises(OverflowingRowsError, match="row 5000"):
        SampleJob(str(plane), 9000, temperature=4e37, with_log_prob=True).work()(5000, 10)


@pytest.mark.parametrize(("dtype", "temperature"), [("float32", 1e38), ("float64", 1e308)])
def test_a_temperature_that_would_overflow_z_is_refused(dtype, temperature):
    with pytest.raises(BadInputError, match=f"Expected a temperature that keeps z in {dtype}"):
        run_of(dtype).latent(2, seed=0, temperature=temperature)
