"""Every node of every export has a kernel of its operator, opset and type on CUDA and on the CPU.

By the list of kernels of ONNX Runtime 1.31.1. `make test-cuda` proves it on the provider itself.
"""

import onnx
import pytest
from onnx import parser

from lunet_export.artifact import OPTIONAL_GRAPHS
from lunet_export.export import ExportSettings
from lunet_export.graphs import builder, solvers
from lunet_export.graphs.frame import Frame
from lunet_export.graphs.settings import DTYPES
from lunet_export.preprocessing import NAMED
from tests.conftest import ROOT
from tests.graphs.kernels.registry import PROVIDERS, beyond_limits, lacking
from tests.networks import network

CUDA, CPU = PROVIDERS
NETWORKS = {
    "one dimension": lambda: network(1, 2),
    "odd width": lambda: network(7, 4),
    "32 dimensions": lambda: network(32, 2),  # the most that one Split or Concat takes
    "digits": lambda: network(64, 4, preprocessing=NAMED["digits"]),
    "leaky tanh": lambda: network(7, 4, activation="leaky-tanh"),
    "leaky squareplus": lambda: network(7, 4, activation="leaky-squareplus"),
}

every_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def graphs(weights, settings: ExportSettings):
    """Every graph of every solver."""
    dtype, products = settings.tensors, settings.products
    yield "density", Frame(weights, None, dtype, products).density({})
    for solver in solvers.available(weights.dim):
        frame = Frame(weights, solver, dtype, products)
        for name in ("sampling", *OPTIONAL_GRAPHS):
            with_log_prob, draws_noise = name == "sampling_with_log_prob", name == "random_sampling"
            yield f"{name}, {solver}", frame.sampling({}, with_log_prob=with_log_prob, draws_noise=draws_noise)


@every_network
@every_dtype
def test_every_node_has_a_kernel_on_both_providers(make, dtype):
    """But float16 products on the CPU, which has none: ONNX Runtime casts them to float32 there."""
    allowed = {"Gemm-13 float16"} if dtype == "float16" else set()
    for name, model in graphs(make(), ExportSettings(dtype=dtype)):
        found = lacking(model)
        assert (set(found[CUDA]), set(found[CPU]) - allowed) == (set(), set()), name
        assert beyond_limits(model) == [], name


@pytest.mark.parametrize(("dim", "tile"), [(64, 10), (64, 15), (31, 5), (64, 16), (7, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_tiles_that_leave_a_remainder_upload_nothing(dim, tile, dtype):
    settings, weights = ExportSettings(dtype=dtype), network(dim, 2)
    frame = Frame(weights, solvers.choose("unrolled", tile, dim), settings.tensors, settings.products)
    model = frame.sampling({})
    assert beyond_limits(model) == []


COMMITTED = sorted([*ROOT.glob("exported/*/*.onnx"), *ROOT.glob("lunet_export/**/*.onnx")])


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parent.name} {path.stem}")
def test_every_committed_graph_has_its_kernels(path):
    model = onnx.load(path)
    assert lacking(model) == {CUDA: {}, CPU: {}}
    assert beyond_limits(model) == []


def graph(text: str, *, opset: int = builder.OPSET) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: {builder.IR_VERSION}, opset_import: ["" : {opset}]> faulty {text}')


#: Graphs that lack a kernel: what, and on which provider.
LACKING = {
    "float64 Softplus on the CPU": (
        graph("(double[batch, 2] x) => (double[batch, 2] y) { y = Softplus(x) }"),
        {CUDA: {}, CPU: {"Softplus-1 float64": 1}},
    ),
    "bfloat16 Log": (
        graph("(bfloat16[batch, 2] x) => (bfloat16[batch, 2] y) { y = Log(x) }"),
        {CUDA: {"Log-13 bfloat16": 1}, CPU: {"Log-13 bfloat16": 1}},
    ),
    "Celu on CUDA": (
        graph("(float[batch, 2] x) => (float[batch, 2] y) { y = Celu(x) }"),
        {CUDA: {"Celu-12 float32": 1}, CPU: {}},
    ),
    "a version that nobody has yet": (
        graph("(float[batch, 2] x) => (double[batch, 2] y) { y = Cast <to = 11> (x) }", opset=28),
        {CUDA: {"Cast-28 float32 float64": 1}, CPU: {"Cast-28 float32 float64": 1}},
    ),
}


@pytest.mark.parametrize(("model", "found"), LACKING.values(), ids=LACKING)
def test_a_missing_kernel_is_found(model, found):
    assert lacking(model) == found


def _parts(prefix: str, count: int) -> str:
    return ", ".join(f"{prefix}{number}" for number in range(count))


#: Graphs that keep to the kernels and not to the limits.
BEYOND = {
    "Loop": (
        graph(
            """(float[batch, 4] x) => (float[batch, 4] y) <int64 times = {3}, bool go = {1}> {
                y = Loop <body = step (int64 time, bool on, float[batch, 4] h) => (bool still, float[batch, 4] k) {
                    still = Identity(on)
                    k = Add(h, h)
                }> (times, go, x)
            }"""
        ),
        "Loop waits for the host",
    ),
    "a Concat of 33": (
        graph(f"(float[batch, 2] x) => (float[batch, 66] y) {{ y = Concat <axis = 1> ({', '.join(['x'] * 33)}) }}"),
        "Concat of 33 parts uploads their sizes",
    ),
    "a Split into 33": (
        graph(
            f"""(float[batch, 33] x) => (float[batch, 1] y) {{
                {_parts("x", 33)} = Split <axis = 1, num_outputs = 33> (x)
                y = Add(x0, x32)
            }}"""
        ),
        "Split into 33 equal parts uploads their sizes",
    ),
    "a Split into 5 unequal parts": (
        graph(
            f"""(float[batch, 9] x) => (float[batch, 2] y) <int64[5] sizes = {{2, 2, 2, 2, 1}}> {{
                {_parts("x", 5)} = Split <axis = 1> (x, sizes)
                y = Add(x0, x1)
            }}"""
        ),
        "Split into 5 unequal parts uploads their sizes",
    ),
    "ReduceMax": (
        graph(
            """(float[batch, 4] x) => (float[batch, 1] y) <int64[1] axis = {1}> {
                y = ReduceMax <keepdims = 1> (x, axis)
            }"""
        ),
        "ReduceMax needs cuDNN",
    ),
}


@pytest.mark.parametrize(("model", "sentence"), BEYOND.values(), ids=BEYOND)
def test_a_graph_beyond_the_limits_is_found(model, sentence):
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    assert lacking(inferred)[CUDA] == {}
    assert beyond_limits(inferred) == [sentence]


def test_an_operator_of_another_domain_is_found():
    text = """<ir_version: 8, opset_import: ["" : 18, "com.microsoft" : 1]>
        faulty (float[batch, 2] x) => (float[batch, 2] y) { y = com.microsoft.QuickGelu(x) }"""
    assert beyond_limits(parser.parse_model(text)) == ["QuickGelu is of the domain com.microsoft"]
