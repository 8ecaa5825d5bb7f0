"""The laws of conditional flows, and their graphs and PyTorch modules against the reference."""

import numpy as np
import onnxruntime
import pytest
import torch

from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.errors import BadInputError, CheckpointError
from lunet_export.flows import layered
from lunet_export.graphs import builder, solvers
from lunet_export.graphs.frame import Frame
from lunet_export.layers import ConditionalAffine, Context, ScaleMap
from lunet_export.layers.networks import Dense
from lunet_export.torch_layers import EagerFlow, Flow
from tests import tolerances
from tests.conditional import DIM, FLOWS, WIDTH, network, rows

WEIGHTS = network()
X, C = rows(7)
EACH = pytest.mark.parametrize("weights", FLOWS.values(), ids=FLOWS)


@EACH
def test_a_round_trip_returns_the_rows(weights):
    back = reference.decode(weights, reference.encode(weights, X, C)[0], C)
    np.testing.assert_allclose(back, X, rtol=0, atol=1e-10)
    assert np.abs(reference.decode(weights, X, C) - reference.decode(weights, X, C[::-1])).max() > 0.01


@EACH
def test_log_det_is_that_of_the_jacobian_in_x(weights):
    flow = Flow.of(weights, dtype=torch.float64)

    def encode(row, context):
        return flow.given(context[None]).chain(row[None])[0][0]

    for x, c in zip(torch.from_numpy(X), torch.from_numpy(C), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda row, c=c: encode(row, c), x)
        exact = float(torch.linalg.slogdet(jacobian).logabsdet)
        found = reference.encode(weights, x[None].numpy(), c[None].numpy())[1]
        np.testing.assert_allclose(found, exact, rtol=1e-10, atol=1e-10)


@EACH
def test_rows_depend_on_their_own_context_alone(weights):
    alone = [reference.log_prob(weights, x[None], c[None])[0] for x, c in zip(X, C, strict=True)]
    np.testing.assert_allclose(reference.log_prob(weights, X, C), alone, rtol=1e-12)
    one = reference.log_prob(weights, X, C[:1])
    np.testing.assert_allclose(one, reference.log_prob(weights, X, np.repeat(C[:1], 7, axis=0)), rtol=1e-12)
    np.testing.assert_allclose(one, reference.log_prob(weights, X, C[0]), rtol=1e-12)


@pytest.mark.parametrize("context", [(-1.0,), (0.0,), (2.0,)])
def test_the_density_integrates_to_1_for_every_context(context):
    shift_and_scale = ConditionalAffine((Dense(np.array([[1.5], [0.7]]), np.array([0.2, -0.3])),), ScaleMap("exp"))
    weights = layered(1, [shift_and_scale], None, Context(1))
    x = np.linspace(-60, 60, 200_001)[:, None]
    p = np.exp(reference.log_prob(weights, x, np.array([context])))
    assert np.trapezoid(p, x[:, 0]) == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["unrolled", "fused"])
@EACH
def test_graphs_take_the_context_as_an_input(weights, dtype, solver):
    frame = Frame(weights, solvers.choose(solver, None, DIM), dtype)
    exact_x, exact_c = X.astype(dtype).astype(np.float64), C.astype(dtype).astype(np.float64)
    z = reference.encode(weights, exact_x, exact_c)[0].astype(dtype)
    exact = {
        "z": reference.encode(weights, exact_x, exact_c)[0],
        "log_prob": reference.log_prob(weights, exact_x, exact_c),
    }
    tolerance = RoundingModel(weights, dtype).density(exact_x, exact_c)
    answers = run(frame.density({}), {"x": X.astype(dtype), "context": C.astype(dtype)})
    for name, got in answers.items():
        tolerances.assert_within(got, exact[name], tolerance[name])
    other = run(frame.density({}), {"x": X.astype(dtype), "context": C[::-1].astype(dtype)})
    assert tolerances.beyond(other["z"], exact["z"], tolerance["z"]) > 1
    latents = z.astype(np.float64)
    tolerance = RoundingModel(weights, dtype).sampling(latents, exact_c)
    sampled = run(frame.sampling({}, with_log_prob=True), {"z": z, "context": C.astype(dtype)})
    x = reference.decode(weights, latents, exact_c)
    tolerances.assert_within(sampled["x"], x, tolerance["x"])
    tolerances.assert_within(sampled["log_prob"], reference.log_prob(weights, x, exact_c), tolerance["log_prob"])


def run(model, feeds):
    session = onnxruntime.InferenceSession(builder.serialize(model))
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, feeds), strict=True))


def test_what_depends_on_the_context_alone_is_written_once():
    """However many levels an inverse has: one product per network of the context, and one for the embedding."""
    model = Frame(WEIGHTS, solvers.choose("fused", None, DIM), "float32").sampling({})
    known = {"context", *(constant.name for constant in model.graph.initializer)}
    products = 0
    for node in model.graph.node:
        if set(node.input) <= known:
            products += node.op_type == "Gemm"
            known.update(node.output)
    embedding, of_masked, of_coupling = 1, 2 * 2, 1  # a masked layer has a shift and a gate
    of_affine = 3  # its scales, its shifts, and the way of these through the solve behind it
    first_level = 2  # nothing of the row is known there yet, so the rest of the network sees the context alone
    assert products == embedding + of_masked + of_coupling + of_affine + first_level


@EACH
def test_pytorch_is_the_reference(weights):
    flow = EagerFlow(weights, "float64")
    z, log_prob = flow.density(X, C)
    np.testing.assert_allclose(z, reference.encode(weights, X, C)[0], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(log_prob, reference.log_prob(weights, X, C), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(flow.decode(z, C), X, rtol=0, atol=1e-10)
    assert Flow.of(weights, dtype=torch.float64).to_chain().digest() == weights.digest()


@EACH
def test_gradients_reach_every_number_of_a_given_flow(weights):
    flow = Flow.of(weights, dtype=torch.float64)
    (-flow.given(torch.from_numpy(C)).log_prob(torch.from_numpy(X)).mean()).backward()
    assert all(parameter.grad is not None for parameter in flow.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("context", [None, np.zeros(WIDTH + 1), np.zeros((3, WIDTH)), np.zeros((7, 1, WIDTH))])
def test_a_wrong_context_is_one_sentence(context):
    with pytest.raises(BadInputError, match=r"Expected a context of shape \(3,\) or \(7, 3\) for 7 rows; got"):
        reference.log_prob(WEIGHTS, X, context)


def test_a_context_for_a_flow_that_takes_none_is_refused():
    plain = layered(DIM, [WEIGHTS.layers[4]])
    with pytest.raises(BadInputError, match="Expected no context for a flow that takes none"):
        reference.log_prob(plain, X, C)


def test_a_chain_needs_the_context_that_its_layers_take():
    layers = WEIGHTS.layers
    with pytest.raises(CheckpointError, match="the chain has none"):
        layered(DIM, layers)
    with pytest.raises(CheckpointError, match="Expected layers that take a context of 3 numbers; they take 5"):
        layered(DIM, layers, None, Context(WIDTH))
    with pytest.raises(CheckpointError, match="they take none"):
        layered(DIM, [layers[4]], None, Context(WIDTH))


def test_contexts_beyond_those_of_training_are_told():
    found = WEIGHTS.context.beyond(np.array([[0.0, 0.0, 0.0], [0.0, 3.5, 0.0]]))
    assert found.tolist() == [[False, False, False], [False, True, False]]
