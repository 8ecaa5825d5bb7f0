"""The inverse activation for any alpha: its fitted start in float64, and the nodes that the graph runs."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.activation import ALPHAS, errors
from lunet_export.errors import BadInputError
from lunet_export.layers import halley_start
from lunet_export.layers.softplus import leaky_softplus

every_alpha = pytest.mark.parametrize("alpha", ALPHAS)


def test_one_step_reaches_float32_and_two_float64_at_the_papers_alpha():
    single, double = halley_start.fit(0.1, "float32"), halley_start.fit(0.1, "float64")
    assert (single.steps, double.steps) == (1, 2)
    assert single.error < 6e-8
    assert double.error < 1e-15


@pytest.mark.slow
@every_alpha
@pytest.mark.parametrize(("dtype", "allowed"), [("float32", 2.0**-24), ("float64", 2.0**-49)])
def test_fit_is_verified_off_its_grid(alpha, dtype, allowed):
    x = np.random.default_rng(0).uniform(-80, 80, 20_000)
    got = halley_start.fit(alpha, dtype).invert(leaky_softplus(x, alpha))
    assert (np.abs(got - x) / np.maximum(1, np.abs(x))).max() <= 1.1 * allowed


def test_a_step_less_is_not_enough():
    """The verification decides the number of steps."""
    start = halley_start.fit(0.03, "float32")
    x = np.linspace(-20, 20, 1001)
    fewer = replace(start, steps=start.steps - 1).invert(leaky_softplus(x, 0.03))
    assert np.abs(fewer - x).max() > 2.0**-24


@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_fit_does_not_hang_on_the_last_digits_of_exp(monkeypatch, alpha):
    """Other machines round exp and log differently; the coefficients, and so the bytes of a graph, may not."""
    for name in ("fit", "_start", "_parameters"):  # which remember what they found
        monkeypatch.setattr(halley_start, name, getattr(halley_start, name).__wrapped__)
    exact = halley_start.fit(alpha, "float32")
    rng = np.random.default_rng(0)

    def other_machine(a, alpha):
        return leaky_softplus(a, alpha) * (1 + 2e-16 * rng.choice([-1, 0, 1], np.shape(a)))

    monkeypatch.setattr(halley_start, "leaky_softplus", other_machine)
    again = halley_start.fit(alpha, "float32")
    assert replace(again, error=0.0) == replace(exact, error=0.0)


def test_hopeless_alpha_is_refused():
    with pytest.raises(BadInputError, match=r"Expected an alpha from 0\.001 to 0\.9999"):
        halley_start.fit(1e-9, "float64")


@every_alpha
def test_inverse_is_right_over_all_float32_exponents(alpha):
    """Measured units of roundoff stand in benchmarks/results/accuracy.json, beside PyTorch's converged Newton."""
    ours, eager = errors(alpha, "float32")
    assert np.isfinite(ours).all()
    assert ours.max() <= 5.0
    assert ours.max() <= 2 * eager.max()


@every_alpha
def test_inverse_is_right_in_float64(alpha):
    """The reference itself rounds here, so the bound is a little wider."""
    ours, _ = errors(alpha, "float64")
    assert np.isfinite(ours).all()
    assert ours.max() <= 10.0


def test_without_compensation_a_small_alpha_loses_digits():
    """The fuzz above can fail."""
    assert errors(0.001, "float32", fault=True)[0].max() > 20.0
