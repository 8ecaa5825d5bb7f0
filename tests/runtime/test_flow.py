"""`ExportedFlow` as a deployer uses it."""

import numpy as np
import pytest

from lunet_export import ExportedFlow, noise
from lunet_export.errors import BadInputError
from lunet_export.preprocessing import NAMED, dequantize
from lunet_export.runtime import graph_runs
from lunet_export.runtime.scoring import score
from tests import tolerances
from tests.networks import network

WEIGHTS = network(16, 3, preprocessing=NAMED["digits"])  # of the folder


@pytest.fixture(scope="module")
def flow(exported):
    return ExportedFlow(exported.folder, provider="cpu")


def test_shapes_dtypes_and_agreement_of_the_methods(flow):
    x, log_prob = flow.sample_and_log_prob(5, seed=0)
    assert (x.shape, x.dtype, log_prob.shape, log_prob.dtype) == ((5, 16), np.float32, (5,), np.float32)
    np.testing.assert_array_equal(x, flow.sample(5, seed=0))
    np.testing.assert_array_equal(log_prob, flow.log_prob(x))
    np.testing.assert_array_equal(flow.encode(x), flow.density(x)[0])
    assert x.min() >= 0
    assert x.max() < 17


def test_batch_of_none_gives_empty_arrays(flow):
    assert flow.log_prob(np.empty((0, 16))).shape == (0,)
    assert flow.encode(np.empty((0, 16))).shape == (0, 16)
    assert flow.decode(np.empty((0, 16))).shape == (0, 16)
    assert flow.sample(0, seed=0).shape == (0, 16)


def test_large_batches_run_in_chunks(flow, monkeypatch):
    whole, allowed = flow.sample_and_log_prob(10, seed=1), tolerances.of_sampling(WEIGHTS, flow.latent(10, seed=1))
    monkeypatch.setattr(graph_runs, "LARGEST_BATCH", 4)
    for name, ours, theirs in zip(("x", "log_prob"), flow.sample_and_log_prob(10, seed=1), whole, strict=True):
        tolerances.assert_within(ours, theirs, tolerances.TWO * allowed[name], name)
        assert tolerances.beyond(np.roll(ours, 4, axis=0), theirs, tolerances.TWO * allowed[name]) > 1


def test_a_row_depends_on_its_seed_and_number_only(flow):
    few, many = flow.sample(3, seed=5), flow.sample(50, seed=5)
    allowed = tolerances.TWO * tolerances.of_sampling(WEIGHTS, flow.latent(3, seed=5))["x"]
    tolerances.assert_within(few, many[:3], allowed)
    assert tolerances.beyond(few, many[1:4], allowed) > 1


def test_temperature_scales_the_noise(flow):
    z = flow.latent(4, seed=2, temperature=0.5)
    exact = 0.5 * noise.normal(2, range(4), 16)
    tolerances.assert_within(z, exact, tolerances.of_roundings(1, exact))
    np.testing.assert_array_equal(flow.sample(4, seed=2, temperature=0.5), flow.decode(z))


def test_float64_just_below_the_border_is_inside(flow):
    x = np.full((1, 16), np.nextafter(17.0, 0.0))
    assert np.isfinite(flow.log_prob(x)).all()


def bad_rows(index, value):
    x = np.full((3, 16), 5.0)
    x[index] = value
    return x


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (np.zeros((3, 15)), r"Expected x of shape \(N, 16\); got \(3, 15\)"),
        (np.zeros(16), r"Add a batch axis: x\[None\]"),
        (bad_rows((1, 2), np.nan), r"row 1 \(from 0\), column 3 is nan"),
        (bad_rows((2, 0), np.inf), r"row 2 \(from 0\), column 1 is inf"),
        (bad_rows((0, 3), 1e300), r"row 0 \(from 0\), column 4 is 1e\+300"),
        (bad_rows((0, 1), -0.5), r"Expected x in \[0, 17\): grey level plus noise; row 0 \(from 0\), column 2 is -0.5"),
        (bad_rows((2, 4), 17.0), r"Expected x in \[0, 17\)"),
        (np.full((2, 16), "a"), "Expected numbers in x"),
    ],
)
def test_bad_rows_get_a_sentence(flow, x, sentence):
    with pytest.raises(BadInputError, match=sentence):
        flow.log_prob(x)


def test_bad_latents_get_a_sentence(flow):
    with pytest.raises(BadInputError, match=r"row 0 \(from 0\), column 1 is nan"):
        flow.decode(np.full((1, 16), np.nan))
    with pytest.raises(BadInputError, match="temperature"):
        flow.sample(1, seed=0, temperature=-1.0)
    with pytest.raises(BadInputError, match="number of samples"):
        flow.sample(-1, seed=0)
    with pytest.raises(BadInputError, match="Expected a seed"):
        flow.sample(1, seed=-1)


def test_scoring_averages_over_seeded_noise(flow):
    grey = np.random.default_rng(0).integers(0, 17, (6, 4, 4), dtype=np.uint8)
    single = [score(flow, grey, draws=1, seed=3)]
    np.testing.assert_array_equal(single[0], score(flow, grey, draws=1, seed=3))
    assert not np.array_equal(single[0], score(flow, grey, draws=1, seed=4))
    noisy = [dequantize(grey.reshape(6, 16), noise.uniform(3, range(6), 16, draw=draw)) for draw in range(2)]
    each = [flow.log_prob(x).astype(np.float64) for x in noisy]
    allowed = tolerances.TWO * np.mean([tolerances.of_density(WEIGHTS, x)["log_prob"] for x in noisy], axis=0)
    tolerances.assert_within(score(flow, grey, draws=2, seed=3), np.mean(each, axis=0), allowed)
    assert tolerances.beyond(single[0], np.mean(each, axis=0), allowed) > 1  # one draw is not their mean
    floats = grey.reshape(6, 16) + 0.25
    np.testing.assert_array_equal(score(flow, floats), flow.log_prob(floats).astype(np.float64))


def test_unknown_provider_is_refused(exported):
    with pytest.raises(BadInputError, match="Expected a provider of auto, cpu, cuda; got 'tpu'"):
        ExportedFlow(exported.folder, provider="tpu")
