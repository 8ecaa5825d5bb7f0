"""The comparison of what a context moves: variants begin alike, and what one lacks stays at 0."""

import numpy as np
import pytest
import torch

from benchmarks import conditional
from lunet_export.checks import reference
from lunet_export.data import Contexts, Dataset
from lunet_export.layers import ConditionalAffine
from lunet_export.training.lunet.architecture import LUNetArchitecture

ARCHITECTURE = LUNetArchitecture(2)
SETTINGS = LUNetArchitecture.settings(100, 2, contexts=2, init="bend", epochs=1, batch_size=25)
VARIANTS = {variant.name: variant for variant in conditional.VARIANTS}


def _rows() -> Dataset:
    rng = np.random.default_rng(0)
    splits = []
    for count in (100, 20, 20):
        c = rng.uniform(-1, 1, (count, 2))
        splits.append((np.exp(c[:, :1]) * rng.standard_normal((count, 2)) + c, c))
    (train, a), (valid, b), (test, c) = splits
    return Dataset("small", train, valid, test, contexts=Contexts(None, a, b, c))


ROWS = _rows()


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_with_shifts_begin_with_one_distribution_and_the_other_without_the_context(name):
    first = conditional.first_of(VARIANTS[name], ROWS, ARCHITECTURE, SETTINGS)
    found = reference.log_prob(first, ROWS.test, ROWS.contexts.test)
    other = conditional.first_of(VARIANTS["shift, linear"], ROWS, ARCHITECTURE, SETTINGS)
    same = np.abs(found - reference.log_prob(other, ROWS.test, ROWS.contexts.test)).max() < 1e-10
    assert same == VARIANTS[name].shifts
    assert VARIANTS[name].shifts or np.array_equal(found, reference.log_prob(first, ROWS.test, ROWS.contexts.valid))


@pytest.mark.parametrize("name", ["scale, hidden units", "shift and scale, hidden units"])
def test_held_shifts_stay_at_0_and_others_do_not(name):
    variant = VARIANTS[name]
    kind = conditional.LUNetTrainer if variant.shifts else conditional._Held
    first = conditional.first_of(variant, ROWS, ARCHITECTURE, SETTINGS)
    trainer = kind(first, ROWS, SETTINGS, device=torch.device("cpu"))
    trainer.run_epoch(lambda step, bits: None)
    for layer in trainer.optimizer.model().to_chain().of(ConditionalAffine):
        shift, scale = np.split(layer.network[0].weight, 2)
        assert shift.any() == variant.shifts
        assert scale.any()


def test_the_entropies_are_those_of_the_rows():
    """By the covariance of what is drawn, whose log det is 0; two moons are stretched by e^(c_2 / 2)."""
    rows, entropy = conditional.linear()
    assert entropy == pytest.approx(3 * np.log(2 * np.pi * np.e), abs=0.05)
    slope = np.linalg.lstsq(rows.contexts.train, rows.train, rcond=None)[0]
    left = rows.train - rows.contexts.train @ slope
    assert np.linalg.slogdet(np.cov(left.T))[1] == pytest.approx(0, abs=0.1)
    rows, entropy = conditional.moons()
    plain = conditional.toy.log_density("two-moons", conditional.data.load("two-moons").test)
    assert entropy == pytest.approx(-plain.mean() + rows.contexts.test[:, 1].mean())
