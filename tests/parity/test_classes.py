"""The checks of one network per class pass on the right one and fail on every planted fault."""

from dataclasses import replace

import numpy as np
import pytest

from lunet_export import parity
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.checks.vectors import build
from lunet_export.layers import LU
from lunet_export.preprocessing import NAMED
from tests.networks import PRIORS, mixture


class Exact:
    """The reference as a runner; faults are planted by changing it."""

    def __init__(self, weights, priors=None):
        self.weights, self.priors = weights, priors or weights.priors

    def density(self, x):
        found = reference.class_log_prob(self.weights, x)
        return found, reference.mixture_log_prob(found, self.priors), reference.posterior(found, self.priors)

    def decode(self, z, label):
        network = self.weights.components[label]
        return RoundingModel(network, "float32").clamp(reference.decode(network, z))


@pytest.fixture(scope="module", params=[None, NAMED["digits"]], ids=["6-D vectors", "4 x 4 images"])
def case(request):
    weights = mixture(16 if request.param else 6, 3, preprocessing=request.param)
    return weights, build(weights, dtype="float32", seed=0)


def failed(runner, vectors) -> set[str]:
    return {check.name for check in parity.run(runner, vectors) if not check.passed}


def test_the_reference_passes_all(case):
    weights, vectors = case
    checks = parity.run(Exact(weights), vectors, eager=Exact(weights))
    assert parity.all_passed(checks)
    assert len(checks) == 3 * 5 + 4
    assert all(check.eager == check.difference.absolute for check in checks)


def test_swapped_classes_are_caught(case):
    weights, vectors = case
    first, second, third = weights.components
    found = failed(Exact(replace(weights, components=(second, first, third))), vectors)
    assert {"golden: class T-shirt/top, log_prob", "golden: class b, c, sampling, x"} <= found
    assert "golden: class 8, log_prob" not in found


def test_swapped_samplers_alone_are_caught(case):
    weights, vectors = case

    class Swapped(Exact):
        def decode(self, z, label):
            return super().decode(z, (1, 0, 2)[label])

    found = failed(Swapped(weights), vectors)
    assert {"golden: class T-shirt/top, sampling, x", "golden: class b, c, sampling, x"} <= found
    assert not any("mixture" in name or "class 8" in name for name in found)


@pytest.mark.parametrize("priors", [(0.3, 0.5, 0.2), (0.501, 0.299, 0.2), (1 / 3, 1 / 3, 1 / 3)])
def test_a_wrong_prior_is_caught(case, priors):
    weights, vectors = case
    found = failed(Exact(weights, priors), vectors)
    assert "golden: mixture, log_prob" in found
    assert not any("class" in name for name in found)


def test_a_posterior_without_its_prior_is_caught():
    weights = mixture(6, 3)
    vectors = build(weights, dtype="float32", seed=0)

    class Flat(Exact):
        def density(self, x):
            found, log_prob, _ = super().density(x)
            return found, log_prob, reference.posterior(found, (1 / 3,) * 3)

    assert failed(Flat(weights), vectors) == {"golden: mixture, posterior"}


def test_a_network_that_is_a_little_off_is_caught(case):
    weights, vectors = case
    first = weights.components[0]
    block = first.of(LU)[1]
    wrong = replace(block, upper=block.upper * 1.001)
    other = first.with_layers([wrong if layer is block else layer for layer in first.layers])
    found = failed(Exact(replace(weights, components=(other, *weights.components[1:]))), vectors)
    assert "golden: class T-shirt/top, log_prob" in found
    assert not any("class b, c" in name or "class 8" in name for name in found)


def test_answers_that_depend_on_the_batch_are_caught(case):
    weights, vectors = case

    class Alone(Exact):
        def density(self, x):
            found, log_prob, posterior = super().density(x)
            return (found, log_prob, posterior) if len(x) > 1 else (found + 1, log_prob + 1, posterior[:, ::-1])

    found = failed(Alone(weights), vectors)
    assert {f"golden: mixture, batch 1 = batch N, {name}" for name in ("log_prob", "posterior")} <= found


@pytest.mark.parametrize("answer", [np.nan, np.inf])
def test_numbers_that_are_none_and_tables_of_another_width_fail(case, answer):
    weights, vectors = case

    class Broken(Exact):
        def density(self, x):
            return np.full((len(x), 2), answer), np.full(len(x), answer), np.full((len(x), 3), answer)

    names = {"mixture, log_prob", "mixture, posterior", "class 8, log_prob", "class T-shirt/top, log_prob"}
    assert {f"golden: {name}" for name in names} <= failed(Broken(weights), vectors)


def test_the_priors_of_the_tests_are_apart():
    assert len(set(PRIORS)) == 3
