"""Conditional flows of the real packages whose context stays an input: the packages' own densities at 100 contexts."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from lunet_export import importers
from lunet_export.checks import reference
from lunet_export.errors import BadInputError, CheckFailedError, UnsupportedLayersError
from lunet_export.flows.layered import Layered
from lunet_export.graphs import solvers
from lunet_export.graphs.frame import Frame
from lunet_export.importers import networks
from lunet_export.importers.twin import exact_softplus
from lunet_export.layers import Inverse
from lunet_export.layers.networks import Dense, Gate
from tests.flows.test_conditional import run as graph_run
from tests.importers.peers import (
    PEERS,
    freia_net,
    learned,
    nflows_flow,
    normflows_flow,
    package,
    rows,
    zuko_flow,
    zuko_maf,
)
from tests.importers.test_interop import LIMIT, gap

pytestmark = pytest.mark.filterwarnings("ignore")  # of one part of the peers about another, and of PyTorch about them

DIM, WIDTH, COUNT = 4, 3, 100  # of rows, of contexts, and how many of these


def nflows_net(*transforms, base=None, embedding=None):
    package("nflows")
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.transforms import CompositeTransform

    return Flow(CompositeTransform(transforms), base or StandardNormal([DIM]), embedding_net=embedding)


def nflows_masked(width=WIDTH, **options):
    package("nflows")
    from nflows.transforms import MaskedAffineAutoregressiveTransform

    return MaskedAffineAutoregressiveTransform(DIM, 12, context_features=width, **options)


def nflows_maf():
    from nflows.transforms import RandomPermutation

    return nflows_net(
        nflows_masked(activation=torch.tanh),
        RandomPermutation(DIM),
        nflows_masked(use_batch_norm=True, num_blocks=3),
        nflows_masked(use_residual_blocks=False, activation=nn.functional.elu),
    )


def nflows_coupling():
    package("nflows")
    from nflows import transforms as t
    from nflows.nn.nets import ResidualNet

    def net(i, o):
        return ResidualNet(i, o, 9, context_features=WIDTH, use_batch_norm=True)

    mask = torch.tensor([1, -1, 1, -1])
    coupled = t.AffineCouplingTransform(mask, net)
    return nflows_net(coupled, t.LULinear(DIM), t.InverseTransform(t.AdditiveCouplingTransform(-mask, net)))


def nflows_base():
    package("nflows")
    from nflows.distributions import ConditionalDiagonalNormal

    encoder = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 2 * DIM))
    embedding = nn.Sequential(nn.Linear(WIDTH, 6), nn.ReLU(), nn.Linear(6, 5))
    base = ConditionalDiagonalNormal([DIM], encoder)
    return nflows_net(nflows_masked(5), base=base, embedding=embedding)


def zuko_maf_given(**options):
    return package("zuko").flows.MAF(DIM, WIDTH, transforms=2, hidden_features=(12, 12), **options)


def zuko_realnvp():
    return package("zuko").flows.RealNVP(DIM, WIDTH, transforms=3, hidden_features=(12,), activation=nn.Tanh)


def zuko_elementwise():
    zuko = package("zuko")
    layer = zuko.flows.ElementWiseTransform(DIM, WIDTH, hidden_features=(9,))
    return zuko_flow(DIM, layer, zuko.flows.MaskedAutoregressiveTransform(DIM, WIDTH, hidden_features=()), layer.inv)


def normflows_conditional(base=None):
    nf = package("normflows")
    layers = [
        nf.flows.MaskedAffineAutoregressive(DIM, 12, context_features=WIDTH, num_blocks=2),
        nf.flows.LULinearPermute(DIM),
        nf.flows.MaskedAffineAutoregressive(DIM, 12, context_features=WIDTH, use_batch_norm=True),
    ]
    return nf.ConditionalNormalizingFlow(base or nf.distributions.DiagGaussian(DIM), layers)


def normflows_base():
    nf = package("normflows")
    return normflows_conditional(nf.distributions.base.ConditionalDiagGaussian(DIM, nn.Linear(WIDTH, 2 * DIM)))


def freia_sequence():
    modules, flow = package("FrEIA").modules, package("FrEIA").framework.SequenceINN(DIM)
    given = {"cond": 0, "cond_shape": (WIDTH,), "subnet_constructor": freia_net}
    flow.append(modules.AllInOneBlock, **given)
    flow.append(modules.RNVPCouplingBlock, **given)
    flow.append(modules.ConditionalAffineTransform, **given, clamp_activation="SIGMOID")
    flow.append(modules.GINCouplingBlock, **given, clamp_activation="TANH")
    return flow.double()


def freia_graph():
    """As FrEIA's own examples and IKFlow have it: a `ConditionNode` that all blocks take."""
    modules, framework = package("FrEIA").modules, package("FrEIA").framework
    condition = framework.ConditionNode(WIDTH)
    nodes = [framework.InputNode(DIM)]
    for seed in range(3):
        nodes.append(framework.Node(nodes[-1], modules.PermuteRandom, {"seed": seed}))
        options = {"subnet_constructor": freia_net, "clamp": 2.5}
        nodes.append(framework.Node(nodes[-1], modules.GLOWCouplingBlock, options, conditions=condition))
    return framework.GraphINN([*nodes, framework.OutputNode(nodes[-1]), condition]).double()


