"""The density graph of one network per class: the reference's numbers in two runtimes and providers, also in tails."""

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from lunet_export.checks import reference
from lunet_export.checks.rounding import of_mixture
from lunet_export.checks.vectors import build as build_vectors
from lunet_export.distribution import Mixture
from lunet_export.errors import BadInputError
from lunet_export.graphs.builder import GraphBuilder
from lunet_export.graphs.mixture import MixtureBlueprint
from lunet_export.graphs.mixture import mixed as mixed_nodes
from lunet_export.graphs.settings import ExportSettings
from lunet_export.layers import LU
from lunet_export.preprocessing import NAMED
from tests import tolerances
from tests.graphs.kernels.registry import PROVIDERS, beyond_limits, lacking
from tests.graphs.test_graphs import ALLOWED, run
from tests.networks import PRIORS, mixture, network

MIXTURES = {
    "6-D vectors": lambda: mixture(6, 3),
    "one block": lambda: mixture(5, 1),
    "4 x 4 images": lambda: mixture(16, 3, preprocessing=NAMED["digits"]),
    "networks that differ": lambda: Mixture(
        (network(4, 1), network(4, 5, alpha=0.3, seed=1), network(4, 3, alpha=0.9, seed=2)), ("a", "b", "c"), PRIORS
    ),
    "32 classes": lambda: Mixture(
        tuple(network(3, 2, seed=seed) for seed in range(32)), tuple(map(str, range(32))), (1 / 32,) * 32
    ),
}


def density(weights: Mixture, dtype: str, metadata: dict[str, str] | None = None) -> onnx.ModelProto:
    return MixtureBlueprint.choose(weights, ExportSettings(dtype=dtype)).build("density", metadata or {})


every_mixture = pytest.mark.parametrize("make", MIXTURES.values(), ids=MIXTURES)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@every_mixture
@every_dtype
def test_the_graph_is_the_reference_in_both_runtimes(make, dtype):
    weights = make()
    known = build_vectors(weights, dtype=dtype, seed=0).density
    model = density(weights, dtype)
    feeds = {"x": known.x.astype(dtype)}
    for answers in (run(model, feeds), ReferenceEvaluator(model).run(None, feeds)):
        found = dict(zip(("class_log_prob", "log_prob", "posterior"), answers, strict=True))
        for name, got in found.items():
            assert got.dtype == dtype
            allowed = known.tolerance[name]
            gap = np.abs(got - getattr(known, name))
            assert (gap <= (allowed[:, None] if name == "posterior" else allowed)).all(), name


@every_mixture
@every_dtype
def test_every_node_is_plain_and_has_its_kernels(make, dtype):
    model = density(make(), dtype)
    assert {node.op_type for node in model.graph.node} <= ALLOWED
    assert lacking(model) == {provider: {} for provider in PROVIDERS}
    assert beyond_limits(model) == []


def mixed(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log_prob and posterior of class_log_prob (N, 3), by the nodes of the graph alone."""
    g = GraphBuilder("mixed", dim=3, dtype=str(values.dtype))
    log_prob, posterior = mixed_nodes(g, g.input("class_log_prob"), np.log(PRIORS))
    g.output("log_prob", log_prob, rows=False)
    g.output("posterior", posterior)
    return tuple(run(g.finish({}), {"class_log_prob": values}))


@every_dtype
@pytest.mark.parametrize("level", [-1e5, -1e30, 0.0, 1e5])
def test_far_down_the_posterior_still_sums_to_one(dtype, level):
    values = np.full((4, 3), level, dtype=dtype)
    values[1] += [0, 1, 2]
    values[2, 0] -= 1e4
    values[3, 1] = -np.inf
    log_prob, posterior = mixed(values)
    assert np.isfinite(log_prob).all()
    tolerances.assert_within(posterior.sum(axis=1), np.ones(4), tolerances.of_roundings(3 + 2, 1.0, dtype))
    given = values.astype(np.float64)
    apart = np.where(np.isinf(given), level - 1e6, given)  # where a class has no share of a row in any dtype
    allowed = of_mixture(apart, np.zeros((4, 3)), PRIORS, dtype)
    tolerances.assert_within(posterior, reference.posterior(given, PRIORS), tolerances.TWO * allowed["posterior"])
    if abs(level) < 1e6:
        expected = reference.mixture_log_prob(given, PRIORS)
        tolerances.assert_within(log_prob, expected, tolerances.TWO * allowed["log_prob"])
        swapped = reference.posterior(given, PRIORS[::-1])
        assert tolerances.beyond(posterior, swapped, tolerances.TWO * allowed["posterior"]) > 1


@every_dtype
def test_a_row_that_overflows_under_every_class_has_a_posterior_too(dtype):
    log_prob, posterior = mixed(np.full((1, 3), -np.inf, dtype=dtype))
    assert np.isfinite(log_prob).all()
    tolerances.assert_within(posterior, np.full((1, 3), 1 / 3), tolerances.of_roundings(2, 1 / 3, dtype))


def test_too_many_classes_are_refused():
    weights = Mixture((network(2, 1),) * 33, tuple(map(str, range(33))), (1 / 33,) * 33)
    with pytest.raises(BadInputError, match="at most 32 classes in one graph; got 33"):
        density(weights, "float32")


def test_names_in_the_graph_are_those_of_their_class():
    model = density(mixture(6, 2), "float32", {"lunet.direction": "density"})
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    product = network(6, 2, seed=2).of(LU)[0]
    exact, size = product.lower @ product.upper, np.abs(product.lower) @ np.abs(product.upper)
    allowed = tolerances.of_roundings(1, exact) + tolerances.of_roundings(2 * 6, size, "float64")
    tolerances.assert_within(weights["class2.block1.weight"].T, exact, allowed)
    assert tolerances.beyond(weights["class1.block1.weight"].T, exact, allowed) > 1
