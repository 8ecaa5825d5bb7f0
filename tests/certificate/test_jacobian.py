"""Stretch and squeeze against the SVD of the Jacobian, written out and by finite differences."""

import numpy as np
import pytest

from lunet_export.certificate import Linearization, lanczos
from lunet_export.certificate.lanczos import largest_eigenvalues
from lunet_export.checks import reference
from lunet_export.flows import lunet
from lunet_export.layers import LU, Chain
from lunet_export.preprocessing import NAMED
from tests.certificate.cases import jacobian, orthogonal
from tests.networks import NETWORKS, network, rows


def clustered() -> Chain:
    """The largest and the smallest singular values 1e-4 apart, where power iteration needs 10,000 steps."""
    values = np.concatenate([2 - 1e-4 * np.arange(20), np.ones(20), 0.5 + 1e-4 * np.arange(20)])
    return lunet((LU(np.eye(60), np.diag(values), np.zeros(60)),), 0.1)


CASES = NETWORKS | {
    "clustered": clustered,
    "orthogonal": lambda: orthogonal(0.0, dim=5),
    "wide": lambda: network(150, 3, preprocessing=NAMED["images"]),
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
@pytest.mark.parametrize("in_data_space", [True, False])
def test_both_are_the_singular_values_of_the_jacobian(make, in_data_space):
    weights = make()
    x = rows(weights, 5)
    local = Linearization(weights).local(x, in_data_space=in_data_space)
    exact = [np.linalg.svd(jacobian(weights, row, in_data_space=in_data_space), compute_uv=False) for row in x]
    np.testing.assert_allclose(local.stretch, [values[0] for values in exact], rtol=1e-3)
    np.testing.assert_allclose(local.squeeze, [values[-1] for values in exact], rtol=1e-3)
    assert local.converged
    assert (local.stretch <= [values[0] * (1 + 1e-9) for values in exact]).all()


@pytest.mark.parametrize("preprocessing", [None, NAMED["digits"]])
def test_they_are_those_of_finite_differences(preprocessing):
    weights = network(7, 3, preprocessing=preprocessing)
    (x,), step = rows(weights, 1), 1e-5
    ends = [reference.encode(weights, x + sign * step * np.eye(7))[0] for sign in (1, -1)]
    exact = np.linalg.svd(((ends[0] - ends[1]) / (2 * step)).T, compute_uv=False)
    local = Linearization(weights).local(x[None], in_data_space=True)
    np.testing.assert_allclose([local.stretch[0], local.squeeze[0]], [exact[0], exact[-1]], rtol=1e-6)


def test_rows_do_not_depend_on_their_batch():
    weights = network(20, 3)
    x, linear = rows(weights, 9), Linearization(weights)
    whole = linear.local(x, in_data_space=True)
    single = [linear.local(row[None], in_data_space=True) for row in x]
    np.testing.assert_allclose(whole.stretch, [one.stretch[0] for one in single], rtol=1e-4)
    np.testing.assert_allclose(whole.squeeze, [one.squeeze[0] for one in single], rtol=1e-4)


def test_too_few_steps_are_told(monkeypatch):
    matrix = np.diag(np.linspace(1, 2, 200))
    assert largest_eigenvalues(lambda v: v @ matrix, 3, 200)[1]
    monkeypatch.setattr(lanczos, "_MOST_STEPS", 4)
    found, settled = largest_eigenvalues(lambda v: v @ matrix, 3, 200)
    assert (settled, bool((found < 1.9999).all())) == (False, True)


def test_what_overflows_is_infinite():
    found, _ = largest_eigenvalues(lambda v: v * np.array([[1e200], [1.0]]), 2, 4)
    np.testing.assert_allclose(found, [np.inf, 1.0])
