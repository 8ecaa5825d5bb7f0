"""Recalibration: the figure falls by exactly G, and nothing else changes."""

import numpy as np
import pytest

from lunet_export import noise
from lunet_export.checks import reference
from lunet_export.data import Dataset
from lunet_export.diagnostics import Moments, recalibrate, with_note
from lunet_export.errors import DataError
from lunet_export.layers import LU
from lunet_export.preprocessing import NAMED, dequantize
from tests.networks import network


def vectors(dim: int, n: int = 2500) -> Dataset:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((n, dim)) @ rng.standard_normal((dim, dim)) + 2
    return Dataset("vectors", x, x[:10], x[:10])


@pytest.mark.parametrize(("dim", "blocks"), [(1, 2), (2, 13), (5, 1), (16, 4)])
def test_the_figure_falls_by_g_and_the_latents_are_white(dim, blocks):
    weights, data = network(dim, blocks, off_diagonal=0.1), vectors(dim)
    seen = []
    folded, done = recalibrate(weights, data, seed=0, on_rows=seen.append)
    before, after = (-reference.log_prob(w, data.train).mean() for w in (weights, folded))
    assert before - after == pytest.approx(done.gain_nats, abs=1e-8)
    assert done.gain_nats > 0
    latents = Moments.of(reference.encode(folded, data.train)[0])
    np.testing.assert_allclose(latents.mean, 0, atol=1e-9)
    np.testing.assert_allclose(latents.covariance, np.eye(dim), atol=1e-9)
    assert (folded.dim, len(folded.of(LU)), folded.kind) == (dim, blocks, weights.kind)
    assert (np.diag(folded.of(LU)[-1].lower) == 1).all()
    assert seen == [1000, 1000, 500]
    assert done.rows == 2500


def test_images_are_dequantised_with_seeded_noise():
    grey = np.random.default_rng(2).integers(0, 17, (1300, 6), dtype=np.uint8)
    weights = network(6, 3, preprocessing=NAMED["digits"])
    data = Dataset("grey", grey, grey[:9], grey[:9], NAMED["digits"])
    folded, done = recalibrate(weights, data, seed=5)
    x = dequantize(grey, noise.uniform(5, range(1300), 6))
    fell = (reference.log_prob(folded, x) - reference.log_prob(weights, x)).mean()
    assert fell == pytest.approx(done.gain_nats, abs=1e-8)
    assert done.gain_bits_per_dim == pytest.approx(done.gain_nats / 6 / np.log(2))
    assert recalibrate(weights, data, seed=6)[1].gain_nats != done.gain_nats


def test_twice_gains_nothing_the_second_time():
    data = vectors(4)
    once, first = recalibrate(network(4, 3), data, seed=0)
    _, second = recalibrate(once, data, seed=0)
    assert (first.gain_nats > 0.1, abs(second.gain_nats) < 1e-12) == (True, True)
    record = with_note(with_note({"test": 1.5}, first), second)
    assert (record["test"], [entry["gain_nats"] for entry in record["recalibrated"]]) == (
        1.5,
        [first.gain_nats, second.gain_nats],
    )


def test_singular_covariances_are_refused():
    weights = network(4, 2)
    x = np.random.default_rng(3).standard_normal((50, 4))
    with pytest.raises(DataError, match=r"Expected more than 4 training rows.*has 4"):
        recalibrate(weights, Dataset("few", x[:4], x, x), seed=0)
    dead = np.column_stack([x[:, :3], x[:, 0]])
    with pytest.raises(DataError, match="vary in every direction"):
        recalibrate(network(4, 1), Dataset("dead", dead, dead, dead), seed=0)
    with pytest.raises(DataError, match="Expected rows of 4 dimensions, as the model has; wide has 5"):
        recalibrate(weights, Dataset("wide", *[np.ones((20, 5))] * 3), seed=0)
    with pytest.raises(DataError, match="a model with no pre-processing; grey has 17"):
        recalibrate(weights, Dataset("grey", *[np.ones((20, 4), int)] * 3, NAMED["digits"]), seed=0)
