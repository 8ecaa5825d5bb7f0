"""The flow against the reference, its parametrisation, and its samples."""

from dataclasses import replace

import mpmath
import numpy as np
import pytest
import torch

from lunet_export import noise
from lunet_export.checks import reference
from lunet_export.errors import BadInputError, CheckpointError
from lunet_export.flows import lunet
from lunet_export.layers import ACTIVATIONS, LU
from lunet_export.preprocessing import NAMED
from lunet_export.torch_layers import EagerFlow, Flow, standard_normal_log_prob
from lunet_export.torch_layers.leaky_softplus import LeakySoftplusBijection
from lunet_export.torch_layers.leaky_tanh import LeakyTanhBijection
from lunet_export.torch_layers.lu_linear import LULinear
from lunet_export.training.lunet.coordinates import flow_of
from tests import tolerances
from tests.networks import NETWORKS, network, rows

every_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


@every_network
def test_density_is_the_references(make):
    weights = make()
    x = rows(weights, 5)
    z, log_prob = EagerFlow(weights, "float64").density(x)
    np.testing.assert_allclose(z, reference.encode(weights, x)[0], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(log_prob, reference.log_prob(weights, x), rtol=1e-10)


@every_network
def test_sampling_is_the_references(make):
    weights = make()
    z = noise.normal(0, range(5), weights.dim)
    flow = Flow.of(weights, dtype=torch.float64)
    x = flow.chain.inverse(torch.from_numpy(z))[0].detach().numpy()
    exact = reference.decode(weights, z)
    np.testing.assert_allclose(x, exact, rtol=0, atol=1e-10 * max(1.0, np.abs(exact).max()))


@every_network
def test_weights_survive_the_flow(make):
    weights = make()
    back = Flow.of(weights, dtype=torch.float64).to_chain()
    for ours, theirs in zip(back.of(LU), weights.of(LU), strict=True):
        np.testing.assert_array_equal(ours.lower, theirs.lower)
        # The diagonal is e^log|u|: |log u| is less than 1 here, rounded, and the exponential within a unit.
        allowed = tolerances.of_roundings(4, theirs.upper, "float64")
        tolerances.assert_within(ours.upper, theirs.upper, allowed)
        assert tolerances.beyond(ours.upper * (1 + 1e-15), theirs.upper, allowed) > 1
        np.testing.assert_array_equal(ours.bias, theirs.bias)


def test_the_diagonal_is_the_exponential_rounded_to_nearest():
    """By 50 digits, whatever kernels compute exponentials here: a digest hangs on the last bit of every number."""
    theta = np.random.default_rng(0).uniform(-3, 3, 200)
    layer = LULinear(200).double()
    with torch.no_grad():
        layer.packed.diagonal().copy_(torch.from_numpy(theta))
    with mpmath.workdps(50):
        exact = np.array([float(mpmath.exp(mpmath.mpf(value))) for value in theta.tolist()])
    block = layer.layer()
    np.testing.assert_array_equal(np.diag(block.upper), exact)
    off = replace(block, upper=block.upper + np.diag([np.spacing(exact[0]), *np.zeros(199)]))
    assert lunet((off,), 0.1).digest() != lunet((block,), 0.1).digest()


def test_standard_normal_agrees_with_torch():
    z = torch.randn(5, 7, dtype=torch.float64)
    exact = torch.distributions.Normal(torch.zeros(7, dtype=torch.float64), 1.0).log_prob(z).sum(-1)
    # Seven squares, their sum and the constant, of one sign; the same again on the other side.
    allowed = tolerances.of_roundings(2 * (2 * 7 + 4), exact.numpy(), "float64")
    for ours in (standard_normal_log_prob(z), reference.standard_normal_log_prob(z.numpy())):
        tolerances.assert_within(ours, exact, allowed)
        assert tolerances.beyond(ours * (1 + 1e-13), exact, allowed) > 1


def test_one_packed_array_holds_both_factors():
    assert sum(parameter.numel() for parameter in LULinear(10).parameters()) == 10 * 10 + 10


def test_gradient_steps_never_reach_a_zero_diagonal():
    layer = LULinear(3)
    layer.load(network(3, 1).of(LU)[0])
    before = layer.diagonal().sign()
    with torch.no_grad():
        layer.packed -= 50.0  # a step of any size
    assert (layer.diagonal() != 0).all()
    assert (layer.diagonal().sign() == before).all()


def test_gradient_reaches_every_free_number():
    flow = Flow.of(network(4, 3))
    (-flow.log_prob(torch.randn(8, 4)).mean()).backward()
    assert all((parameter.grad != 0).all() for parameter in flow.parameters())


def test_samples_are_reproducible_and_rows_depend_on_the_seed_alone():
    flow = Flow.of(network(6, 3))
    few, many = flow.sample(3, seed=7), flow.sample(5, seed=7)
    allowed = tolerances.TWO * tolerances.of_sampling(network(6, 3), noise.normal(7, range(3), 6))["x"]
    tolerances.assert_within(few, many[:3], allowed)
    assert tolerances.beyond(few, many[1:4], allowed) > 1
    assert not torch.equal(flow.sample(3, seed=7), flow.sample(3, seed=8))


def test_sample_and_log_prob_scores_the_rows_it_returns():
    flow = Flow.of(network(16, 3, preprocessing=NAMED["digits"]))
    x, log_prob = flow.sample_and_log_prob(9, seed=0)
    assert x.min() >= 0
    assert x.max() < 17
    allowed = tolerances.TWO * tolerances.of_density(network(16, 3, preprocessing=NAMED["digits"]), x)["log_prob"]
    tolerances.assert_within(log_prob, flow.log_prob(x).detach(), allowed)
    assert tolerances.beyond(log_prob, flow.log_prob(x.flip(0)).detach(), allowed) > 1


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan")])
@pytest.mark.parametrize("kind", [LeakySoftplusBijection, LeakyTanhBijection])
def test_alpha_outside_its_range_is_refused(kind, alpha):
    with pytest.raises(BadInputError, match=r"Expected alpha in \(0, 1\)"):
        kind(alpha)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan")])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_network_has_an_alpha_outside_its_range(activation, alpha):
    with pytest.raises(CheckpointError, match=r"Expected alpha in \(0, 1\)"):
        lunet(network(3, 2).of(LU), alpha, None, activation)


@pytest.mark.parametrize("bound", [None, 0.8])
def test_other_coordinates_are_the_same_map(bound):
    """`whiten` moves U = V R and b; value, log_det and the plain factors stay."""
    weights = network(6, 3)
    x = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain = Flow.of(weights, dtype=torch.float64)
    flow = flow_of(weights, dtype=torch.float64, whitened=True, bound=bound)
    rng = np.random.default_rng(1)
    for layer in flow.modules_of(LULinear):
        root = np.triu(0.3 * rng.standard_normal((6, 6)), 1) + np.diag(rng.uniform(0.5, 2.0, 6))
        layer.whiten(rng.standard_normal(6), root)
        assert not torch.allclose(layer.packed, plain.modules_of(LULinear)[0].packed)
    torch.testing.assert_close(flow.log_prob(x), plain.log_prob(x), rtol=1e-12, atol=1e-12)
    for ours, block in zip(flow.to_chain().of(LU), weights.of(LU), strict=True):
        for name in ("lower", "upper", "bias"):
            np.testing.assert_allclose(getattr(ours, name), getattr(block, name), rtol=1e-12, atol=1e-12)


def test_a_bound_holds_whatever_the_gradient_does():
    layer = LULinear(4, bound=0.5)
    with torch.no_grad():
        layer.packed.diagonal().copy_(torch.tensor([-1e9, -1.0, 1.0, 1e9]))
    assert (layer.log_diagonal().abs() <= 0.5).all()
    exact, held = np.log(np.diag(layer.layer().upper)), layer.log_diagonal().detach()
    allowed = tolerances.of_roundings(6, exact)  # a quotient, a tanh within two units in the last place, a product
    tolerances.assert_within(held, exact, allowed)
    assert tolerances.beyond(held * (1 + 1e-6), exact, allowed) > 1


def test_a_bound_that_the_weights_pass_is_refused():
    with pytest.raises(BadInputError, match=r"below the bound 0.1; got .*larger bound"):
        flow_of(network(4, 2), whitened=False, bound=0.1)