FLOWS = {
    "FrEIA sequence": (freia_sequence, PEERS["FrEIA"].log_prob),
    "FrEIA graph": (freia_graph, PEERS["FrEIA"].log_prob),
    "nflows MAF": (nflows_maf, PEERS["nflows"].log_prob),
    "nflows coupling": (nflows_coupling, PEERS["nflows"].log_prob),
    "nflows base and embedding": (nflows_base, PEERS["nflows"].log_prob),
    "zuko MAF": (zuko_maf_given, PEERS["zuko"].log_prob),
    "zuko MAF, residual": (partial(zuko_maf_given, residual=True, randperm=True), PEERS["zuko"].log_prob),
    "zuko coupling": (zuko_realnvp, PEERS["zuko"].log_prob),
    "zuko elementwise": (zuko_elementwise, PEERS["zuko"].log_prob),
    "normflows MAF": (normflows_conditional, PEERS["normflows"].log_prob),
    "normflows base": (normflows_base, PEERS["normflows"].log_prob),
}


def made(name):
    """A flow away from its start, which is often the identity, in evaluation mode."""
    torch.manual_seed(0)
    flow = FLOWS[name][0]()
    with torch.no_grad():
        for parameter in learned(flow):
            parameter += 0.2 * torch.randn_like(parameter)
    return flow.eval()


def drawn(count=COUNT, *, width=WIDTH):
    return rows(count, DIM), np.random.default_rng(5).standard_normal((count, width))


@pytest.mark.parametrize("name", FLOWS)
@torch.no_grad()
def test_it_is_the_peers_own_flow_at_every_context(name):
    flow, theirs = made(name), FLOWS[name][1]
    imported = importers.read(flow)
    weights, (x, c) = imported.weights, drawn()
    assert (weights.context.dim, imported.proof.contexts, imported.proof.rows >= 400) == (WIDTH, 128, True)
    wanted = theirs(flow, torch.from_numpy(x), torch.from_numpy(c)).numpy()
    assert gap(reference.log_prob(weights, x, c), wanted) < LIMIT
    assert gap(reference.log_prob(weights, x, c[::-1]), wanted) > 1e-3
    assert gap(reference.decode(weights, reference.encode(weights, x, c)[0], c), x) < LIMIT
    ours = importers.convert(flow).given(torch.from_numpy(c)).log_prob(torch.from_numpy(x)).numpy()
    assert gap(ours, wanted) < LIMIT
    own, arrays = Layered().pack(weights)
    again = Layered.unpack({"settings": {"dim": DIM, **own}, **arrays}, None)
    assert again.digest() == weights.digest()


@pytest.mark.parametrize("name", FLOWS)
@torch.no_grad()
def test_a_fixed_context_is_the_conditional_flow_at_it(name):
    flow, (x, c) = made(name), drawn(20)
    fixed = importers.read(flow, context=torch.from_numpy(c[3])).weights
    assert fixed.context is None
    assert gap(reference.log_prob(fixed, x), reference.log_prob(importers.read(flow).weights, x, c[3])) < LIMIT


@pytest.mark.parametrize("name", FLOWS)
@torch.no_grad()
def test_its_graphs_take_the_context_too(name):
    flow, theirs = made(name), FLOWS[name][1]
    weights, (x, c) = importers.read(flow).weights, drawn(20)
    frame = Frame(weights, solvers.choose("fused", None, DIM), "float64")
    wanted = theirs(flow, torch.from_numpy(x), torch.from_numpy(c)).numpy()
    got = graph_run(frame.density({}), {"x": x, "context": c})
    assert gap(got["log_prob"], wanted) < LIMIT
    assert gap(graph_run(frame.sampling({}), {"z": got["z"], "context": c})["x"], x) < LIMIT


def test_a_transform_alone_is_conditional_too():
    for transform in (nflows_masked(), zuko_maf_given().transform, normflows_conditional().flows[0]):
        assert importers.read(transform).weights.context.dim == WIDTH


def test_flows_without_a_context_stay_so():
    for flow in (zuko_maf(DIM), nflows_net(nflows_masked(None), embedding=nn.Identity())):
        imported = importers.read(flow)
        assert (imported.weights.context, imported.proof.contexts) == (None, None)
        assert "contexts" not in imported.proof.as_json()


