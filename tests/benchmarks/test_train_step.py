"""The packed layer and the paper's masked dense matrices are the same network with the same gradients."""

import numpy as np
import pytest
import torch

from benchmarks import networks, train_step
from benchmarks.masked import MaskedLULinear, masked, packed
from lunet_export.errors import CheckFailedError
from lunet_export.layers import LU
from tests.networks import network

DIM, BLOCKS = 8, 3


@pytest.mark.parametrize("make", [network, networks.standard], ids=["signed", "standard"])
def test_values_and_gradients_are_equal(make):
    gaps = train_step.check(make(DIM, BLOCKS), packed, masked)
    assert max(gaps.values()) <= 1e-10


def test_one_step_of_adam_ends_in_the_same_place():
    """But for diag U: ours steps along log|u|, theirs along u."""
    weights = networks.standard(DIM, BLOCKS)
    flows = [make(weights, torch.float64) for make in (packed, masked)]
    x = train_step.rows(weights, 16, torch.float64)
    for flow in flows:
        train_step.step(flow, torch.optim.Adam(flow.parameters(), lr=1e-3), x)
    wide = [layer for layer in flows[1].chain.bijections if isinstance(layer, MaskedLULinear)]
    for ours, theirs in zip(flows[0].to_chain().of(LU), wide, strict=True):
        upper, lower = theirs.upper.detach().numpy(), theirs.lower.detach().numpy()
        np.testing.assert_allclose(ours.lower, lower, atol=1e-12)
        np.testing.assert_allclose(np.triu(ours.upper, 1), np.triu(upper, 1), atol=1e-12)
        np.testing.assert_allclose(ours.bias, theirs.bias.detach().numpy(), atol=1e-12)
        assert not np.tril(upper, -1).any()


def test_the_masked_layer_inverts():
    flow = masked(network(DIM, BLOCKS), torch.float64)
    x = torch.randn(5, DIM, dtype=torch.float64)
    z, log_det = flow.chain(x)
    back, opposite = flow.chain.inverse(z)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-10)
    torch.testing.assert_close(opposite, -log_det, rtol=0, atol=1e-10)


def test_a_wrong_gradient_is_caught():
    def faulty(weights, dtype):
        flow = masked(weights, dtype)
        flow.chain.bijections[1].bias.register_hook(lambda gradient: gradient * (1 + 1e-8))
        return flow

    with pytest.raises(CheckFailedError, match="gradients of the masked dense network is"):
        train_step.check(networks.standard(DIM, BLOCKS), packed, faulty)


def test_parameters_are_counted():
    weights = networks.standard(DIM, BLOCKS)
    ours = train_step.parameters(packed(weights, torch.float32))
    theirs = train_step.parameters(masked(weights, torch.float32))
    assert ours == {"stored": BLOCKS * (DIM**2 + DIM), "free": BLOCKS * (DIM**2 + DIM)}
    assert theirs == {"stored": BLOCKS * (2 * DIM**2 + DIM), "free": BLOCKS * (DIM**2 + DIM)}
