"""`ExportedFlow` as a deployer uses it."""

import numpy as np
import pytest

from lunet_export import ExportedFlow, noise
from lunet_export.errors import BadInputError
from lunet_export.runtime import graph_runs
from lunet_export.runtime.scoring import score


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
    whole = flow.sample_and_log_prob(10, seed=1)
    monkeypatch.setattr(graph_runs, "LARGEST_BATCH", 4)
    for ours, theirs in zip(flow.sample_and_log_prob(10, seed=1), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_row_depends_on_its_seed_and_number_only(flow):
    np.testing.assert_allclose(flow.sample(3, seed=5), flow.sample(50, seed=5)[:3], rtol=1e-4, atol=1e-4)


def test_temperature_scales_the_noise(flow):
    z = flow.latent(4, seed=2, temperature=0.5)
    np.testing.assert_allclose(z, 0.5 * noise.normal(2, range(4), 16), rtol=1e-6)
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
        (bad_rows((1, 2), np.nan), "row 1, column 2 is nan"),
        (bad_rows((2, 0), np.inf), "row 2, column 0 is inf"),
        (bad_rows((0, 3), 1e300), "row 0, column 3 is 1e\\+300"),
        (bad_rows((0, 1), -0.5), r"Expected x in \[0, 17\): grey level plus noise; row 0, column 1 is -0.5"),
        (bad_rows((2, 4), 17.0), r"Expected x in \[0, 17\)"),
        (np.full((2, 16), "a"), "Expected numbers in x"),
    ],
)
def test_bad_rows_get_a_sentence(flow, x, sentence):
    with pytest.raises(BadInputError, match=sentence):
        flow.log_prob(x)


def test_bad_latents_get_a_sentence(flow):
    with pytest.raises(BadInputError, match="row 0, column 0 is nan"):
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
    uniform = [noise.uniform(3, range(6), 16, draw=draw).astype(np.float32) for draw in range(2)]
    rows = grey.reshape(6, 16)
    expected = np.mean([flow.log_prob(np.minimum(rows + u, np.nextafter(np.float32(17), 0))) for u in uniform], axis=0)
    np.testing.assert_allclose(score(flow, grey, draws=2, seed=3), expected, rtol=1e-5)
    floats = grey.reshape(6, 16) + 0.25
    np.testing.assert_array_equal(score(flow, floats), flow.log_prob(floats).astype(np.float64))


def test_unknown_provider_is_refused(exported):
    with pytest.raises(BadInputError, match="Expected a provider of auto, cpu, cuda; got 'tpu'"):
        ExportedFlow(exported.folder, provider="tpu")
