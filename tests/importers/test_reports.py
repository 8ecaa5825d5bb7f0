"""Public reports of people who export flows, rebuilt small, with a context as an input where there is one.

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
from lunet_export.importers.twin import in_float64, twin
from tests import tolerances
from tests.importers.peers import PEERS, freia_flow, package, rows

pytestmark = pytest.mark.filterwarnings("ignore")  # of sbi and what it stands on

CONTEXTS = 100


def likelihood(dim):
    """An estimator of p(x | theta), as the reports build it, with its rows and contexts."""
    package("sbi")
    from sbi.neural_nets import likelihood_nn

    torch.manual_seed(0)
    theta = torch.randn(300, 2)
    x = theta[:, :dim] + torch.randn(300, dim)
    return likelihood_nn("maf")(theta, x), x[:CONTEXTS], theta[:CONTEXTS]


@pytest.mark.parametrize("dim", [1, 2])
@torch.no_grad()
def test_a_likelihood_is_right_at_every_context_and_its_graphs_suit_other_readers(dim):
    estimator, x, theta = likelihood(dim)
    weights = importers.read(estimator).weights
    with in_float64():
        own = twin(estimator)
        nflows._settle(own)
        theirs = own.log_prob(x.double()[None], theta.double())[0].numpy()
    rows, contexts = x.double().numpy(), theta.double().numpy()
    np.testing.assert_allclose(reference.log_prob(weights, rows, contexts), theirs, rtol=1e-10, atol=1e-10)
    artifact = build_artifact(weights, Provenance("nle"), ExportSettings())
    flow = ExportedFlow(artifact, provider="cpu", threads=1)
    allowed = RoundingModel(weights, "float32").density(rows, contexts)["log_prob"]
    tolerances.assert_within(flow.log_prob(rows, context=contexts), theirs, allowed)
    assert tolerances.beyond(flow.log_prob(rows, context=contexts[::-1]), theirs, allowed) > 1
    for data in artifact.graphs.values():
        for node, constants in of(onnx.load_from_string(data)):
            for constant in constants:
                assert constant.size, node.name
                if constant.dtype == np.int64:
                    assert np.abs(constant).max() < 2**31, node.name


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
