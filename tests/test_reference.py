"""The reference of the mixture against another library's log-sum-exp, and far down."""

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from lunet_export.checks import reference
from lunet_export.preprocessing import NAMED
from tests.networks import PRIORS, mixture, network, rows


@pytest.mark.parametrize("preprocessing", [None, NAMED["digits"]], ids=["vectors", "images"])
def test_the_mixture_is_the_weighted_sum(preprocessing):
    weights = mixture(6, 2, preprocessing=preprocessing)
    x = rows(weights, 9)
    found = reference.class_log_prob(weights, x)
    assert found.shape == (9, 3)
    np.testing.assert_array_equal(
        found[:, 1], reference.log_prob(network(6, 2, preprocessing=preprocessing, seed=1), x)
    )
    log_prob, posterior = (f(found, PRIORS) for f in (reference.mixture_log_prob, reference.posterior))
    np.testing.assert_allclose(log_prob, logsumexp(found, axis=1, b=np.array(PRIORS)), rtol=1e-14)
    np.testing.assert_allclose(np.exp(log_prob), np.exp(found) @ PRIORS, rtol=1e-12)
    np.testing.assert_allclose(posterior, softmax(found + np.log(PRIORS), axis=1), rtol=1e-12)
    np.testing.assert_allclose(posterior, PRIORS * np.exp(found - log_prob[:, None]), rtol=1e-12)


@pytest.mark.parametrize("level", [-1e5, 0.0, 800.0])
def test_far_from_all_classes_the_posterior_is_still_one(level):
    found = np.full((2, 3), level)
    np.testing.assert_allclose(reference.posterior(found, PRIORS), [PRIORS, PRIORS], rtol=1e-9)
    np.testing.assert_allclose(reference.mixture_log_prob(found, PRIORS), level, atol=1e-12)
    found[0, 0] -= 1e4
    assert reference.posterior(found, PRIORS)[0, 0] == 0.0
    np.testing.assert_allclose(reference.posterior(found, PRIORS).sum(axis=1), 1.0, rtol=1e-14)


def test_the_density_of_the_mixture_integrates_to_one():
    from lunet_export.distribution import Mixture

    weights = Mixture(tuple(network(1, 2, seed=seed) for seed in range(3)), ("a", "b", "c"), PRIORS)
    x = np.linspace(-200, 200, 400_001)[:, None]
    density = np.exp(reference.mixture_log_prob(reference.class_log_prob(weights, x), weights.priors))
    assert np.trapezoid(density, x[:, 0]) == pytest.approx(1.0, abs=1e-4)
