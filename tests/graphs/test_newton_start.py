"""The fitted start of the inverse activation, for any alpha."""

import numpy as np
import pytest

from lunet_export import reference
from lunet_export.errors import CheckFailedError
from lunet_export.graphs import newton_start


def test_two_steps_reach_float32_and_three_float64_at_the_papers_alpha():
    single, double = newton_start.fit(0.1, "float32"), newton_start.fit(0.1, "float64")
    assert (single.steps, double.steps) == (2, 3)
    assert single.error < 1.5e-8
    assert double.error < 5e-16


@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(("dtype", "allowed"), [("float32", 2.0**-25), ("float64", 2.0**-51)])
def test_fit_is_verified_off_its_grid(alpha, dtype, allowed):
    start = newton_start.fit(alpha, dtype)
    x = np.random.default_rng(0).uniform(-80, 80, 20_000)
    y = reference.leaky_softplus(x, alpha)
    guess = start(y)
    for _ in range(start.steps):
        guess = guess - (reference.leaky_softplus(guess, alpha) - y) / reference.slope(guess, alpha)
    assert (np.abs(guess - x) / np.maximum(1, np.abs(x))).max() <= 2 * allowed


def test_fit_does_not_hang_on_the_last_digits_of_exp(monkeypatch):
    """Other machines round exp and log differently; the coefficients, and so the bytes of a graph, may not."""
    exact = newton_start.fit(0.1, "float32")
    rng = np.random.default_rng(0)
    plain = reference.leaky_softplus

    def other_machine(a, alpha):
        return plain(a, alpha) * (1 + 2e-16 * rng.choice([-1, 0, 1], np.shape(a)))

    monkeypatch.setattr(reference, "leaky_softplus", other_machine)
    again = newton_start.fit(0.1, "float32")
    assert (again.p, again.q, again.r, again.s, again.t) == (exact.p, exact.q, exact.r, exact.s, exact.t)


def test_hopeless_alpha_is_refused():
    with pytest.raises(CheckFailedError, match="Use a larger alpha"):
        newton_start.fit(1e-9, "float64")
