"""The checks of a conditional flow pass on its graphs, and fail on graphs that treat the context wrongly."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from lunet_export import ExportedFlow, parity
from lunet_export.checks import reference, vectors
from lunet_export.checks.rounding import RoundingModel
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.graphs.emulation import EmulatedFlow
from lunet_export.parity.optional import run_optional
from lunet_export.torch_layers import EagerFlow
from tests.conditional import WIDTH, network

WEIGHTS = network()
ALL = ExportSettings(with_log_prob=True, rng=True)


@pytest.fixture(scope="module")
def artifact():
    return build_artifact(WEIGHTS, Provenance("conditional"), ALL)


def checked(artifact):
    flow = ExportedFlow(artifact, provider="cpu", threads=1)
    return parity.run(flow, flow.vectors) + run_optional(flow, flow.vectors)


def failed(checks):
    return {check.name.removeprefix("golden: ") for check in checks if not check.passed}


def test_the_graphs_pass_with_every_option(artifact):
    checks = checked(artifact)
    assert len(checks) == 13
    assert not failed(checks)


def test_eager_pytorch_and_the_emulated_graphs_pass(artifact):
    graphs = {name: onnx.load_from_string(graph) for name, graph in artifact.graphs.items()}
    for runner in (EagerFlow(WEIGHTS, "float32"), EmulatedFlow(graphs, "float32")):
        assert not failed(parity.run(runner, artifact.vectors))


def rewired(graph, node, *constants):
    """The graph with a node between the input `context` and all that reads it."""
    model = onnx.load_from_string(graph)
    for reader in model.graph.node:
        reader.input[:] = ["changed" if name == "context" else name for name in reader.input]
    model.graph.node.insert(0, node)
    model.graph.initializer.extend(constants)
    return model.SerializeToString()


def ignoring(graph):
    zero = numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    return rewired(graph, helper.make_node("Mul", ["context", "zero"], ["changed"]), zero)


def swapping(graph):
    order = numpy_helper.from_array(np.array([1, 0, 2]), "swapped")
    return rewired(graph, helper.make_node("Gather", ["context", "swapped"], ["changed"], axis=1), order)


@pytest.mark.parametrize("fault", [ignoring, swapping])
@pytest.mark.parametrize(
    ("graph", "caught"),
    [
        ("density", {"density, z", "density, log_prob", "x -> z -> x", "z -> x -> z", "log_prob of sampled x"}),
        ("sampling", {"sampling, x", "x -> z -> x", "z -> x -> z", "log_prob of sampled x"}),
        ("sampling_with_log_prob", {"sampling with log_prob, x", "sampling with log_prob, log_prob"}),
        ("random_sampling", {"random sampling, x"}),
    ],
)
def test_a_graph_that_ignores_its_context_or_swaps_its_columns_fails(artifact, fault, graph, caught):
    wrong = replace(artifact, graphs={**artifact.graphs, graph: fault(artifact.graphs[graph])})
    assert failed(checked(wrong)) >= caught


def test_a_runner_that_shifts_contexts_to_other_rows_fails(artifact):
    class Shifted:
        inner = EagerFlow(WEIGHTS, "float32")

        def density(self, x, context):
            return self.inner.density(x, np.roll(context, 1, axis=0))

        def decode(self, z, context):
            return self.inner.decode(z, context)

    assert "batch 1 = batch N, z" in failed(parity.run(Shifted(), artifact.vectors))


def test_vectors_hold_contexts_within_the_range_and_at_its_ends(artifact):
    for part in (artifact.vectors.density, artifact.vectors.sampling):
        assert part.context.shape == (len(part.x), WIDTH)
        assert not WEIGHTS.context.beyond(part.context).any()
        assert np.isin(part.context, [-3.0, 3.0]).all(axis=1).any()
        assert len(np.unique(part.context, axis=0)) > len(part.x) // 2


def test_vectors_are_the_same_on_every_export_and_their_tolerances_are_those_of_their_contexts():
    found, again = (vectors.build(WEIGHTS, dtype="float32", seed=3) for _ in range(2))
    assert found.to_json() == again.to_json()
    density = found.density
    np.testing.assert_array_equal(density.log_prob, reference.log_prob(WEIGHTS, density.x, density.context))
    allowed = RoundingModel(WEIGHTS, "float32").density(density.x, density.context)
    np.testing.assert_allclose(density.tolerance["log_prob"], allowed["log_prob"])
    others = RoundingModel(WEIGHTS, "float32").density(density.x, density.context[::-1])
    assert not np.allclose(density.tolerance["log_prob"], others["log_prob"], rtol=0.5)
