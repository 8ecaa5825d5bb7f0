"""A module of one's own: its layers are stated, and it is asked as the flows of libraries are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import lunet_export
from lunet_export.errors import BadInputError, CheckFailedError, CheckpointError, UnsupportedLayersError
from lunet_export.flows import layered
from lunet_export.importers import network_of
from lunet_export.layers import LU, Affine, LeakyReLU, LeakySoftplus, Permutation, ScaleMap
from lunet_export.layers.networks import Activation, Dense
from lunet_export.torch_layers import Flow
from tests import tolerances
from tests.docs.conftest import example
from tests.networks import network

LIMIT = 1e-10


def own_lunet(dtype=torch.float64):
    torch.manual_seed(0)
    code = example("own_lunet")
    module = code.OwnLUNet(dim=5, blocks=3).to(dtype)
    return module, module, code.layers_of(module.state_dict(), module.alpha)


def own_coupling(dtype=torch.float64):
    torch.manual_seed(0)
    code = example("own_coupling")
    module = code.OwnRealNVP(dim=6, couplings=4).to(dtype)
    return module, module.log_prob, code.layers_of(module)


def log_prob(module, x):
    """log p(x) as the module itself gives it."""
    with torch.no_grad():
        if hasattr(module, "log_prob"):
            return module.log_prob(x)
        z, log_det = module(x)
        return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1) + log_det


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("made", [own_lunet, own_coupling])
def test_the_examples_are_the_modules_themselves(made, dtype, tmp_path):
    module, reference, layers = made(dtype)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    flow = lunet_export.convert(layers, reference=reference)
    assert flow.like.dtype == dtype
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert module.training
    x, theirs = torch.randn(50, flow.dim), module.double()  # whose method the reference still is
    with torch.no_grad():
        ours = lunet_export.convert(layers, reference=reference).log_prob(x)
    assert ((ours - log_prob(theirs, x)) / log_prob(theirs, x).abs().clamp(min=1)).abs().max() < LIMIT
    with lunet_export.export(flow, tmp_path / "own", provider="cpu") as opened:
        x = x.float()
        allowed = tolerances.TWO * tolerances.of_density(flow.to_chain(), x.numpy())["log_prob"]
        tolerances.assert_within(opened.log_prob(x.numpy()), log_prob(theirs, x.double()).numpy(), allowed, "own")


FAULTS = {
    "L transposed into U": lambda layers: [_lu(layers[0], layers[0].upper.T.copy(), layers[0].lower.T.copy())],
    "another diagonal": lambda layers: [_lu(layers[0], layers[0].lower, layers[0].upper + 1e-7 * np.eye(5))],
    "a bias turned": lambda layers: [replace(layers[0], bias=-layers[0].bias)],
    "another alpha": lambda layers: [layers[0], LeakySoftplus(0.1 + 1e-7)],
    "another bend": lambda layers: [layers[0], LeakyReLU(0.1)],
    "an order": lambda layers: [Permutation(np.array([1, 0, 2, 3, 4])), layers[0]],
}


def _lu(layer, lower, upper):
    return LU(lower, upper, layer.bias)


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("density_alone", [False, True])
def test_a_planted_fault_is_seen(name, density_alone):
    module, reference, layers = own_lunet()
    begun = FAULTS[name](layers)
    faulty = [*begun, *layers[sum(not isinstance(layer, Permutation) for layer in begun) :]]
    asked = Density(module) if density_alone else reference
    lunet_export.convert(layers, reference=asked)
    with pytest.raises(CheckFailedError, match=r"Expected the reference's (z|log_prob); ours differs by"):
        lunet_export.convert(faulty, reference=asked)


class Density(nn.Module):
    """What gives log p alone."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return log_prob(self.inner, x)


