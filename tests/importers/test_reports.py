"""Public reports of people who export conditional likelihoods, rebuilt small, with the context as an input.

LANfactory #79 and #86 (sbi's NLE to ONNX for HSSM): PyTorch's exporter writes ends of slices that no int32 holds.
LANfactory, exporting_sbi_models.md: a MAF of one dimension has products of no columns, which other readers refuse.

onnx #3033, pytorch #30517: distributions of `torch.distributions` as a graph, here one with correlated columns.
"""

import numpy as np
import onnx
import pytest
import torch

from lunet_export import ExportedFlow, importers, noise
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.importers import nflows
from lunet_export.importers.twin import in_float64, twin
from tests import tolerances

pytestmark = pytest.mark.filterwarnings("ignore")  # of sbi and what it stands on

CONTEXTS = 100


def likelihood(dim):
    """An estimator of p(x | theta), as the reports build it, with its rows and contexts."""
    pytest.importorskip("sbi", reason="sbi is not installed: run make setup-dev")
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
