"""What cannot be carried is named; what was carried wrongly is seen; objects stay as they are."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import lunet_export
from lunet_export import importers
from lunet_export.checks import reference
from lunet_export.errors import BadInputError, CheckFailedError, CheckpointError, UnsupportedLayersError
from lunet_export.importers import nflows as nflows_importer
from lunet_export.importers import proof as proof_of_flows
from lunet_export.layers import LU, Permutation
from tests import tolerances
from tests.importers.peers import (
    PEERS,
    nflows_flow,
    nflows_lu,
    nflows_maf_feedforward,
    nflows_normalised,
    normflows_flow,
    package,
    rows,
    trained,
    zuko_flow,
    zuko_lu,
    zuko_maf,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of one part of the peers about another, and of PyTorch about them

DIM = 4


def log_prob(weights, x):
    return reference.log_prob(weights, x.numpy())


# Layers that are not carried


def nflows_splines():
    from nflows import transforms as t
    from nflows.nn.nets import ResidualNet

    spline = t.PiecewiseCubicCouplingTransform(
        torch.tensor([1, -1, 1, -1]), lambda i, o: ResidualNet(i, o, 8), tails="linear"
    )
    inner = t.CompositeTransform([spline, t.LULinear(DIM), t.PiecewiseLinearCDF([DIM], tails="linear")])
    masked = t.MaskedPiecewiseQuadraticAutoregressiveTransform(DIM, 8, tails="linear")
    return nflows_flow(DIM, t.LULinear(DIM), t.InverseTransform(inner), masked)


def nflows_images_of_splines():
    from nflows import transforms as t

    return nflows_flow(DIM, t.PiecewiseRationalQuadraticCDF((DIM, 2, 2), tails="linear"))


def nflows_images():
    from nflows import transforms as t

    return nflows_flow(DIM, t.OneByOneConvolution(DIM), t.SqueezeTransform(), t.LULinear(DIM))


def nflows_network():
    from nflows import transforms as t
    from nflows.nn.nets import ResidualNet

    mask = torch.tensor([1, -1, 1, -1])
    gelu = t.AffineCouplingTransform(mask, lambda i, o: ResidualNet(i, o, 8, activation=nn.functional.gelu))
    own = t.AffineCouplingTransform(mask, lambda i, o: Own(i, o))
    return nflows_flow(DIM, gelu, own)


class Own(nn.Module):
    def __init__(self, entering, leaving):
        super().__init__()
        self.inner = nn.Linear(entering, leaving)

    def forward(self, x, context=None):
        return self.inner(x)


def nflows_base():
    from nflows.distributions import ConditionalIndependentBernoulli
    from nflows.flows import Flow
    from nflows.transforms import LULinear

    return Flow(LULinear(DIM), ConditionalIndependentBernoulli([DIM]))


def zuko_polynomials():
    import zuko

    return zuko.flows.BPF(DIM, transforms=2)


def zuko_continuous():
    import zuko

    return zuko_flow(DIM, zuko.flows.continuous.FFJTransform(DIM), zuko.flows.ElementWiseTransform(DIM))


def zuko_normalised_network():
    import zuko

    return zuko.flows.RealNVP(DIM, transforms=1, hidden_features=(8,), normalize=True)


def normflows_others():
    import normflows as nf

    f = nf.flows
    return normflows_flow(DIM, f.ActNorm((DIM,)), f.LULinearPermute(DIM), f.BatchNorm(), f.Planar((DIM,)))


def torch_base():
    from torch.distributions import AffineTransform, Laplace, TransformedDistribution

    return TransformedDistribution(Laplace(torch.zeros(DIM), torch.ones(DIM)), [AffineTransform(1.0, 2.0)])


def glasflow_others():
    import glasflow

    scales = glasflow.flows.RealNVP(DIM, 1, scale_activation=torch.exp)
    none_changed = glasflow.flows.CouplingNSF(DIM, 1, mask=[-1] * DIM)
    return glasflow.flows.base.Flow(
        glasflow.nflows.transforms.CompositeTransform([scales._transform, none_changed._transform]),
        scales._distribution,
    )


REFUSED = {
    "layers of glasflow": (
        "glasflow",
        glasflow_others,
        {
            "_transform._transforms.0._transforms.0": "its scale activation is none of nflows' and glasflow's own",
            "_transform._transforms.1._transforms.0": "it changes no column",
        },
    ),
    "splines of nflows": (
        "nflows",
        nflows_splines,
        {
            f"_transform._transforms.{place}": f"piecewise {form} splines are not supported; "
            "rational-quadratic ones are"
            for place, form in (
                ("1._transform._transforms.0", "cubic"),
                ("1._transform._transforms.2", "linear"),
                ("2", "quadratic"),
            )
        },
    ),
    "splines of images of nflows": (
        "nflows",
        nflows_images_of_splines,
        {"_transform._transforms.0": "its numbers have the shape (4, 2, 2, 29), not a row's"},
    ),
    "images of nflows": (
        "nflows",
        nflows_images,
        {
            "_transform._transforms.0": "its class is not supported",
            "_transform._transforms.1": "its class is not supported",
        },
    ),
    "networks of nflows": (
        "nflows",
        nflows_network,
        {
            "_transform._transforms.0": "its network's activation is gelu",
            "_transform._transforms.1": "its network holds a Own",
        },
    ),
    "another base of nflows": (
        "nflows",
        nflows_base,
        {"_distribution": "its class is not supported"},
    ),
    "polynomials of zuko": (
        "zuko",
        zuko_polynomials,
        {
            f"transform.transforms.{i}": "its univariate transform is BoundedBernsteinTransform; affine, additive and "
            "rational-quadratic ones are supported"
            for i in range(2)
        },
    ),
    "a continuous flow of zuko": (
        "zuko",
        zuko_continuous,
        {"transform.transforms.0": "its class is not supported"},
    ),
    "a network of zuko": (
        "zuko",
        zuko_normalised_network,
        {"transform.transforms.0": "its network holds a LayerNorm"},
    ),
    "layers of normflows": (
        "normflows",
        normflows_others,
        {
            "flows.3": "its class is not supported",
            "flows.2": "its class is not supported",
            "flows.0": "it was never initialised: its numbers would come from the first rows that it sees",
        },
    ),
    "another base of PyTorch": ("torch", torch_base, {"base_dist": "its class is not supported"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_carried_is_named_with_its_place(name):
    library, make, wanted = REFUSED[name]
    package(library)
    flow = make()
    with pytest.raises(UnsupportedLayersError) as caught:
        importers.read(flow)
    assert {path: why for path, _, why in caught.value.layers} == wanted
    for path, kind, why in caught.value.layers:
        assert all(word in str(caught.value) for word in (path, kind, why))
    surveyed = importers.survey(flow)
    assert {part.path: part.refusal for part in surveyed if part.refusal is not None} == wanted


def test_the_rest_of_a_flow_with_splines_is_carried():
    package("nflows")
    parts = importers.survey(nflows_splines())
    kinds = {part.path: (part.kind, part.refusal is None) for part in parts}
    assert kinds["_transform._transforms.0"] == ("LULinear", True)
    assert kinds["_transform._transforms.1._transform._transforms.1"] == ("LULinear", True)


def test_what_is_no_flow_is_refused():
    for thing in (nn.Linear(2, 2), 3, None, {"a": 1}):
        with pytest.raises(
            BadInputError, match="Expected a flow or transform of FrEIA, glasflow, nflows, normflows, sbi, z"
        ):
            importers.read(thing)


def test_a_flow_of_no_known_width_is_refused():
    with pytest.raises(CheckpointError, match="Expected a flow that tells its number of dimensions"):
        importers.read(torch.distributions.AffineTransform(1.0, 2.0))


# Numbers that make no flow


def test_a_nan_is_named_with_its_layer():
    flow = nflows_lu(DIM)
    flow._transform._transforms[2].bias.data[1] = torch.nan
    with pytest.raises(
        CheckpointError, match=r"finite numbers in bias of _transform._transforms.2 \(LULinear\); got nan"
    ):
        importers.read(flow)


def test_a_matrix_without_inverse_is_named():
    import zuko

    flow = zuko_flow(DIM, zuko.lazy.UnconditionalTransform(zuko.transforms.LULinearTransform, torch.zeros(DIM, DIM)))
    with pytest.raises(CheckpointError, match=r"non-zero diagonal in L of transform.transforms.0 "):
        importers.read(flow)


def test_tensors_without_numbers_are_refused():
    with pytest.raises(CheckpointError, match="got tensors on the device meta"):
        importers.read(nflows_lu(DIM).to("meta"))


def test_a_border_that_the_normal_base_has_not_is_refused():
    package("nflows")
    from nflows.transforms import LULinear, Tanh

    with pytest.raises(CheckpointError, match="layers that reach every latent number"):
        importers.read(nflows_flow(DIM, LULinear(DIM), Tanh()))
    with pytest.raises(CheckpointError, match="layers that reach every latent number"):
        importers.read(nflows_flow(DIM, LULinear(DIM), Tanh(), LULinear(DIM)))


# Classes of the user's own


def test_a_subclass_that_replaces_a_direction_is_not_taken_for_its_base():
    package("nflows")
    from nflows.transforms import LULinear

    class Doubled(LULinear):
        def forward(self, inputs, context=None):
            return super().forward(2 * inputs, context)

    with pytest.raises(UnsupportedLayersError, match=r"transforms.0 \(Doubled\): its class is not supported"):
        importers.read(nflows_flow(DIM, Doubled(DIM)))


def test_a_subclass_that_computes_something_else_is_seen():
    package("nflows")
    from nflows.transforms import LULinear

    class Shifted(LULinear):
        def forward_no_cache(self, inputs):
            outputs, log_det = super().forward_no_cache(inputs)
            return outputs + 1e-6, log_det

    with pytest.raises(CheckFailedError, match="Expected the library's own log_prob; ours differs by"):
        importers.read(nflows_flow(DIM, Shifted(DIM), LULinear(DIM)))


def test_a_subclass_that_changes_nothing_is_its_base():
    package("nflows")
    from nflows.transforms import LULinear

    class Mine(LULinear):
        pass

    assert importers.read(nflows_flow(DIM, Mine(DIM))).proof.log_prob < 1e-12


# Planted faults: what the check must see

ORIGINAL = nflows_importer._LAYERS["nflows.LULinear"]


def _block(change):
    return lambda module, context: (change(*ORIGINAL(module, context)),)


FAULTS = {
    "another eps": (
        "nflows.LULinear",
        _block(lambda b: LU(b.lower, b.upper + 1e-8 * np.eye(DIM), b.bias)),
    ),
    "U transposed into L": (
        "nflows.LULinear",
        _block(lambda b: LU(np.ascontiguousarray(b.upper.T), np.ascontiguousarray(b.lower.T), b.bias)),
    ),
    "no bias": ("nflows.LULinear", _block(lambda b: LU(b.lower, b.upper, 0 * b.bias))),
    "no permutation": ("nflows.Permutation", lambda module, context: ()),
    "the inverse permutation": (
        "nflows.Permutation",
        lambda module, context: (Permutation(np.argsort(module._permutation.numpy())),),
    ),
    "no batch norm": ("nflows.BatchNorm", lambda module, context: ()),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_seen(name, monkeypatch):
    flow = trained(nflows_normalised(DIM), PEERS["nflows"], DIM)
    flow._transform._transforms[1]._transforms[1]._permutation.copy_(torch.tensor([2, 0, 1, 3]))
    importers.read(flow)
    kind, fault = FAULTS[name]
    monkeypatch.setitem(nflows_importer._LAYERS, kind, fault)
    with pytest.raises(CheckFailedError, match="Expected the library's own"):
        importers.read(flow)


# Contexts


def conditional_flows():
    from functools import partial

    import nflows.flows as nf
    import normflows
    import zuko
    from nflows import transforms as t
    from nflows.distributions import ConditionalDiagonalNormal, StandardNormal
    from nflows.nn.nets import ResidualNet

    masked = partial(t.MaskedAffineAutoregressiveTransform, DIM, 12, context_features=3, activation=torch.tanh)
    coupled = t.AffineCouplingTransform(
        torch.tensor([1, -1, 1, -1]), lambda i, o: ResidualNet(i, o, 9, context_features=3, use_batch_norm=True)
    )
    layers = t.CompositeTransform([masked(), t.LULinear(DIM), coupled, masked(use_residual_blocks=False)])
    base = ConditionalDiagonalNormal([DIM], nn.Linear(3, 2 * DIM))
    made = normflows.flows.MaskedAffineAutoregressive
    return {
        "nflows": (nf.Flow(layers, StandardNormal([DIM])), lambda f, x, c: f.log_prob(x, c)),
        "nflows, base and embedding": (
            nf.Flow(layers, base, embedding_net=nn.Linear(2, 3)),
            lambda f, x, c: f.log_prob(x, c[:, :2]),
        ),
        "zuko, autoregressive": (
            zuko.flows.MAF(DIM, 3, transforms=2, hidden_features=(12,)),
            lambda f, x, c: f(c).log_prob(x),
        ),
        "zuko, coupling": (
            zuko.flows.RealNVP(DIM, 3, transforms=2, hidden_features=(12,)),
            lambda f, x, c: f(c).log_prob(x),
        ),
        "zuko, elementwise": (
            zuko_flow(DIM, zuko.flows.ElementWiseTransform(DIM, 3)),
            lambda f, x, c: f(c).log_prob(x),
        ),
        "normflows": (
            normflows.ConditionalNormalizingFlow(
                normflows.distributions.DiagGaussian(DIM),
                [made(DIM, 12, context_features=3), normflows.flows.LULinearPermute(DIM)],
            ),
            lambda f, x, c: f.log_prob(x, c),
        ),
    }


CONDITIONAL = ("nflows", "nflows, base and embedding", "zuko, autoregressive", "zuko, coupling", "zuko, elementwise")


@pytest.mark.parametrize("name", [*CONDITIONAL, "normflows"])
@torch.no_grad()
def test_a_context_can_be_fixed(name):
    for library in ("nflows", "zuko", "normflows"):
        package(library)
    flow, theirs = conditional_flows()[name]
    for parameter in flow.parameters():
        parameter += 0.2 * torch.randn_like(parameter)
    flow.eval()
    x, c = torch.from_numpy(rows(30, DIM)), torch.tensor([0.3, -1.2, 0.8])
    given = c[:2] if "embedding" in name else c
    weights = importers.read(flow, context=given).weights
    wanted = theirs(flow, x, c.expand(30, 3)).numpy()
    assert (np.abs(log_prob(weights, x) - wanted) / np.maximum(1, np.abs(wanted))).max() < 1e-10
    other = importers.read(flow, context=given + 0.1).weights
    assert np.abs(log_prob(other, x) - wanted).max() > 1e-3
    assert (weights.context, importers.read(flow).weights.context.dim) == (None, len(given))
    with pytest.raises((UnsupportedLayersError, BadInputError), match=r"context|raised"):
        importers.read(flow, context=torch.zeros(7))


def test_a_context_that_nothing_takes_is_refused():
    with pytest.raises(UnsupportedLayersError, match="it takes no context, and one was given"):
        importers.read(zuko_maf(DIM), context=torch.zeros(3))


# What was given stays as it is


def test_the_object_is_not_changed():
    flow = nflows_maf_feedforward(DIM)
    flow.train()
    before, modes = copy.deepcopy(flow.state_dict()), [module.training for module in flow.modules()]
    importers.convert(flow)
    assert torch.get_default_dtype() == torch.float64  # of this folder's fixture
    assert [module.training for module in flow.modules()] == modes
    after = flow.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(parameter.requires_grad for parameter in flow.parameters())


def test_training_mode_makes_no_difference():
    flow = trained(nflows_maf_feedforward(DIM), PEERS["nflows"], DIM)
    assert importers.read(flow).weights.digest() == importers.read(flow.train()).weights.digest()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_flow_has_the_objects_dtype(dtype):
    torch.set_default_dtype(torch.float32)
    flow = nflows_lu(DIM).to(dtype)
    ours = lunet_export.convert(flow)
    assert next(ours.parameters()).dtype == dtype
    x = torch.from_numpy(rows(20, DIM)).to(dtype)
    with torch.no_grad():
        got, theirs = ours.log_prob(x).numpy(), flow.log_prob(x).numpy()
    # By float32 of both dtypes: nflows itself keeps constants in PyTorch's default, whatever the flow is moved to.
    allowed = tolerances.TWO * tolerances.of_density(importers.read(flow).weights, x.numpy())["log_prob"]
    tolerances.assert_within(got, theirs, allowed)
    assert tolerances.beyond(got[::-1], theirs, allowed) > 1


def test_halves_are_read_exactly():
    flow = nflows_lu(DIM).to(torch.bfloat16)
    assert importers.read(flow).weights.digest() == importers.read(flow.double()).weights.digest()


@torch.no_grad()
def test_distributions_and_transforms_are_taken():
    flow = trained(zuko_lu(DIM), PEERS["zuko"], DIM)
    x = torch.from_numpy(rows(20, DIM))
    wanted = flow().log_prob(x).numpy()
    for thing in (flow, flow()):
        assert np.allclose(log_prob(importers.read(thing).weights, x), wanted, rtol=1e-12)
    z, log_det = flow().transform.call_and_ladj(x)
    wanted = (reference.standard_normal_log_prob(z.numpy()) + log_det.numpy()).tolist()
    for thing in (flow.transform, flow().transform, flow.transform.inv.inv, flow().transform.inv.inv):
        assert np.allclose(log_prob(importers.read(thing).weights, x), wanted, rtol=1e-12)


@torch.no_grad()
def test_pytorchs_own_distributions_are_taken():
    from torch.distributions import AffineTransform, Independent, Normal, SigmoidTransform, TransformedDistribution

    loc, scale = torch.linspace(-1, 1, DIM), torch.linspace(0.5, 2, DIM)
    base = Independent(Normal(loc, scale), 1)
    flow = TransformedDistribution(base, [AffineTransform(loc, 0.5), SigmoidTransform()])
    weights = importers.read(flow).weights
    x = torch.from_numpy(rows(20, DIM, unit=True))
    assert np.allclose(log_prob(weights, x), flow.log_prob(x).numpy(), rtol=1e-12)


@torch.no_grad()
def test_float32_transforms_are_taken_as_they_were_computed():
    """A transform alone holds what it computed, a rotation in float32: no more can be asked of it."""
    torch.set_default_dtype(torch.float32)
    import zuko

    rotation = zuko.transforms.RotationTransform(torch.randn(DIM, DIM))
    proof = importers.read(rotation).proof
    assert proof_of_flows.LIMIT < proof.log_prob < proof_of_flows.LIMIT_OF_FLOAT32