@pytest.mark.parametrize(
    "fault",
    [
        lambda layers: layers[1:],  # no centre
        lambda layers: layers[:-1],  # no last order, which the density does not see: it is another latent
        lambda layers: [*layers[:1], replace(layers[1], scale=ScaleMap("softplus", floor=1e-3)), *layers[2:]],
        lambda layers: [*layers[:1], replace(layers[1], inputs=layers[1].inputs[::-1].copy()), *layers[2:]],
    ],
)
def test_a_fault_of_a_coupling_is_seen(fault):
    module, _, layers = own_coupling()

    class Latent(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            inner, log_det = self.inner, -self.inner.scale.log().sum()
            x = (x - inner.mean) / inner.scale
            for net in inner.networks:
                kept, changed = x[:, : inner.half], x[:, inner.half :]
                shift, log_scale = net(kept).chunk(2, dim=1)
                x = torch.cat([kept, changed * log_scale.exp() + shift], dim=1).flip(1)
                log_det = log_det + log_scale.sum(1)
            return x, log_det

    lunet_export.convert(layers, reference=Latent(module))
    with pytest.raises(CheckFailedError, match="Expected the reference's z; ours differs by"):
        lunet_export.convert(fault(layers), reference=Latent(module))


def test_chains_and_flows_are_compared_too():
    chain = network(4, 2)
    flow = Flow.of(chain, dtype=torch.float64)
    for given in (chain, flow, list(chain.layers)):
        assert lunet_export.convert(given, reference=flow.log_prob).dim == 4
    with pytest.raises(CheckFailedError, match="Expected the reference's log_prob"):
        lunet_export.convert(network(4, 2, seed=9), reference=flow.log_prob)


class Answers(nn.Module):
    """What gives whatever it is told."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


def failing(x):
    raise KeyError("no such key")


@pytest.mark.parametrize(
    ("layers", "answer", "error", "said"),
    [
        ([], None, BadInputError, "Expected layers of lunet_export.layers with a reference"),
        ([nn.Linear(2, 2)], None, BadInputError, "Expected layers of lunet_export.layers with a reference"),
        (3, None, BadInputError, "got a int"),
        ([LeakyReLU(0.1)], None, CheckpointError, "tells its number of dimensions"),
        ([Affine(np.array([1.0, np.nan]), np.zeros(2))], None, CheckpointError, r"layers\[0\]"),
        ([Affine(np.ones(2), np.zeros(2)), Affine(np.ones(3), np.zeros(3))], None, CheckpointError, r"layers\[1\]"),
        (network(2, 2), failing, CheckFailedError, "Expected the reference to run .* KeyError: 'no such key'"),
        (network(2, 2), lambda x: {"z": x}, BadInputError, "Expected log p.* got a dict"),
        (network(2, 2), lambda x: (x, x, x), BadInputError, "Expected log p.* got a tuple"),
        (network(2, 2), lambda x: x, CheckFailedError, "Expected the reference's log_prob of shape"),
        (network(2, 2), lambda x: (x[:, :1], x[:, 0]), CheckFailedError, "Expected the reference's z of shape"),
        (network(2, 2), lambda x: x[:, 0] * torch.nan, CheckFailedError, "differs by nan"),
    ],
)
def test_bad_input_is_one_sentence(layers, answer, error, said):
    with pytest.raises(error, match=said) as caught:
        lunet_export.convert(layers, reference=Answers(answer))
    assert "\n" not in str(caught.value)


def test_a_context_belongs_inside_the_reference():
    with pytest.raises(BadInputError, match="Expected a context or a reference; got both"):
        lunet_export.convert(network(2, 2), reference=failing, context=torch.zeros(1))


@pytest.mark.parametrize("use", [lunet_export.convert, lambda given: lunet_export.export(given, "nowhere")])
def test_an_unknown_module_is_told_the_way(use):
    module, _, _ = own_lunet()
    with pytest.raises(BadInputError, match=r"convert\(layers, reference=module\), as docs/importing.md shows"):
        use(module)


def test_networks_are_read_and_others_refused():
    found = network_of(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 4)))
    assert [type(operation) for operation in found] == [Dense, Activation, Dense]
    assert found[0].weight.dtype == np.float64
    with pytest.raises(UnsupportedLayersError, match=r"the network itself \(Sequential\): its network holds a Conv1d"):
        network_of(nn.Sequential(nn.Conv1d(2, 3, 1)))


def test_layers_in_a_row_are_a_flow_that_is_exported(tmp_path):
    """Without any module: a flow composed in Python."""
    layers = [LU(np.eye(2), np.array([[2.0, 1.0], [0.0, 0.5]]), np.zeros(2)), LeakySoftplus(0.2)]
    with lunet_export.export(layered(2, layers), tmp_path / "composed", provider="cpu") as flow:
        x = flow.sample(5, seed=0)
        np.testing.assert_allclose(flow.encode(x), flow.latent(5, seed=0), atol=1e-5)
