"""Each check passes on a right runner and fails on the fault it is there for."""

import numpy as np
import pytest

from lunet_export import parity
from lunet_export.certificate import Linearization, predicted_round_trip
from lunet_export.checks import vectors
from lunet_export.errors import BadInputError
from lunet_export.parity import compare
from lunet_export.preprocessing import NAMED
from lunet_export.torch_layers import EagerFlow
from tests.networks import network

WEIGHTS = network(16, 3, preprocessing=NAMED["digits"])


@pytest.fixture(scope="module")
def golden():
    return vectors.build(WEIGHTS, dtype="float32", seed=0)


class Faulty:
    """Eager PyTorch with one planted fault."""

    def __init__(self, fault: str) -> None:
        self.inner, self.fault = EagerFlow(WEIGHTS, "float32"), fault

    def density(self, x):
        z, log_prob = self.inner.density(x)
        if self.fault == "z":
            z = z + np.float32(1e-3)
        if self.fault == "log_prob":
            log_prob = log_prob + np.float32(
                0.35
            )  # log(2): the constant that the released code leaves out, per dimension
        if self.fault == "batch" and len(x) > 1:
            z = z + 1e-3 * z.mean(axis=0)
        if self.fault == "nan":
            z = np.where(np.arange(z.shape[1]) == 3, np.nan, z)
        return z, log_prob

    def decode(self, z):
        x = self.inner.decode(z)
        if self.fault == "x":
            x = x + np.float32(0.01)
        if self.fault == "solver":  # good at the golden latents' scale, wrong on the way back
            x = x * np.float32(1.001)
        if self.fault == "domain":
            x = x - np.float32(17)
        return x


@pytest.mark.parametrize(
    ("fault", "caught"),
    [
        ("z", "golden: density, z"),
        ("log_prob", "golden: density, log_prob"),
        ("log_prob", "golden: log_prob of sampled x"),
        ("x", "golden: sampling, x"),
        ("batch", "golden: batch 1 = batch N, z"),
        ("solver", "golden: x -> z -> x"),
        ("z", "golden: z -> x -> z"),
        ("nan", "golden: density, z"),
        ("domain", "golden: z -> x -> z"),
    ],
)
def test_each_check_catches_its_fault(golden, fault, caught):
    failed = [check.name for check in parity.run(Faulty(fault), golden) if not check.passed]
    assert caught in failed


def test_a_right_runner_passes_and_rows_left_out_are_reported(golden):
    checks = parity.run(Faulty("none"), golden, eager=EagerFlow(WEIGHTS, "float32"))
    assert parity.all_passed(checks)
    assert all(check.eager is not None for check in checks)
    notes = {check.name: check.note for check in checks}
    share = golden.sampling.clamped.mean()
    assert notes["golden: z -> x -> z"] == f"{share:.0%} of rows left out: clamped"
    assert 0 < share < 1


def test_rows_are_called_by_their_number_among_the_vectors(golden):
    """Checks of rows that no clamp touched compare some of them."""
    whole = np.flatnonzero(~golden.sampling.clamped)
    assert whole[0] > 0

    class Off(Faulty):
        def density(self, x):
            z, log_prob = super().density(x)
            return (z + 1 if len(x) == len(whole) else z), log_prob

    runner = Off("none")
    (gap,) = (check.difference for check in parity.run(runner, golden) if check.name == "golden: z -> x -> z")
    assert gap.row in whole
    assert gap.expected == golden.sampling.z[gap.row, gap.column]


def test_eager_is_shown_as_a_share_of_its_own_worst_row(golden):
    checks = {check.name: check for check in parity.run(Faulty("none"), golden, eager=Faulty("x"))}
    off = checks["golden: sampling, x"]
    assert off.passed
    assert off.eager_ratio > 1
    assert off.eager_ratio == pytest.approx(0.01 / golden.sampling.tolerance["x"].min(), rel=0.2)
    recorded = [parity.as_json(check) for check in checks.values()]
    again = parity.with_recorded_eager(parity.run(Faulty("none"), golden), recorded)
    assert [(check.eager, check.eager_ratio) for check in again] == [
        (check.eager, check.eager_ratio) for check in checks.values()
    ]


