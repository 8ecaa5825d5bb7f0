"""The graphs of the proof: every export that this project ships or can make of its networks, and bad ones."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import onnx

from benchmarks.networks import standard
from lunet_export import checkpoint
from lunet_export.export import ExportSettings
from lunet_export.flows import lunet
from lunet_export.graphs import builder, solvers
from lunet_export.graphs.blueprint import Blueprint
from lunet_export.graphs.census import work_items
from lunet_export.graphs.frame import Frame
from lunet_export.graphs.settings import DTYPES
from lunet_export.layers import ACTIVATIONS, LU, Chain, Velocity, triangular
from tests import conditional
from tests.cuda.probe import CAPTURED
from tests.families import composed, jko, realnvp
from tests.networks import network

ROOT = Path(__file__).parent.parent.parent
COMMITTED = ("toy2d", "digits")
_SLOW = ("inverse_lower", "inverse_upper", "product", "reversed_product")


def _committed(name: str) -> Callable[[], Chain]:
    return lambda: checkpoint.read(ROOT / "exported" / f"{name}.pt").weights


#: The committed models, and the paper's network on MNIST with weights from a seed.
NETWORKS: dict[str, Callable[[], Chain]] = {name: _committed(name) for name in COMMITTED} | {"wide": standard}


@dataclass(frozen=True)
class Case:
    """A graph on disk and what must hold of it on any GPU."""

    name: str  # of its file, without suffix
    path: Path
    products: str  # dtype of the matrix products; float32 if some of them are, as those with constants inside splines
    draws: bool  # draws its own noise: must never be captured
    nodes: int
    work_items: int  # launches by the manifest's count
    captured: bool  # our runtime captures graphs of rows, and of rows with their contexts
    uploads: int  # a run with NumPy arrays; a shape is read on the host
    downloads: int
    clears: int  # of memory, in front of sums over a first axis


def write_all(folder: Path) -> list[Case]:
    """Write the files of every network, solver, dtype and graph into `folder`, and the committed ones as they are."""
    jobs = [(name, make(), dtype) for name, make in NETWORKS.items() for dtype in DTYPES]
    jobs.append(("wide-leaky-squareplus", _with_closed_inverses(standard()), "float32"))
    with _inverses_once(), ThreadPoolExecutor(2) as pool:  # NumPy releases the interpreter
        built = pool.map(lambda job: list(_write(folder, *job)), jobs)
        cases = [case for group in built for case in group]
    for dtype in DTYPES:
        for activation in list(ACTIVATIONS)[1:]:
            cases += _write_all_graphs(folder, activation, network(7, 3, activation=activation), dtype)
        cases += _write_all_graphs(folder, "dense", realnvp.dense(64, 20, preprocessing="digits"), dtype)
        cases += _write_all_graphs(folder, "jko", jko.flow(64, (32, 24), preprocessing="digits", steps=2), dtype)
        cases += _write_all_graphs(folder, "jko-deep", jko.flow(3, (8, 7, 6), steps=1), dtype)
        cases += _write_all_graphs(folder, "composed", composed.NETWORKS["plane"](), dtype)
        cases += _write_all_graphs(folder, "composed-couplings", composed.NETWORKS["couplings"](), dtype)
        cases += _write_all_graphs(folder, "composed-masked", composed.NETWORKS["masked autoregressive"](), dtype)
        cases += _write_all_graphs(folder, "composed-splines", composed.NETWORKS["spline couplings"](), dtype)
        cases += _write_all_graphs(folder, "composed-masked-splines", composed.NETWORKS["masked splines"](), dtype)
        cases += _write_all_graphs(folder, "composed-box", composed.NETWORKS["splines of a box"](), dtype)
        cases += _write_all_graphs(folder, "composed-clamps", composed.NETWORKS["clamped couplings"](), dtype)
        cases += _write_all_graphs(folder, "composed-interval", composed.NETWORKS["a logit in front"](), dtype)
        cases += _write_all_graphs(folder, "composed-log-tanh", composed.NETWORKS["log tanh"](), dtype)
        some = composed.NETWORKS["normal cdf in some columns"]()
        cases += _write_all_graphs(folder, "composed-normal-cdf", some, dtype)
        cases += _write_all_graphs(folder, "conditional", conditional.network(), dtype)
        cases += _write_all_graphs(folder, "conditional-lunet", conditional.lu_net(), dtype)
        cases += _write_all_graphs(folder, "conditional-realnvp", conditional.realnvp(), dtype)
    for name in COMMITTED:
        for graph in ("density", "sampling"):
            model = onnx.load(ROOT / "exported" / name / f"{graph}.onnx")
            cases.append(_case(folder, f"committed-{name}-{graph}", model, "float32"))
    return cases


def write_convolutional(folder: Path) -> list[Case]:
    """Write the graphs that need cuDNN, which the stand-in has not: they are placed, and do not run."""
    return _write_all_graphs(folder, "convolutional", realnvp.convolutional(8, 4), "float32")


def _with_closed_inverses(weights: Chain) -> Chain:
    return lunet(weights.of(LU), 0.1, weights.preprocessing, "leaky-squareplus")


def _write_all_graphs(folder: Path, name: str, weights: Chain, dtype: str) -> list[Case]:
    integrates = weights.of(Velocity) != ()
    settings = ExportSettings(dtype=dtype, with_log_prob=True, rng=True, hutchinson=integrates)
    blueprint, products = Blueprint.choose(weights, settings), settings.products or settings.tensors
    return [_case(folder, f"{name}-{dtype}-{graph}", blueprint.build(graph, {}), products) for graph in settings.graphs]


def _write(folder: Path, name: str, weights: Chain, dtype: str) -> Iterator[Case]:
    settings = ExportSettings(dtype=dtype)
    tensors, products = settings.tensors, settings.products
    model = Frame(weights, None, tensors, products).density({})
    yield _case(folder, f"{name}-{dtype}-density", model, products or tensors)
    for solver in solvers.available(weights.dim):
        for graph in ("sampling", "sampling_with_log_prob", "random_sampling"):
            model = Frame(weights, solver, tensors, products).sampling(
                {}, with_log_prob=graph == "sampling_with_log_prob", draws_noise=graph == "random_sampling"
            )
            yield _case(folder, f"{name}-{dtype}-{solver.name}-{graph}", model, products or tensors)


def _has_others(model: onnx.ModelProto) -> bool:
    """Whether some products of a graph are float32 beside those in float16: they are written as MatMul."""
    return any(node.op_type == "MatMul" for node in model.graph.node)


def _sums_over_a_first_axis(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    """Whether a sum goes over the first axes that are longer than 1: CUDA adds these into cleared memory."""
    if node.op_type != "ReduceSum":
        return False
    axes = next(onnx.numpy_helper.to_array(known) for known in model.graph.initializer if known.name == node.input[1])
    known = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    shape = next(entry.type.tensor_type.shape.dim for entry in known if entry.name == node.input[0])
    return len(shape) > 2 and all(shape[axis].dim_value == 1 for axis in range(axes.min()))


def _case(folder: Path, name: str, model: onnx.ModelProto, products: str) -> Case:
    path = folder / f"{name}.onnx"
    path.write_bytes(builder.serialize(model))
    draws = any(node.op_type.startswith("Random") for node in model.graph.node)
    return Case(
        name=name,
        path=path,
        products="float32" if products == "float16" and _has_others(model) else products,
        draws=draws,
        captured=not draws and {entry.name for entry in model.graph.input} <= CAPTURED,
        nodes=len(model.graph.node),
        work_items=work_items(model),
        uploads=sum(entry.name != "shape" for entry in model.graph.input),
        downloads=len(model.graph.output),
        clears=sum(_sums_over_a_first_axis(node, model) for node in model.graph.node),
    )


@contextmanager
def _inverses_once() -> Iterator[None]:
    """Every triangular inverse of the wide network is computed once: graphs, dtypes and solvers share them."""
    known: dict[tuple[str, bytes], np.ndarray] = {}

    def once(name: str) -> Callable[..., np.ndarray]:
        compute = getattr(triangular, name)

        def memory(*matrices: np.ndarray) -> np.ndarray:
            key = (name, b"".join(matrix.tobytes() for matrix in matrices))
            if key not in known:
                known[key] = compute(*matrices)
            return known[key]

        return memory

    with mock.patch.multiple(triangular, **{name: once(name) for name in _SLOW}):
        yield


_PARTS = ", ".join(["x"] * 33)
#: Graphs with one fault each, in ONNX's text form.
PLANTED = {
    "concat-of-33": f"""
        faulty (float[batch, 2] x) => (float[batch, 66] y) {{ y = Concat <axis = 1> ({_PARTS}) }}""",
    "split-into-33": f"""
        faulty (float[batch, 33] x) => (float[batch, 1] y) {{
            {", ".join(f"x{number}" for number in range(33))} = Split <axis = 1, num_outputs = 33> (x)
            y = Add(x0, x32)
        }}""",
    "loop": """
        faulty (float[batch, 4] x) => (float[batch, 4] y) <int64 times = {3}, bool go = {1}> {
            y = Loop <body = step (int64 time, bool on, float[batch, 4] h) => (bool still, float[batch, 4] k) {
                still = Identity(on)
                k = Add(h, h)
            }> (times, go, x)
        }""",
    "memcpy": """
        faulty (int64[1] n) => (float[batch, 784] x) <int64[1] width = {784}> {
            shape = Concat <axis = 0> (n, width)
            rows = ConstantOfShape (shape)
            x = RandomNormalLike (rows)
        }""",
    "on-the-cpu": """
        faulty (float[batch, 4] x) => (float[batch, 4] y) <int64 first = {0}> {
            shape = Shape (x)
            n = Gather (shape, first)
            scale = Cast <to = 1> (n)
            y = Mul (x, scale)
        }""",
    "reduce-max": """
        faulty (float[batch, 4] x) => (float[batch, 4] y) <int64[1] axis = {1}> {
            most = ReduceMax <keepdims = 1> (x, axis)
            y = Sub (x, most)
        }""",
}


def write_planted(folder: Path) -> list[Path]:
    """Write every planted graph into `folder`."""
    paths = []
    for name, text in PLANTED.items():
        model = onnx.parser.parse_model(
            f'<ir_version: {builder.IR_VERSION}, opset_import: ["" : {builder.OPSET}]>{text}'
        )
        onnx.checker.check_model(model, full_check=True)
        paths.append(folder / f"{name}.onnx")
        paths[-1].write_bytes(builder.serialize(model))
    return paths
