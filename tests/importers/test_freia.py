"""FrEIA's own traps: directions, clamps far out, rotations in float32, graphs, conditions, and what is refused."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import lunet_export
from lunet_export import importers
from lunet_export.checks import reference
from lunet_export.errors import BadInputError, CheckFailedError, CheckpointError, UnsupportedLayersError
from lunet_export.importers import freia, importing
from lunet_export.importers.parts import inverted_parts
from lunet_export.layers import AffineAutoregressive, Permutation
from lunet_export.layers import networks as networks_of_layers
from tests import tolerances
from tests.importers.peers import (
    PEERS,
    freia_all_in_one,
    freia_flow,
    freia_glow,
    freia_net,
    freia_soft,
    in_float64,
    learned,
    package,
    rows,
    trained,
)
from tests.importers.test_conditional import freia_graph
from tests.importers.test_interop import LIMIT, gap
from tests.importers.test_layers import carried, freia_layers

pytestmark = pytest.mark.filterwarnings("ignore")  # of FrEIA about PyTorch
framework, modules = package("FrEIA").framework, package("FrEIA").modules

DIM = 6
NET = {"subnet_constructor": freia_net}


def far(entering, leaving, reach=100.0):
    """A network whose numbers are up to 100, by its bias: with a steep one, an inverse would have no digits."""
    net = freia_net(entering, leaving)
    with torch.no_grad():
        net[2].bias += torch.linspace(-reach, reach, leaving)
    return net


def graph(*nodes):
    """A chain of nodes by their classes and options."""
    found = [framework.InputNode(DIM)]
    for kind, options in nodes:
        found.append(framework.Node(found[-1], getattr(modules, kind), options))
    return framework.GraphINN([*found, framework.OutputNode(found[-1])])


def sequence(*blocks):
    """A `SequenceINN` in FrEIA's own dtype."""
    flow = framework.SequenceINN(DIM)
    for kind, options in blocks:
        flow.append(getattr(modules, kind), **options)
    return flow


@torch.no_grad()
def moved(flow):
    for parameter in learned(flow):
        parameter += 0.2 * torch.randn_like(parameter)
    return flow


@torch.no_grad()
def assert_is(flow, weights, x, *, context=None, conditions=None):
    """Both directions of the flow, with their log-determinants, are FrEIA's own."""
    arguments = {} if context is None else {"c": conditions or [torch.from_numpy(context)]}
    z, log_det = flow(torch.from_numpy(x), **arguments)
    ours, log_prob = reference.encode(weights, x, context)[0], reference.log_prob(weights, x, context)
    theirs = reference.standard_normal_log_prob(z.numpy()) + torch.as_tensor(log_det).expand(len(x)).numpy()
    assert gap(ours, z.numpy()) < LIMIT
    assert gap(log_prob, theirs) < LIMIT
    assert gap(reference.decode(weights, z.numpy(), context), flow(z, rev=True, **arguments)[0].numpy()) < LIMIT


# Every block, backwards


@torch.no_grad()
def test_each_block_backwards_is_that_of_freia():
    x = np.random.default_rng(0).uniform(-2, 2, (50, 4))
    for name, (block, _) in freia_layers().items():
        if name != "OrthogonalTransform":
            moved(block)
        _, reading = importing.reading_of(block, None)
        backwards = [layer.spread(4) for part in inverted_parts(reading.parts) for layer in part.layers]
        (y,), _ = block((torch.from_numpy(x),))
        (theirs,), their_log_det = block((y,), rev=True)
        if name == "LearnedElementwiseScaling":  # FrEIA's own keeps its sign backwards
            their_log_det = -their_log_det
        ours, log_det = carried(backwards, y.numpy())
        assert gap(ours, theirs.numpy()) < LIMIT, name
        assert gap(log_det, torch.as_tensor(their_log_det).expand(50).numpy()) < LIMIT, name


# Clamps


