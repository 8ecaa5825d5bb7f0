"""Alphas that are learned, per unit or per activation."""

import numpy as np
import pytest

from lunet_export import checkpoint
from lunet_export.checks import reference
from lunet_export.errors import BadInputError
from lunet_export.layers import Activation
from lunet_export.training.choice import Comparison
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.lunet.architecture import LUNetArchitecture
from tests import tolerances
from tests.training.test_training import IMAGES, VECTORS, Interrupted
from tests.training.test_training import run as train

CHOICES = [
    ("learned", "leaky-squareplus"),
    ("learned", "leaky-relu"),
    ("layer", "leaky-softplus"),
    ("layer", "leaky-tanh"),
]
PER = {"learned": "unit", "layer": "layer"}
every_choice = pytest.mark.parametrize(("alpha", "activation"), CHOICES)


def run(path, alpha, activation, **more):
    choices = {"blocks": 3, "alpha": alpha, "activation": activation}
    return train(path, architecture=LUNetArchitecture.choose(3, None, choices), **more)


def alphas_of(path):
    return [activation.alpha for activation in checkpoint.read(path).weights.of(Activation)]


@every_choice
@pytest.mark.parametrize("data", [VECTORS, IMAGES], ids=["vectors", "images"])
def test_they_move_and_are_kept(alpha, activation, data, tmp_path):
    result = run(tmp_path / "m.pt", alpha, activation, data=data)
    read = checkpoint.read(tmp_path / "m.pt")
    assert (read.weights.kind.alpha, read.training["network"]["alpha"]["per"]) == (None, PER[alpha])
    assert result.valid == read.training["valid"]
    found = alphas_of(tmp_path / "m.pt")
    assert [np.ndim(each) for each in found] == [int(alpha == "learned")] * 2
    assert all((np.abs(np.asarray(each) - 0.1) > 1e-4).all() for each in found)
    assert all(((np.asarray(each) > 0.01) & (np.asarray(each) < 0.99)).all() for each in found)


@every_choice
def test_a_stopped_run_goes_on_bit_by_bit(alpha, activation, tmp_path):
    run(tmp_path / "whole.pt", alpha, activation)
    with pytest.raises(Interrupted):
        run(tmp_path / "parts.pt", alpha, activation, stop_in_epoch=4)
    run(tmp_path / "parts.pt", alpha, activation, resume=True)
    whole, parts = (checkpoint.read(tmp_path / name).weights for name in ("whole.pt", "parts.pt"))
    assert whole.digest() == parts.digest()


def test_the_start_has_the_papers_alpha_and_its_likelihood():
    gaussian = Gaussian.fit(VECTORS.train, None)
    starts = []
    for alpha in (0.1, "learned"):
        choices = {"blocks": 3, "alpha": alpha, "activation": "leaky-squareplus"}
        architecture = LUNetArchitecture.choose(3, None, choices)
        settings = LUNetArchitecture.settings(600, 3, init="bend", optimizer="adam")
        comparison = Comparison(gaussian, VECTORS.train, VECTORS.valid)
        starts.append(architecture.first(gaussian, settings, VECTORS.train, comparison, lambda done, of: None))
    fixed, learned = starts
    assert (fixed.kind.alpha, learned.kind.alpha) == (0.1, None)
    allowed = tolerances.TWO * tolerances.of_density(fixed, VECTORS.valid, "float64")["log_prob"]
    found, expected = (reference.log_prob(network, VECTORS.valid) for network in (learned, fixed))
    tolerances.assert_within(found, expected, allowed)


@every_choice
def test_a_run_that_starts_from_it_learns_them_on(alpha, activation, tmp_path):
    run(tmp_path / "first.pt", alpha, activation)
    begin = checkpoint.read(tmp_path / "first.pt").weights
    assert LUNetArchitecture.of(begin) == LUNetArchitecture(3, alpha, activation)
    run(tmp_path / "second.pt", alpha, activation, begin=begin)
    pairs = zip(alphas_of(tmp_path / "first.pt"), alphas_of(tmp_path / "second.pt"), strict=True)
    assert any((np.asarray(one) != np.asarray(other)).any() for one, other in pairs)


def test_what_cannot_be_learned_is_refused():
    with pytest.raises(BadInputError, match="an alpha per unit for `alpha='learned'`; got leaky-tanh"):
        LUNetArchitecture.choose(3, None, {"alpha": "learned", "activation": "leaky-tanh"})
    with pytest.raises(BadInputError, match=r"Expected an alpha in \(0, 1\), 'learned' or 'layer'; got some"):
        LUNetArchitecture.choose(3, None, {"alpha": "some"})