def test_a_runner_that_refuses_its_own_samples_fails_the_check(golden):
    class Strict(Faulty):
        def density(self, x):
            if (x < 0).any():
                raise BadInputError("outside")
            return super().density(x)

    failed = {check.name for check in parity.run(Strict("domain"), golden) if not check.passed}
    assert "golden: log_prob of sampled x" in failed


def test_compare_finds_the_worst_place_by_its_own_rows_tolerance():
    expected = np.array([[1.0, 2.0], [1000.0, 2000.0]])
    got = expected + np.array([[0.0, 0.5], [1.0, 0.0]])
    gap = compare("x", expected=expected, got=got, tolerance=np.array([0.1, 10.0]))
    assert (gap.row, gap.column, gap.expected, gap.got) == (0, 1, 2.0, 2.5)
    assert (gap.absolute, gap.ratio, gap.tolerance, gap.passed) == (1.0, 5.0, 0.1, False)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_compare_never_passes_what_is_not_a_number(bad):
    gap = compare("x", expected=np.zeros((1, 2)), got=np.array([[0.0, bad]]), tolerance=np.array([np.inf]))
    assert gap.absolute == np.inf or not gap.passed
    assert not compare("x", expected=np.zeros((1, 2)), got=np.array([[0.0, bad]]), tolerance=np.ones(1)).passed


def test_compare_refuses_another_shape():
    assert not compare("x", expected=np.zeros((2, 2)), got=np.zeros((2, 1)), tolerance=np.ones(2)).passed


def test_compare_with_zero_tolerance_wants_equality():
    assert compare("x", expected=np.ones((1, 1)), got=np.ones((1, 1)), tolerance=np.zeros(1)).passed
    assert not compare("x", expected=np.ones((1, 1)), got=np.ones((1, 1)) + 1e-15, tolerance=np.zeros(1)).passed


def test_the_manifests_record_stands_in_for_eager(golden):
    checks = parity.run(Faulty("none"), golden)
    recorded = parity.with_recorded_eager(checks, [{"name": checks[0].name, "eager": 0.5}])
    assert (recorded[0].eager, recorded[1].eager) == (0.5, None)


class HalfOff(Faulty):
    """z is off by half of what it may be: within its own tolerance, and more than a round trip can lose."""

    def __init__(self, weights, golden) -> None:
        self.inner, self.density_rows = EagerFlow(weights, "float32"), golden.density

    def density(self, x):
        z, log_prob = self.inner.density(x)
        near = np.abs(self.density_rows.x[:, None] - x).max(axis=2) < 1e-9
        off = 0.5 * near.T @ self.density_rows.tolerance["z"]
        return (z + off[:, None]).astype(np.float32), log_prob

    def decode(self, z):
        return self.inner.decode(z)


def test_only_the_certificate_sees_a_fault_in_the_round_trip():
    weights = network(2, 3, seed=1)
    golden = vectors.build(weights, dtype="float32", seed=0)
    predicted = predicted_round_trip(Linearization(weights), golden.density.x, dtype="float32")
    assert parity.all_passed(parity.run(EagerFlow(weights, "float32"), golden, predicted=predicted))
    runner = HalfOff(weights, golden)
    assert parity.all_passed(parity.run(runner, golden))
    checks = parity.run(runner, golden, predicted=predicted)
    (failed,) = (check for check in checks if not check.passed)
    assert (failed.name, failed.note) == ("golden: x -> z -> x", f"predicted {predicted.max():.1e}")


def test_a_prediction_never_widens_a_tolerance(golden):
    plain, wide = (parity.run(Faulty("none"), golden, predicted=p) for p in (None, np.full(8, np.inf)))
    assert [check.difference for check in plain] == [check.difference for check in wide]