@pytest.mark.parametrize("clamp", ["ATAN", "TANH", "SIGMOID"])
@pytest.mark.parametrize(
    "kind", ["GLOWCouplingBlock", "RNVPCouplingBlock", "GINCouplingBlock", "AffineCouplingOneSided"]
)
@torch.no_grad()
def test_clamps_are_right_far_out(kind, clamp):
    flow = freia_flow(DIM, (kind, {"subnet_constructor": far, "clamp": 1.9, "clamp_activation": clamp}))
    weights, x = importers.read(flow).weights, 3 * rows(100, DIM)
    assert largest(weights, x) > (45 if clamp == "SIGMOID" else 90)  # whose half is the layer's
    assert_is(flow, weights, x)


@torch.no_grad()
def test_the_clamp_of_an_all_in_one_block_is_right_far_out():
    flow = freia_flow(DIM, ("AllInOneBlock", {"subnet_constructor": lambda i, o: far(i, o, 1000.0)}))
    weights, x = importers.read(flow).weights, 3 * rows(100, DIM)
    assert largest(weights, x) > 90
    assert_is(flow, weights, x)


def largest(weights, x):
    """The largest number u that a network of the first coupling gives."""
    layer = next(layer for layer in weights.layers if isinstance(layer, AffineAutoregressive))
    found = networks_of_layers.apply(layer.network, x[:, layer.inputs])
    return np.abs(found[:, len(layer.changed) :]).max()


# Whole flows