def test_softplus_is_exact_during_the_comparison_alone():
    before, x = nn.functional.softplus, torch.tensor(25.0)
    assert before(x) == x
    with exact_softplus():
        assert nn.functional.softplus(x) > x
        assert nn.functional.softplus(x, threshold=10) == x  # a setting of the user's own stays
    assert nn.functional.softplus is before


# Planted faults


def swapped(network, context, count):
    """The context's columns in another order, as a reader may confuse them."""
    first, *rest = ORIGINAL(network, context, count)
    (part,) = first.conditional
    return (replace(first, conditional=(Dense(part.weight[:, ::-1].copy(), part.bias),)), *rest)


def elsewhere(network, context, count):
    """The context before the columns of the rows."""
    first = network[0]
    back = np.roll(np.arange(first.weight.shape[1]), count)
    return ORIGINAL((replace(first, weight=first.weight[:, back]), *network[1:]), context, count)


ORIGINAL = networks.fixed


@pytest.mark.parametrize("fault", [swapped, elsewhere])
@pytest.mark.parametrize("name", ["zuko coupling", "nflows coupling", "FrEIA graph"])
def test_a_fault_in_the_contexts_columns_is_caught(name, fault, monkeypatch):
    monkeypatch.setattr(networks, "fixed", fault)
    with pytest.raises(CheckFailedError, match="Expected the library's own"):
        importers.read(made(name))


def unactivated(operation, layer, function, context):
    return SHIFTED(operation, layer, None, context)


def ungated(layer, context):
    return Gate(networks.read(layer))


SHIFTED = networks._shifted


@pytest.mark.parametrize(
    ("name", "part", "fault"),
    [
        ("nflows MAF", "_shifted", unactivated),
        ("nflows coupling", "_gate", ungated),
        ("normflows MAF", "_gate", ungated),
    ],
)
def test_what_the_context_passes_through_is_compared(name, part, fault, monkeypatch):
    monkeypatch.setattr(networks, part, fault)
    with pytest.raises(CheckFailedError, match="Expected the library's own"):
        importers.read(made(name))


def test_a_base_in_the_wrong_direction_is_caught(monkeypatch):
    from lunet_export.importers import nflows

    def forwards(encoder):
        return tuple(layer.layer for layer in nflows_conditional_base(encoder) if isinstance(layer, Inverse))

    nflows_conditional_base = nflows.conditional_base
    monkeypatch.setattr(nflows, "conditional_base", forwards)
    with pytest.raises(CheckFailedError, match="Expected the library's own"):
        importers.read(made("nflows base and embedding"))


# Refusals


def test_a_context_of_another_width_is_refused():
    flow = made("zuko MAF")
    with pytest.raises(UnsupportedLayersError, match="it takes a context of 3 numbers, and 7 were given"):
        importers.read(flow, context=torch.zeros(7))
    x, _ = drawn(5)
    with pytest.raises(BadInputError, match=r"^Expected a context of shape \(3,\) or \(5, 3\) for 5 rows; got shape"):
        reference.log_prob(importers.read(flow).weights, x, np.zeros((5, 7)))
    with pytest.raises(BadInputError, match=r"^Expected contexts of shape \(N, 3\); got shape \(5, 7\)\.$"):
        importers.convert(flow).given(torch.zeros(5, 7))


def test_an_embedding_that_cannot_be_read_is_named():
    flow = nflows_net(nflows_masked(5), embedding=nn.Sequential(nn.Linear(WIDTH, 5), nn.LayerNorm(5)))
    with pytest.raises(UnsupportedLayersError, match=r"_embedding_net \(Sequential\): its network holds a LayerN"):
        importers.read(flow)
    assert importers.read(flow, context=torch.zeros(WIDTH)).weights.context is None


def test_a_flow_that_gives_its_layers_no_context_is_refused():
    layer = package("normflows").flows.MaskedAffineAutoregressive(DIM, 12, context_features=WIDTH)
    built = zuko_maf_given().transform(None)
    for flow in (normflows_flow(DIM, layer), built):
        with pytest.raises(UnsupportedLayersError, match="it needs a context, and none was given"):
            importers.read(flow)


def test_a_base_that_depends_on_the_context_in_another_way_is_refused():
    zuko = package("zuko")

    class Base(zuko.lazy.LazyDistribution):
        def forward(self, c=None):
            return zuko.distributions.DiagNormal(c[:DIM], torch.ones(DIM))

    flow = zuko.lazy.Flow([zuko.flows.MaskedAutoregressiveTransform(DIM, DIM)], Base())
    with pytest.raises(UnsupportedLayersError, match=r"base \(Base\): it cannot be built without a context"):
        importers.read(flow)


def test_layers_of_ones_own_take_no_context():
    chain = importers.read(made("zuko MAF")).weights
    with pytest.raises(BadInputError, match="Expected layers that take no context beside a reference"):
        importers.importing.convert(chain, reference=nflows_flow(DIM))
