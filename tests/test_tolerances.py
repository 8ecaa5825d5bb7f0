"""The tolerances of tests: kept by what is right, and exceeded by a small fault even where two implementations meet."""

import math

import numpy as np
import pytest

from lunet_export import noise
from lunet_export.checks import reference
from lunet_export.checks.rounding import unit_roundoff
from lunet_export.preprocessing import NAMED
from lunet_export.torch_layers import EagerClasses, EagerFlow
from tests import tolerances
from tests.families import composed, jko, lunet, realnvp
from tests.networks import mixture, network, rows

#: The networks whose answers tests compare, and the module that alters one number of such a network.
MODELS = {
    "digits": (lambda: network(16, 3, preprocessing=NAMED["digits"]), lunet),
    "vectors": (lambda: network(6, 3), lunet),
    "leaky ReLU": (lambda: network(4, 3, activation="leaky-relu"), lunet),
    "composed": (composed.NETWORKS["masked autoregressive"], composed),
    "jko": (jko.PLANE, jko),
    "realnvp": (realnvp.PLANE, realnvp),
}
every_model = pytest.mark.parametrize(("make", "family"), MODELS.values(), ids=MODELS)


def answers(weights, x, z, dtype):
    flow = EagerFlow(weights, dtype)
    latents, log_prob = flow.density(x.astype(dtype))
    return {"z": latents, "log_prob": log_prob, "x": flow.decode(z.astype(dtype))}


@every_model
def test_a_right_answer_is_within_once_and_a_small_fault_beyond_twice(make, family):
    """Of rows in float64, which a runtime rounds."""
    weights = make()
    x, z = rows(weights, 12), noise.normal(0, range(12), weights.dim)
    exact = answers(weights, x, z, "float64")
    allowed = {**tolerances.of_density(weights, x), "x": tolerances.of_sampling(weights, z)["x"]}
    right, wrong = answers(weights, x, z, "float32"), answers(family.changed(weights), x, z, "float64")
    for name, expected in exact.items():
        tolerances.assert_within(right[name], expected, allowed[name], name)
    assert max(tolerances.beyond(wrong[name], exact[name], tolerances.TWO * allowed[name]) for name in exact) > 1


def test_classes_have_theirs():
    weights = mixture(16, 3, preprocessing=NAMED["digits"])
    x = rows(weights, 12)
    expected = reference.class_log_prob(weights, x)
    exact = (
        expected,
        reference.mixture_log_prob(expected, weights.priors),
        reference.posterior(expected, weights.priors),
    )
    allowed = tolerances.of_classes(weights, x)
    first, *others = weights.components
    wrong = type(weights)((lunet.changed(first), *others), weights.names, weights.priors)
    for got, most in ((EagerClasses(weights, "float32"), 1.0), (EagerClasses(wrong, "float32"), np.inf)):
        found = got.density(x.astype(np.float32))
        ratios = [
            tolerances.beyond(ours, theirs, allowed[name])
            for name, ours, theirs in zip(("class_log_prob", "log_prob", "posterior"), found, exact, strict=True)
        ]
        assert max(ratios) <= most
    assert ratios[0] > tolerances.TWO


def test_rounding_of_what_is_given_counts():
    """A row that float32 does not hold moves log p where it is steep: by more than the arithmetic behind it errs."""
    weights = network(2, 1, off_diagonal=0.0)
    x = np.array([[3e4 + 1e-3, 0.1]])
    held = x.astype(np.float32).astype(np.float64)
    moved = abs(reference.log_prob(weights, x) - reference.log_prob(weights, held))
    assert tolerances.of_density(weights, x)["log_prob"] >= moved + tolerances.of_density(weights, held)["log_prob"]


def test_a_tolerance_is_one_for_all_or_one_a_row_or_one_a_number():
    expected, got = np.zeros((2, 3)), np.array([[0.0, 0.1, 0.0], [0.0, 0.0, 0.4]])
    assert tolerances.beyond(got, expected, 0.4) == 1.0
    assert tolerances.beyond(got, expected, np.array([0.05, 0.4])) == 2.0
    assert tolerances.beyond(got, expected, np.full((2, 3), 0.2)) == 2.0
    assert tolerances.beyond(got[:0], expected[:0], np.zeros(0)) == 0.0
    with pytest.raises(AssertionError, match=r"z is off by 2 times what is allowed"):
        tolerances.assert_within(got, expected, 0.2, "z")


@pytest.mark.parametrize("fault", ["NaN", "a shape"])
def test_what_is_no_number_or_another_shape_is_never_within(fault):
    got = np.array([1.0, np.nan]) if fault == "NaN" else np.ones((2, 1))
    with pytest.raises(AssertionError):
        tolerances.assert_within(got, np.ones(2), np.inf if fault == "a shape" else 1e300)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_so_many_roundings_come_to_no_more(dtype):
    """Sums of positive numbers, one after another: n - 1 roundings of at most the whole, and more than one of them."""
    x = np.random.default_rng(0).uniform(0.5, 1.0, (50, 1000)).astype(dtype)
    exact = np.array([math.fsum(row) for row in x.tolist()])
    gap = np.abs(np.add.accumulate(x, axis=1)[:, -1] - exact)
    assert (gap <= tolerances.of_roundings(999, exact, dtype)).all()
    assert gap.max() > unit_roundoff(dtype) * exact.max()


def test_four_standard_errors_hold_means_and_no_shift():
    means = np.random.default_rng(0).standard_normal((2000, 100)).mean(axis=1)
    assert (np.abs(means) <= tolerances.of_estimate(1.0, 100)).mean() > 0.999
    assert np.abs(means + 1.0).min() > tolerances.of_estimate(1.0, 100)