STACKS = {"as IKFlow": freia_glow, "as anomalib": freia_all_in_one, "soft": freia_soft}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", STACKS)
@torch.no_grad()
def test_stacks_are_exported_in_both_dtypes(name, dtype, tmp_path):
    flow = trained(STACKS[name](DIM), PEERS["FrEIA"], DIM)
    weights, x = importers.read(flow).weights, rows(40, DIM, seed=1)
    assert_is(flow, weights, x)
    ours = lunet_export.convert(flow)
    exported = lunet_export.export(ours, tmp_path / "flow", dtype=dtype)
    assert lunet_export.check(tmp_path / "flow", model=ours, provider="cpu")
    theirs = PEERS["FrEIA"].log_prob(flow, torch.from_numpy(x)).numpy()
    allowed = tolerances.of_density(weights, x, dtype)["log_prob"]
    tolerances.assert_within(exported.log_prob(x.astype(dtype)), theirs, allowed)
    assert tolerances.beyond(exported.log_prob(x[::-1].astype(dtype)), theirs, allowed) > 1
    z = np.random.default_rng(3).standard_normal((40, DIM))
    data = PEERS["FrEIA"].data(flow, torch.from_numpy(z)).numpy()
    tolerances.assert_within(exported.decode(z.astype(dtype)), data, tolerances.of_sampling(weights, z, dtype)["x"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@torch.no_grad()
def test_a_conditional_graph_is_exported_in_both_dtypes(dtype, tmp_path):
    flow = moved(freia_graph())
    weights = importers.read(flow).weights
    x, c = rows(40, 4, seed=1), np.random.default_rng(4).standard_normal((40, 3))
    assert_is(flow, weights, x, context=c)
    ours = lunet_export.convert(flow)
    exported = lunet_export.export(ours, tmp_path / "flow", dtype=dtype)
    assert lunet_export.check(tmp_path / "flow", model=ours, provider="cpu")
    z, log_det = flow(torch.from_numpy(x), c=[torch.from_numpy(c)])
    theirs = reference.standard_normal_log_prob(z.numpy()) + log_det.numpy()
    allowed = tolerances.of_density(weights, x, dtype, c)["log_prob"]
    tolerances.assert_within(exported.log_prob(x.astype(dtype), context=c.astype(dtype)), theirs, allowed)
    assert tolerances.beyond(exported.log_prob(x.astype(dtype), context=c[::-1].astype(dtype)), theirs, allowed) > 1


# Graphs and sequences


@torch.no_grad()
def test_the_graph_and_its_nodes_stay_as_they_are():
    """Nodes hold modules of their own accord: a copy of the graph alone would still run the user's."""
    flow = graph(("PermuteRandom", {"seed": 1}), ("GLOWCouplingBlock", NET), ("ActNorm", {})).float()
    flow(torch.randn(20, DIM, dtype=torch.float32))
    nodes, before = list(flow.node_list), copy.deepcopy(flow.state_dict())
    importers.read(flow)
    assert list(flow.node_list) == nodes
    assert [node.module for node in nodes if node.module is not None] == list(flow.module_list)
    assert all(torch.equal(before[key], value) for key, value in flow.state_dict().items())
    assert {parameter.dtype for parameter in learned(flow)} == {torch.float32}
    z, _ = flow(torch.randn(5, DIM, dtype=torch.float32))
    assert z.dtype == torch.float32


def test_a_graph_longer_than_the_recursion_limit_is_read():
    flow = graph(*(("LearnedElementwiseScaling", {}) for _ in range(400)))
    assert len(importers.survey(flow)) == 400


@pytest.mark.parametrize("force", [False, True])
@torch.no_grad()
def test_an_output_in_a_tuple_changes_nothing(force):
    for flow in (sequence(("GLOWCouplingBlock", NET)), graph(("GLOWCouplingBlock", NET))):
        plain = importers.read(flow).weights.digest()
        flow.force_tuple_output = force
        assert importers.read(flow).weights.digest() == plain


@torch.no_grad()
def test_the_classes_that_were_renamed_are_read():
    built = graph(("PermuteRandom", {"seed": 1}), ("GLOWCouplingBlock", NET))
    old = framework.ReversibleGraphNet([*built.in_nodes, *built.node_list[1:-1], *built.out_nodes], verbose=False)
    assert importers.read(old).weights.digest() == importers.read(built).weights.digest()
    old = framework.ReversibleSequential(DIM)
    old.append(modules.GLOWCouplingBlock, **NET)
    assert_is(old, importers.read(old).weights, rows(30, DIM))


@torch.no_grad()
def test_a_sequence_inside_a_graph_is_read():
    inner = framework.SequenceINN(DIM, force_tuple_output=True)
    inner.append(modules.GLOWCouplingBlock, cond=0, cond_shape=(3,), **NET)
    inner.append(modules.PermuteRandom)
    first, condition = framework.InputNode(DIM), framework.ConditionNode(3)
    node = framework.Node(first, lambda dims, dims_c: inner, {}, conditions=condition)
    flow = moved(framework.GraphINN([first, node, framework.OutputNode(node), condition]).double())
    found = importers.read(flow)
    assert [part.path for part in found.parts] == ["module_list.0.module_list.0", "module_list.0.module_list.1"]
    context = np.random.default_rng(0).standard_normal((30, 3))
    assert_is(flow, found.weights, rows(30, DIM), context=context)


# Conditions


def of_two_conditions():
    """Blocks of a list `c` whose place 1 nothing takes: of 2 numbers, of 3, and of both."""
    first, unused, small, large = framework.InputNode(DIM), *(framework.ConditionNode(size) for size in (1, 2, 3))
    a = framework.Node(first, modules.GLOWCouplingBlock, NET, conditions=small)
    b = framework.Node(a, modules.RNVPCouplingBlock, NET, conditions=[large, small])
    c = framework.Node(b, modules.ConditionalAffineTransform, NET, conditions=[large])
    nodes = [first, a, b, c, framework.OutputNode(c), small, unused, large]
    return moved(framework.GraphINN(nodes).double())


@torch.no_grad()
def test_several_conditions_are_one_context_side_by_side():
    flow, x, c = of_two_conditions(), rows(30, DIM), np.random.default_rng(0).standard_normal((30, 6))
    weights = importers.read(flow).weights
    conditions = [torch.from_numpy(c[:, part]) for part in (slice(0, 2), slice(2, 3), slice(3, 6))]
    assert weights.context.dim == 6
    assert_is(flow, weights, x, context=c, conditions=conditions)
    fixed = importers.read(flow, context=torch.from_numpy(c[4])).weights
    assert fixed.context is None
    assert gap(reference.log_prob(fixed, x), reference.log_prob(weights, x, c[4])) < LIMIT


@torch.no_grad()
def test_a_sequence_may_leave_places_of_its_conditions_out():
    flow = framework.SequenceINN(DIM)
    for place, size in ((3, 2), (None, None), (1, 4)):
        options = {} if place is None else {"cond": place, "cond_shape": (size,)}
        flow.append(modules.GLOWCouplingBlock, **options, **NET)
    moved(flow.double())
    c = np.random.default_rng(0).standard_normal((30, 6))
    conditions = [None, torch.from_numpy(c[:, :4]), None, torch.from_numpy(c[:, 4:])]
    assert_is(flow, importers.read(flow).weights, rows(30, DIM), context=c, conditions=conditions)


def test_a_context_that_does_not_fit_gets_a_sentence():
    with pytest.raises(BadInputError, match=r"^Expected a context of 6 numbers, as many as .* have; got 5\.$"):
        importers.read(of_two_conditions(), context=torch.zeros(5))
    with pytest.raises(BadInputError, match=r"^Expected no context: this flow has no conditions, and one was given\."):
        importers.read(freia_glow(DIM), context=torch.zeros(5))


# Rotations that float32 rounded


@pytest.mark.parametrize("reflections", [0, 2])
@torch.no_grad()
def test_rotations_are_orthogonal_where_freia_takes_them_for_it(reflections):
    """FrEIA's log-determinant leaves out what float32 does to its rotations, and its inverse is their transpose."""
    torch.set_default_dtype(torch.float32)
    options = {"permute_soft": True, "learned_householder_permutation": reflections, **NET}
    flow = sequence(("AllInOneBlock", options), ("HouseholderPerm", {"n_reflections": 3, "fixed": True}))
    proof = importers.read(flow).proof
    assert max(proof.log_prob, proof.latent, proof.inverse) < 1e-12
    x = torch.from_numpy(rows(40, DIM)).float()
    ours, theirs = importers.convert(flow).log_prob(x).numpy(), PEERS["FrEIA"].log_prob(flow, x).numpy()
    allowed = tolerances.TWO * tolerances.of_density(importers.read(flow).weights, x.numpy())["log_prob"]
    tolerances.assert_within(ours, theirs, allowed)


@pytest.mark.parametrize(
    ("kind", "options", "name"),
    [
        ("AllInOneBlock", {"permute_soft": True, **NET}, "w_perm"),
        ("AllInOneBlock", {"learned_householder_permutation": 2, **NET}, "w_0"),
        ("HouseholderPerm", {"n_reflections": 2, "fixed": True}, "W"),
        ("OrthogonalTransform", {}, "weights"),
    ],
)
@torch.no_grad()
def test_a_matrix_further_from_a_rotation_is_refused(kind, options, name):
    flow = sequence((kind, options))
    getattr(flow.module_list[0], name)[0, 0] += 1e-3
    with pytest.raises(UnsupportedLayersError, match=r"its matrix is [0-9.]+e-0[34] off an orthogonal one, and F"):
        importers.read(flow)


@torch.no_grad()
def test_an_inverse_of_another_rotation_is_refused():
    flow = sequence(("AllInOneBlock", NET))
    flow.module_list[0].w_perm_inv.copy_(flow.module_list[0].w_perm_inv.roll(1, 0))
    with pytest.raises(UnsupportedLayersError, match="its matrix w_perm_inv is not the inverse of its w_perm"):
        importers.read(flow)


# Planted faults


def without_a_tenth(subnet, count, factor, of_shift=1.0):
    return JOINT(subnet, count, 1.0 if factor == 0.1 else factor, 1.0)


def a_tenth_of_the_scale_alone(subnet, count, factor, of_shift=1.0):
    return JOINT(subnet, count, factor, 1.0)


def scale_and_shift_exchanged(subnet, count, factor, of_shift=1.0):
    found = JOINT(subnet, count, factor, of_shift)
    last = found[-1]
    return (*found[:-1], replace(last, weight=np.roll(last.weight, count, 0), bias=np.roll(last.bias, count)))


def permuted_first(module, conditions):
    coupled, affine, order = ALL_IN_ONE(module, conditions)
    return (order, coupled, affine)


def scaled_last(module, conditions):
    coupled, affine, order = ALL_IN_ONE(module, conditions)
    return (coupled, order, affine)


def permuted_backwards(module, conditions):
    coupled, affine, order = ALL_IN_ONE(module, conditions)
    return (coupled, affine, Permutation(np.argsort(order.order)))


def softplus_of_beta_one(module, conditions):
    coupled, affine, order = ALL_IN_ONE(module, conditions)
    scale = 0.1 * torch.nn.functional.softplus(module.global_scale).numpy()[0]
    return (coupled, replace(affine, scale=scale), order)


def not_centred(module, conditions):
    return freia._two_sided(module, conditions)


def left_side_last(module, conditions):
    return tuple(reversed(freia._two_sided(module, conditions)))


JOINT, ALL_IN_ONE = freia._joint, freia._all_in_one
ALL = "FrEIA.AllInOneBlock"
FAULTS = {
    "no factor of 0.1": (freia_all_in_one, "_joint", without_a_tenth),
    "the factor of 0.1 for scales alone": (freia_all_in_one, "_joint", a_tenth_of_the_scale_alone),
    "s and t exchanged": (freia_glow, "_joint", scale_and_shift_exchanged),
    "permutation first": (freia_all_in_one, ALL, permuted_first),
    "global affine last": (freia_all_in_one, ALL, scaled_last),
    "the inverse permutation": (freia_all_in_one, ALL, permuted_backwards),
    "softplus of beta 1": (freia_all_in_one, ALL, softplus_of_beta_one),
    "sides exchanged": (freia_glow, "FrEIA.GLOWCouplingBlock", left_side_last),
    "GIN not centred": (
        lambda dim: freia_flow(dim, ("GINCouplingBlock", NET)),
        "FrEIA.GINCouplingBlock",
        not_centred,
    ),
    "atan without 0.636": (freia_glow, "_CLAMPS", (("atan", 2 / np.pi, *freia._CLAMPS[0][2:]),)),
    "sigmoid of a whole u": (
        lambda dim: freia_flow(dim, ("GLOWCouplingBlock", {**NET, "clamp_activation": "SIGMOID"})),
        "_CLAMPS",
        (("tanh", 1.0, 1.0, freia._CLAMPS[2][3]),),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_seen(name, monkeypatch):
    make, part, fault = FAULTS[name]
    flow = moved(make(DIM))
    for block in flow.module_list:
        if hasattr(block, "w_perm"):  # one that is not its own inverse
            block.w_perm.data.copy_(torch.eye(DIM).roll(1, 0))
            block.w_perm_inv.data.copy_(block.w_perm.T)
    importers.read(flow)
    if part.startswith("FrEIA"):
        monkeypatch.setitem(freia._LAYERS, part, fault)
    else:
        monkeypatch.setattr(freia, part, fault)
    with pytest.raises(CheckFailedError, match="Expected the library's own"):
        importers.read(flow)


def test_the_other_direction_is_seen(monkeypatch):
    monkeypatch.setattr(freia, "_walk", lambda *given: inverted_parts(WALK(*given)))
    with pytest.raises(CheckFailedError, match="Expected the library's own"):
        importers.read(moved(freia_glow(DIM)))


WALK = freia._walk


# Refusals


def split_graph():
    first = framework.InputNode(DIM)
    split = framework.Node(first, modules.Split, {})
    turned = framework.Node(split.out0, modules.PermuteRandom, {})
    joined = framework.Node([turned.out0, split.out1], modules.Concat, {})
    return framework.GraphINN([first, split, turned, joined, framework.OutputNode(joined)])


def graph_of_two_inputs():
    first, second = framework.InputNode(DIM), framework.InputNode(DIM)
    joined = framework.Node([first.out0, second.out0], modules.Concat, {})
    return framework.GraphINN([first, second, joined, framework.OutputNode(joined)])


def images():
    flow = framework.SequenceINN(2, 4, 4)
    flow.append(modules.HaarDownsampling)
    flow.append(modules.AllInOneBlock, subnet_constructor=lambda i, o: nn.Conv2d(i, o, 3, padding=1))
    flow.append(modules.ActNorm)
    flow.append(modules.Flatten)
    flow.append(modules.PermuteRandom)
    return flow


def conditional_reflections():
    flow = framework.SequenceINN(DIM)
    flow.append(modules.HouseholderPerm, cond=0, cond_shape=(2 * DIM,), n_reflections=2)
    return flow


IMAGES = "it takes images of shape {}: flows of rows are supported; images need layers for convolutions, for moving "
IMAGES += "pixels to channels, and for splits over channels"
CHAIN = "chains of nodes are supported, from one InputNode to one OutputNode, without Split and Concat"
REFUSED = {
    "branches": (split_graph, {"the transform itself": f"it has branches at a Split; {CHAIN}"}),
    "two inputs": (graph_of_two_inputs, {"the transform itself": f"it has several inputs or outputs; {CHAIN}"}),
    "images": (
        images,
        {
            "module_list.0": IMAGES.format((2, 4, 4)),
            "module_list.1": IMAGES.format((8, 2, 2)),
            "module_list.2": IMAGES.format((8, 2, 2)),
            "module_list.3": IMAGES.format((8, 2, 2)),
        },
    ),
    "a clamp of one's own": (
        lambda: sequence(("GLOWCouplingBlock", {**NET, "clamp_activation": lambda u: u / (1 + u.abs())})),
        {
            "module_list.0": "its clamp is a function of your own, whose formula is not known; ATAN, TANH and SIGMOID "
            "are supported"
        },
    ),
    "an ActNorm that saw no rows": (
        lambda: sequence(("ActNorm", {})),
        {"module_list.0": "it was never initialised: its numbers would come from the first rows that it sees"},
    ),
    "an i-ResNet": (
        lambda: sequence(("IResNetLayer", {})),
        {"module_list.0": "its inverse is an iteration, and its log-determinant an estimate by random numbers"},
    ),
    "conditional reflections": (
        conditional_reflections,
        {"module_list.0": "its reflections are a condition; those that it holds itself are supported"},
    ),
    "a network of one's own": (
        lambda: sequence(("GLOWCouplingBlock", {"subnet_constructor": lambda i, o: nn.Sequential(nn.GELU())})),
        {"module_list.0": "its network holds a GELU"},
    ),
    "other classes": (lambda: sequence(("InvAutoFC", {})), {"module_list.0": "its class is not supported"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_is_named_with_its_place(name):
    make, wanted = REFUSED[name]
    flow = make()
    with pytest.raises(UnsupportedLayersError) as caught:
        importers.read(flow)
    assert {path: why for path, _, why in caught.value.layers} == wanted
    assert {part.path: part.refusal for part in importers.survey(flow) if part.refusal} == wanted


def test_an_act_norm_is_not_initialised_by_reading_it():
    flow = sequence(("ActNorm", {}), ("GLOWCouplingBlock", NET))
    importers.survey(flow)
    assert flow.module_list[0].init_on_next_batch
    assert not flow.module_list[0].scale.any()


def test_a_sigmoid_at_the_end_reaches_no_normal_latents():
    with pytest.raises(CheckpointError, match="Expected layers that reach every latent number"):
        importers.read(sequence(("GLOWCouplingBlock", NET), ("InvertibleSigmoid", {})))


def test_a_graph_whose_nodes_share_an_output_is_refused():
    flow = graph(("LearnedElementwiseScaling", {}), ("LearnedElementwiseScaling", {}))
    second, last = flow.node_list[2], flow.out_nodes[0]
    last.inputs = [(flow.node_list[1], 0)]
    assert second is not last
    with pytest.raises(UnsupportedLayersError, match="several of its nodes take the output of one; chains of nodes"):
        importers.survey(flow) and importers.read(flow)


def test_in_float64_leaves_permutations():
    """What these tests do to FrEIA's flows leaves hard permutations as they are."""
    flow = freia_all_in_one(DIM)
    before = [block.w_perm.clone() for block in flow.module_list]
    assert all(torch.equal(old, block.w_perm) for old, block in zip(before, in_float64(flow).module_list, strict=True))
