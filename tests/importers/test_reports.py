"""Public reports of people who export flows, rebuilt small, with a context as an input where there is one.

pytorch #126549 (zuko's NSF), normalizing-flows #74 (splines with LU layers), piper1-gpl #101, #148, #287 (the spline
of VITS): PyTorch's exporters find no bin, or trace the branch of the rows at hand.
sbi #373: a spline raises for rows on or beyond its bound.
LANfactory #79 and #86 (sbi's NLE to ONNX for HSSM): PyTorch's exporter writes ends of slices that no int32 holds.
LANfactory, exporting_sbi_models.md: a MAF of one dimension has products of no columns, which other readers refuse.
FrEIA #88, cflow-ad #32, pytorch #90169: an AllInOneBlock with its softplus of beta 0.5 and a soft permutation.
onnx #3033, pytorch #30517: distributions of `torch.distributions` as a graph, here one with correlated columns.
"""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from lunet_export import ExportedFlow, importers, noise
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.importers import nflows
from lunet_export.importers.twin import twin
from tests import tolerances
from tests.importers.peers import PEERS, freia_flow, learned, nflows_flow, normflows_flow, package, rows
from tests.importers.test_interop import LIMIT, gap

pytestmark = pytest.mark.filterwarnings("ignore")  # of sbi and what it stands on

CONTEXTS = 100
BATCHES = (1, 3, 40)


def likelihood(name, dim):
    """An estimator of p(x | theta), as the reports build it, with its rows and contexts."""
    package("sbi")
    from sbi.neural_nets import likelihood_nn

    torch.set_default_dtype(torch.float32)  # all that sbi trains in
    torch.manual_seed(0)
    theta = torch.randn(300, 2)
    x = theta[:, :dim] + torch.randn(300, dim)
    estimator = likelihood_nn(name)(theta, x)
    torch.set_default_dtype(torch.float64)
    return moved(estimator), x[:CONTEXTS].double().numpy(), theta[:CONTEXTS].double().numpy()


def moved(flow):
    """The flow in float64, with numbers away from its start."""
    for parameter in learned(flow):
        parameter += 0.2 * torch.randn_like(parameter)
    own = twin(flow)
    nflows._settle(own)
    return own.eval()


def assert_right(flow, library, x, z, *contexts):
    """Both graphs give the library's own answers for rows x and latents z, in batches of any size.

    In float64 within 1e-10, in float32 within tolerance; and they suit readers of int32.
    """
    weights, peer, theirs = importers.read(flow).weights, PEERS[library], [torch.from_numpy(c) for c in contexts]
    log_prob = peer.log_prob(flow, torch.from_numpy(x), *theirs).numpy()
    data = peer.data(flow, torch.from_numpy(z), *theirs).numpy()
    assert gap(reference.log_prob(weights, x, *contexts), log_prob) < LIMIT
    density = tolerances.of_density(weights, x, "float32", *contexts)["log_prob"]
    sampling = tolerances.of_sampling(weights, z, "float32", *contexts)["x"]
    for dtype in ("float32", "float64"):
        artifact = build_artifact(weights, Provenance("report"), ExportSettings(dtype=dtype))
        exported = ExportedFlow(artifact, provider="cpu", threads=1)
        assert_suits_int32(artifact)
        for count in (*BATCHES, len(x)):
            given = {"context": contexts[0][:count]} if contexts else {}
            got = (
                exported.log_prob(x[:count].astype(dtype), **given),
                exported.decode(z[:count].astype(dtype), **given),
            )
            if dtype == "float64":
                assert max(map(gap, got, (log_prob[:count], data[:count]))) < LIMIT
                continue
            tolerances.assert_within(got[0], log_prob[:count], density[:count])
            tolerances.assert_within(got[1], data[:count], sampling[:count])
        if dtype == "float32":  # in any other order they are not
            assert tolerances.beyond(got[0][::-1], log_prob, density) > 1
            assert tolerances.beyond(got[1][::-1], data, sampling) > 1


def assert_suits_int32(artifact):
    for data in artifact.graphs.values():
        for node, constants in of(onnx.load_from_string(data)):
            for constant in constants:
                assert constant.size, node.name
                if constant.dtype == np.int64:
                    assert np.abs(constant).max() < 2**31, node.name


@pytest.mark.parametrize(("name", "dim"), [("maf", 1), ("maf", 2), ("nsf", 1), ("nsf", 2)])
@torch.no_grad()
def test_a_likelihood_is_right_at_every_context_and_its_graphs_suit_other_readers(name, dim):
    estimator, x, theta = likelihood(name, dim)
    assert_right(estimator, "sbi", x, latents(CONTEXTS, dim), theta)


def latents(count, dim):
    """Some of which lie outside of every box."""
    return 3 * np.random.default_rng(3).standard_normal((count, dim))


@torch.no_grad()
def test_the_spline_flow_of_zukos_quick_start_is_right():
    torch.manual_seed(0)
    flow = package("zuko").flows.NSF(2, transforms=3, hidden_features=(16, 16))
    assert_right(moved(flow), "zuko", 3 * rows(64, 2), latents(64, 2))


