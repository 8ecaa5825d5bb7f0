"""Latent boxes: their mass in closed form, by Monte Carlo, and under a model."""

from dataclasses import replace
from decimal import Decimal

import mpmath
import numpy as np
import pytest

from lunet_export.checks import reference
from lunet_export.errors import BadInputError
from lunet_export.verification import LatentBox, Share
from lunet_export.verification.box import monte_carlo
from tests.verification.cases import piecewise_linear

MASSES = (1e-3, 0.5, 0.9, 0.99, 1 - 1e-6)
DIMS = (1, 2, 4, 16, 64, 784)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("mass", MASSES)
def test_the_written_bound_has_the_mass_rounded_outwards(mass, dim):
    """Judged with 50 digits: never less than q, and more by less than 1e-12."""
    box = LatentBox.of_mass(mass, dim)
    with mpmath.workdps(50):
        exact = mpmath.erf(mpmath.mpf(str(box.bound)) / mpmath.sqrt(2)) ** dim
        assert 0 <= exact - mpmath.mpf(mass) < 1e-12
        assert abs(exact - mpmath.mpf(box.written_mass)) < 1e-12
    assert len(box.bound.as_tuple().digits) <= 15


def test_one_dimension_is_the_usual_interval():
    assert float(LatentBox.of_mass(0.95, 1).bound) == pytest.approx(1.959963984540054, abs=1e-14)


@pytest.mark.parametrize("dim", [1, 2, 4, 16, 64])
@pytest.mark.parametrize("mass", [0.5, 0.9, 0.99])
def test_monte_carlo_is_within_three_standard_errors(mass, dim):
    assert monte_carlo(LatentBox.of_mass(mass, dim), seed=0).off(mass) <= 3


@pytest.mark.parametrize("factor", [0.98, 1.02])
def test_monte_carlo_finds_a_box_of_another_size(factor):
    box = LatentBox.of_mass(0.9, 4)
    assert monte_carlo(replace(box, bound=box.bound * Decimal(factor)), seed=0).off(0.9) > 3


@pytest.mark.parametrize("dim", [2, 16])
def test_the_mass_is_the_models_too(dim):
    """Of x that the model draws, a share q has its latents in the box: f(g(z)) = z."""
    weights, box = piecewise_linear(dim, 3), LatentBox.of_mass(0.9, dim)
    x = reference.decode(weights, np.random.default_rng(5).standard_normal((20_000, dim)))
    inside = box.contains(reference.encode(weights, x)[0])
    assert Share(len(x), int(inside.sum())).off(0.9) <= 3


def test_the_box_is_no_density_level_set():
    """Some x outside is denser than some x inside, and not by rounding."""
    weights, box = piecewise_linear(2, 3), LatentBox.of_mass(0.9, 2)
    z = np.random.default_rng(6).standard_normal((2000, 2))
    log_prob, inside = reference.log_prob(weights, reference.decode(weights, z)), box.contains(z)
    assert log_prob[~inside].max() > log_prob[inside].min() + 1


@pytest.mark.parametrize("mass", [0.0, 1.0, -1.0, 2.0, float("nan"), float("inf")])
def test_no_mass_is_refused(mass):
    with pytest.raises(BadInputError, match="mass between 0 and 1"):
        LatentBox.of_mass(mass, 3)


def test_masses_that_float64_cannot_tell_from_the_ends_are_refused():
    with pytest.raises(BadInputError, match="further from 0 and 1"):
        LatentBox.of_mass(1e-320, 1)
    assert 8 < LatentBox.of_mass(1 - 2**-53, 784).bound < 10
