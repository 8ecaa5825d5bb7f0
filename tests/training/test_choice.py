"""Which model a run keeps: the Gaussian, the start or the best epoch; and the rows that judge them."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch
from scipy import stats

from lunet_export import checkpoint
from lunet_export.checks import reference
from lunet_export.data import Dataset
from lunet_export.data.dataset import split
from lunet_export.preprocessing import Logit
from lunet_export.training import KINDS, train
from lunet_export.training.choice import Comparison, Evidence
from lunet_export.training.gaussian import Gaussian
from tests.networks import network

CPU = torch.device("cpu")
CHOICES = {
    "lunet": {"blocks": 3},
    "lunet-spline": {"blocks": 3},
    "realnvp": {"width": 4},
    "jko": {"width": 4, "largest_step": 1.0, "stop": 0.9},
}
#: The kinds of chains that are trained under another name.
STORED = {"lunet-spline": "composed"}


def drawn(kind: str, n: int, dim: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng([n, dim, seed])
    if kind == "normal":
        return rng.standard_normal((n, dim)) @ np.linalg.cholesky(0.5 * np.eye(dim) + 0.5) + 3.0
    return rng.gamma(2.0, size=(n, dim))


def small(kind: str, n: int, dim: int, seed: int = 0) -> Dataset:
    """As a file of n rows is split, but for the test rows, which are many."""
    learnt, valid, _ = split(drawn(kind, n, dim, seed), valid=max(1, n // 10), test=max(1, n // 10))
    return Dataset(f"{kind} {n} x {dim}", learnt, valid, drawn(kind, 4000, dim, seed + 1), public=False)


def run(path, data, family="lunet", **given):
    settings = KINDS[family].settings(len(data.train), data.dim, **given)
    silent = dict.fromkeys(("on_start", "on_step", "on_epoch"), lambda *_: None)
    architecture = KINDS[family].choose(data.dim, None, CHOICES[family])
    return train(data, settings, path, architecture=architecture, device=CPU, resume=False, **silent)


def test_evidence_is_the_paired_test_of_student():
    rng = np.random.default_rng(0)
    model, simpler = rng.standard_normal((2, 12)) + 3.0
    found = Evidence.of(model, simpler)
    exact = stats.ttest_rel(model, simpler, alternative="greater")
    assert found.gain / found.error == pytest.approx(exact.statistic, rel=1e-12)
    shifted = Evidence.of(model - found.gain + found.least, simpler)  # at the border of what these rows can tell
    assert stats.ttest_rel(model - found.gain + found.least, simpler, alternative="greater").pvalue == pytest.approx(
        0.05
    )
    assert replace(shifted, gain=shifted.gain * 1.001).convinces
    assert not replace(shifted, gain=shifted.gain * 0.999).convinces


def test_chance_convinces_as_often_as_it_says():
    """1,000 times two models between which nothing but noise differs, in 4 standard errors of a share of 5 %."""
    rng = np.random.default_rng(0)
    share = np.mean([Evidence.of(rng.standard_normal(8), np.zeros(8)).convinces for _ in range(1000)])
    assert abs(share - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 1000)


@pytest.mark.parametrize("rows", [[3.0], [3.0, -np.inf], [np.nan, 1.0]])
def test_rows_that_tell_nothing_convince_nobody(rows):
    assert not Evidence.of(np.array(rows), np.zeros(len(rows))).convinces


def test_reflections_lie_as_far_out_as_rows_lie_apart():
    x = np.array([[0.0, 0.0], [1.0, 0.0], [10.0, 0.0], [11.5, 0.5], [3.0, 9.0]])
    comparison = Comparison(Gaussian.fit(x, None), x, np.array([[5.0, 5.0]]))
    np.testing.assert_array_equal(comparison.rows[0], [5.0, 5.0])
    np.testing.assert_allclose(comparison.rows[1:5], [[-1.0, 0.0], [2.0, 0.0], [8.5, -0.5], [13.0, 1.0]])


def test_only_vectors_in_few_dimensions_are_reflected():
    wide = np.random.default_rng(0).standard_normal((50, 5))
    assert len(Comparison(Gaussian.fit(wide, None), wide, wide[:7]).rows) == 7
    grey = np.random.default_rng(0).random((50, 2)) * 8
    assert len(Comparison(Gaussian.fit(grey, Logit(8, 0.1)), grey, grey[:7]).rows) == 7


def test_a_density_that_falls_to_nothing_beside_the_rows_is_seen():
    """Planted: the training rows and the validation rows lie in a box; the next ones of such tails would not."""
    x = np.random.default_rng(0).standard_normal((60, 1))
    learnt, valid = x[6:], x[:6]
    comparison = Comparison(Gaussian.fit(learnt, None), learnt, valid)
    box = np.where((comparison.rows >= x.min()).all(1) & (comparison.rows <= x.max()).all(1), 0.0, -1e4)
    gaussian = Gaussian.fit(learnt, None).log_prob(comparison.rows)
    assert comparison.evidence(box, gaussian).convinces  # the validation rows alone
    assert not comparison.prefers(box, gaussian)
    assert comparison.prefers(np.where(box < 0, -7.0, box), gaussian)  # the same with a tail


def test_what_is_expected_of_chance_is_taken_off_reflections_alone():
    x = np.random.default_rng(0).standard_normal((200, 2))
    comparison = Comparison(Gaussian.fit(x, None), x, x[:40])
    simpler = np.zeros(len(comparison.rows))
    better = simpler + np.random.default_rng(1).normal(0.1, 0.1, len(simpler))
    assert comparison.prefers(better, simpler, optimism=0.05)
    assert not comparison.prefers(better, simpler, optimism=0.15)
    worse = better.copy()
    worse[:40] -= 0.2  # the validation rows say the contrary
    assert not comparison.prefers(worse, simpler)


@pytest.mark.parametrize("family", sorted(CHOICES))
@pytest.mark.parametrize("dim", [2, 3, 8])
@pytest.mark.parametrize("preprocessing", [None, Logit(16, 0.05)], ids=["vectors", "grey levels"])
def test_the_gaussian_of_every_kind_of_flow_is_the_gaussian(family, dim, preprocessing):
    rng = np.random.default_rng(dim)
    x = rng.random((200, dim)) * 15 if preprocessing else rng.standard_normal((200, dim)) @ rng.random((dim, dim)) + 1e3
    gaussian = Gaussian.fit(x, preprocessing)
    weights = KINDS[family].choose(dim, None, CHOICES[family]).gaussian(gaussian)
    assert (weights.kind.name, weights.dim, weights.preprocessing) == (STORED.get(family, family), dim, preprocessing)
    np.testing.assert_allclose(reference.log_prob(weights, x), gaussian.log_prob(x), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(reference.decode(weights, reference.encode(weights, x)[0]), x, rtol=1e-10)


def test_kinds_that_are_trained_are_all_here():
    assert {*CHOICES} == {*KINDS}


@pytest.mark.parametrize("family", sorted(CHOICES))
def test_few_rows_of_a_gaussian_end_as_the_gaussian(tmp_path, family):
    data = small("normal", 60, 3)
    result = run(tmp_path / "m.pt", data, family, epochs=2)
    assert (result.kept, result.below_gaussian) == ("gaussian", False)
    assert result.test == pytest.approx(result.gaussian_test, rel=1e-12)
    read = checkpoint.read(tmp_path / "m.pt")
    assert (read.weights.kind.name, read.training["kept"]) == (STORED.get(family, family), "gaussian")


@pytest.mark.parametrize(("rows", "dim"), [(20, 2), (60, 2), (30, 8), (40, 30)])
def test_defaults_ruin_no_small_set(tmp_path, rows, dim):
    """Rows of a Gaussian, which is the best model there is: no other is kept that is worse beyond chance."""
    for seed in range(2):
        result = run(tmp_path / f"{seed}.pt", small("normal", rows, dim, seed))
        assert not result.below_gaussian, (seed, result.test, result.gaussian_test)


def test_a_better_network_is_kept_and_told_by_how_much(tmp_path):
    result = run(tmp_path / "m.pt", small("skewed", 500, 2, seed=2), epochs=3)
    assert result.kept in ("start", "epoch")
    assert result.test < result.gaussian_test - 0.1
    assert result.over_gaussian.convinces
    assert result.over_gaussian.rows == 50


def test_the_start_is_a_candidate(tmp_path):
    """Training from a good model at a rate that ruins it: the good one stays."""
    good = network(2, 2)
    rng = np.random.default_rng(0)
    x = reference.decode(good, rng.standard_normal((500, 2)))
    data = Dataset("of a network", x[:300], x[300:400], x[400:], public=False)
    settings = KINDS["lunet"].settings(300, 2, epochs=2, optimizer="adam", learning_rate=0.5)
    architecture = KINDS["lunet"].of(good)
    silent = dict.fromkeys(("on_start", "on_step", "on_epoch"), lambda *_: None)
    common = {"architecture": architecture, "device": CPU, "resume": False, "begin": good, **silent}
    result = train(data, settings, tmp_path / "m.pt", **common)
    assert (result.kept, result.best_epoch) == ("start", 0)
    rounded = np.float32(reference.log_prob(good, x[400:])).mean()
    assert result.test_nats == pytest.approx(-float(rounded), rel=1e-4)


def test_no_fallback_keeps_the_best_epoch(tmp_path):
    result = run(tmp_path / "m.pt", small("normal", 60, 5), fallback=False, epochs=3)
    assert result.kept == ("epoch" if result.best_epoch else "start")
    assert result.network["blocks"] == 3


def test_quantiles_are_those_of_student():
    few, many = Evidence(1.0, 1.0, 2), Evidence(1.0, 1.0, 10**6)
    assert few.least == pytest.approx(np.tan(np.pi * 0.45))  # Cauchy's
    assert many.least == pytest.approx(NormalDist().inv_cdf(0.95), rel=1e-5)