@torch.no_grad()
def test_splines_with_lu_layers_are_right():
    f = package("normflows").flows
    torch.manual_seed(0)
    layers = [
        layer for _ in range(3) for layer in (f.AutoregressiveRationalQuadraticSpline(2, 1, 16), f.LULinearPermute(2))
    ]
    assert_right(moved(normflows_flow(2, *layers)), "normflows", 2 * rows(64, 2), latents(64, 2))


@torch.no_grad()
def test_a_spline_alone_is_right():
    package("nflows")
    from nflows.transforms import PiecewiseRationalQuadraticCDF

    torch.manual_seed(0)
    spline = PiecewiseRationalQuadraticCDF([4], num_bins=10, tails="linear", tail_bound=5.0)
    for parameter in spline.parameters():
        parameter.copy_(torch.randn_like(parameter))
    assert_right(moved(nflows_flow(4, spline)), "nflows", 4 * rows(64, 4), latents(64, 4))


@pytest.mark.parametrize("value", [2.99, 3.0, 3.01, -3.0, -1e3])
@torch.no_grad()
def test_rows_on_and_beyond_the_bound_are_right_whatever_was_exported(value):
    package("nflows")
    from nflows.nn.nets import ResidualNet
    from nflows.transforms import PiecewiseRationalQuadraticCouplingTransform

    def net(entering, leaving):
        return ResidualNet(entering, leaving, 16, context_features=3)

    torch.manual_seed(0)
    spline = PiecewiseRationalQuadraticCouplingTransform(torch.tensor([1, 0, 1]), net, tails="linear", tail_bound=3.0)
    flow = moved(nflows_flow(3, spline))
    x = np.concatenate([np.full((40, 3), value), rows(24, 3)])
    assert_right(flow, "nflows", x, x, np.random.default_rng(0).standard_normal((64, 3)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@torch.no_grad()
def test_an_all_in_one_block_with_a_soft_permutation_is_right_in_both_directions(dtype):
    def subnet(entering, leaving):
        return nn.Sequential(nn.Linear(entering, 32), nn.ReLU(), nn.Linear(32, leaving))

    torch.manual_seed(0)
    flow = freia_flow(6, ("AllInOneBlock", {"subnet_constructor": subnet, "permute_soft": True}))
    block = flow.module_list[0]
    block.global_scale.copy_(10.0 + torch.randn(1, 6))
    block.global_offset.copy_(torch.randn(1, 6))
    weights, x, z = importers.read(flow).weights, rows(64, 6), rows(64, 6, seed=1)
    artifact = build_artifact(weights, Provenance("block"), ExportSettings(dtype=dtype))
    exported = ExportedFlow(artifact, provider="cpu", threads=1)
    theirs = PEERS["FrEIA"].log_prob(flow, torch.from_numpy(x)).numpy()
    allowed = tolerances.of_density(weights, x, dtype)["log_prob"]
    tolerances.assert_within(exported.log_prob(x.astype(dtype)), theirs, allowed)
    assert tolerances.beyond(exported.log_prob(x[::-1].astype(dtype)), theirs, allowed) > 1
    data = PEERS["FrEIA"].data(flow, torch.from_numpy(z)).numpy()
    tolerances.assert_within(exported.decode(z.astype(dtype)), data, tolerances.of_sampling(weights, z, dtype)["x"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@torch.no_grad()
def test_a_distribution_with_correlated_columns_becomes_a_graph(dtype):
    from torch.distributions import MultivariateNormal, SigmoidTransform, TransformedDistribution

    torch.manual_seed(0)
    root = torch.tril(torch.randn(4, 4)) + 3 * torch.eye(4)
    own = TransformedDistribution(MultivariateNormal(torch.zeros(4), scale_tril=root), [SigmoidTransform()])
    weights = importers.read(own).weights
    settings = ExportSettings(dtype=dtype)
    flow = ExportedFlow(build_artifact(weights, Provenance("report"), settings), provider="cpu", threads=1)
    x = own.sample((CONTEXTS,)).numpy().astype(dtype)
    theirs = own.log_prob(torch.from_numpy(x.astype(np.float64))).numpy()
    allowed = RoundingModel(weights, dtype).density(x.astype(np.float64))["log_prob"]
    tolerances.assert_within(flow.log_prob(x), theirs, allowed)
    z = noise.normal(0, range(CONTEXTS), 4).astype(dtype)
    theirs = torch.sigmoid(torch.from_numpy(z.astype(np.float64)) @ root.T).numpy()
    tolerances.assert_within(flow.decode(z), theirs, RoundingModel(weights, dtype).sampling(z.astype(np.float64))["x"])


def of(model):
    """The nodes of a graph, each with the constants that it reads."""
    known = {entry.name: onnx.numpy_helper.to_array(entry) for entry in model.graph.initializer}
    return [(node, [known[name] for name in node.input if name in known]) for node in model.graph.node]
