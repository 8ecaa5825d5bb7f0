"""What must hold of the graphs as files, and as functions."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import checker, numpy_helper

from lunet_export import noise
from lunet_export.checks import reference
from lunet_export.checks.rounding import RoundingModel
from lunet_export.errors import BadInputError
from lunet_export.graphs import solvers
from lunet_export.graphs.builder import GraphBuilder, serialize
from lunet_export.graphs.frame import Frame
from lunet_export.layers import LU
from tests import tolerances
from tests.networks import NETWORKS, network, rows

every_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])

#: Standard, with kernels for float32 and float64 on the CPU and on CUDA, and none that needs cuDNN.
ALLOWED = {"Abs", "Add", "Clip", "Concat", "Div", "Exp", "Gemm", "Log", "Max", "Min", "Mul", "ReduceSum"}
ALLOWED |= {"LeakyRelu", "Less", "Sigmoid", "Split", "Sqrt", "Sub", "Tanh", "Where"}


def fitting(dim: int) -> dict[str, solvers.Solver]:
    """Every solver that fits, with its default tile and with others."""
    found = {str(solver): solver for solver in solvers.available(dim)}
    for name, tile in (("unrolled", 1), ("unrolled", dim // 3), ("unrolled", dim // 5), ("meeting", dim // 2)):
        if solvers.fits(name, tile, dim):
            found[f"{name} {tile}"] = solvers.choose(name, tile, dim)
    return found


def run(model: onnx.ModelProto, feeds: dict) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(serialize(model), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


@every_network
@every_dtype
def test_density_graph_is_the_reference(make, dtype):
    weights = make()
    x = rows(weights, 6).astype(dtype)
    log_prob, z = run(Frame(weights, None, dtype).density({}), {"x": x})
    exact = x.astype(np.float64)
    allowed = RoundingModel(weights, dtype).density(exact)
    assert (np.abs(z - reference.encode(weights, exact)[0]).max(axis=1) <= allowed["z"]).all()
    assert (np.abs(log_prob - reference.log_prob(weights, exact)) <= allowed["log_prob"]).all()
    assert z.dtype == log_prob.dtype == dtype


@every_network
@every_dtype
def test_every_solver_is_the_reference(make, dtype):
    weights = make()
    z = noise.normal(0, range(6), weights.dim).astype(dtype)
    model = RoundingModel(weights, dtype)
    exact = model.clamp(reference.decode(weights, z.astype(np.float64)))
    allowed = model.sampling(z.astype(np.float64))["x"]
    for name, solver in fitting(weights.dim).items():
        (x,) = run(Frame(weights, solver, dtype).sampling({}), {"z": z})
        assert (np.abs(x - exact).max(axis=1) <= allowed).all(), name


@every_network
@every_dtype
def test_files_keep_the_contract(make, dtype):
    weights = make()
    models = [Frame(weights, None, dtype).density({"lunet.name": "x"})]
    models += [Frame(weights, s, dtype).sampling({}) for s in fitting(weights.dim).values()]
    for model in models:
        checker.check_model(model, full_check=True)
        assert {(entry.domain, entry.version) for entry in model.opset_import} == {("", 18)}
        assert model.ir_version == 8
        assert {node.op_type for node in model.graph.node} <= ALLOWED
        known = {value.name for value in [*model.graph.value_info, *model.graph.output]}
        assert {output for node in model.graph.node for output in node.output} <= known  # every shape inferred
        for value in [*model.graph.input, *model.graph.output]:
            assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            assert array.dtype in (np.dtype(dtype), np.dtype("int64"))
            assert array.dtype != np.int64 or np.abs(array).max() < 2**31  # survives an int32 reader
        for node in model.graph.node:
            assert len(node.input) <= 7  # with its output, what the smallest shader of WebGPU has room for
            assert node.op_type != "Split" or len(node.output) <= 7


@every_network
def test_the_same_weights_give_the_same_bytes(make):
    weights = make()
    for build in (
        lambda: Frame(weights, None, "float32").density({"a": "1", "b": "2"}),
        lambda: Frame(weights, solvers.choose("unrolled", None, weights.dim), "float32").sampling({}),
    ):
        assert serialize(build()) == serialize(build())


def test_tails_stay_finite_and_right():
    """A trained network fed far tails reaches pre-activations of thousands; nothing may overflow or become NaN."""
    weights = network(4, 3)
    for scale in (1e3, 1e6, 1e12):
        z = (scale * noise.normal(0, range(8), 4)).astype(np.float32)
        exact = reference.decode(weights, z.astype(np.float64))
        solver = solvers.choose("unrolled", None, 4)
        (x,) = run(Frame(weights, solver, "float32").sampling({}), {"z": z})
        assert np.isfinite(x).all()
        allowed = tolerances.of_sampling(weights, z)
        tolerances.assert_within(x, exact, allowed["x"])
        assert tolerances.beyond(x * (1 + 1e-4), exact, allowed["x"]) > 1
        log_prob, back = run(Frame(weights, None, "float32").density({}), {"x": x})
        assert np.isfinite(back).all()
        assert np.isfinite(log_prob).all() or scale >= 1e12  # |z|^2 leaves float32 above 1.8e19
        tolerances.assert_within(back, z, allowed["z"])
        assert tolerances.beyond(back * (1 + 1e-3), z, allowed["z"]) > 1


def test_slopes_are_multiplied_only_while_their_product_is_a_normal_float():
    """60 activations at alpha 0.01 multiply to 1e-120 far left: one logarithm for all would be -inf."""
    weights = network(2, 61, alpha=0.01, off_diagonal=0.0)
    x = np.full((1, 2), -1e3, dtype=np.float32)
    log_prob, _ = run(Frame(weights, None, "float32").density({}), {"x": x})
    exact = reference.log_prob(weights, x.astype(np.float64))
    allowed = tolerances.of_density(weights, x)["log_prob"]
    tolerances.assert_within(log_prob, exact, allowed)
    assert tolerances.beyond(log_prob + np.log(0.01), exact, allowed) > 1  # without the slope of one number


@pytest.mark.parametrize(
    ("name", "tile", "sentence"),
    [
        ("cholesky", None, "Expected a solver of auto, unrolled, rows, meeting, inverse, fused; got cholesky"),
        ("rows", None, "Expected at most 32 dimensions for `solver='rows'`; got 100"),
        ("meeting", 51, "Expected a tile from 1 to 50 for 100 dimensions and `solver='meeting'`"),
        ("unrolled", 51, "Expected a tile from 4 to 50 for 100 dimensions"),
        ("unrolled", 3, "Expected a tile from 4 to 50 for 100 dimensions"),
        ("fused", 50, "Expected no `tile` with `solver='fused'`"),
    ],
)
def test_impossible_solvers_are_refused(name, tile, sentence):
    with pytest.raises(BadInputError, match=sentence):
        solvers.choose(name, tile, 100)


def test_meeting_needs_two_dimensions():
    with pytest.raises(BadInputError, match="at least 2 dimensions"):
        solvers.choose("meeting", None, 1)


def test_default_solver_has_two_tiles_a_factor_and_keeps_them_apart():
    """Splits, Gemms and Concats as counted on paper: 1 + 6 + 1 per block."""
    model = Frame(network(10, 4), solvers.choose("unrolled", None, 10), "float32").sampling({})
    operators = [node.op_type for node in model.graph.node]
    assert (operators.count("Split"), operators.count("Gemm"), operators.count("Concat")) == (4, 24, 4)


def test_weights_beyond_float32_are_refused():
    weights = network(3, 1)
    weights.of(LU)[0].bias[0] = 1e39
    with pytest.raises(BadInputError, match="`dtype='float64'`"):
        Frame(weights, None, "float32").density({})


def test_builder_names_follow_their_scopes():
    g = GraphBuilder("demo", dim=2, dtype="float32")
    x = g.input("x")
    with g.scope("outer"), g.scope("inner"):
        first, second = g.node("Add", x, 1.0), g.node("Add", x, 1.0)
    assert (first, second) == ("outer.inner.add", "outer.inner.add_1")
    g.output("y", second)
    constants = [tensor.name for tensor in g.finish({}).graph.initializer]
    assert constants == ["number_1.0"]  # a number is written once
