"""Do the LU flows of zuko, nflows and normflows leave Python, by their own export and by ours, with the right answers?

Stacks of three LU layers of each library are trained for some steps by their own log_prob. "Own" is what
`torch.onnx.export` makes of the library's density and sampling, run in ONNX Runtime. "Ours" is `convert` and the graphs
of both dtypes, compared with the library's own log_prob and inverse in float64 on the same rows: the largest
|difference| over max(1, |value|). The library's own float32 is compared in the same way.
What is in the results is not tried again, so a stopped script goes on. `python -m benchmarks.imported` writes
results/imported.json; 784 dimensions take a minute.
"""

import io
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import nflows
import nflows.distributions
import nflows.flows
import nflows.transforms
import normflows
import numpy as np
import onnxruntime
import torch
import zuko
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks import report
from lunet_export import ExportedFlow, convert
from lunet_export.errors import LunetExportError
from lunet_export.export import ExportSettings, Provenance, build_artifact

WIDTHS = (2, 16, 64, 784)
LAYERS = 3
DTYPES = ("float32", "float64")
TARGETS = {"float32": 1e-5, "float64": 1e-10}
_ROWS, _STEPS = 64, 30
_RATE = 0.05  # over D, because a step of Adam moves every entry by this, and the matrix by D times that


@dataclass(frozen=True)
class Peer:
    """A library's flow, and its two directions as modules."""

    flow: nn.Module
    log_prob: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]  # z -> x


class Direction(nn.Module):
    """One direction of a flow as a module, for `torch.onnx.export`."""

    def __init__(self, flow: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.flow, self.function = flow, function

    def forward(self, rows: Tensor, contexts: Tensor | None = None) -> Tensor:
        return self.function(rows) if contexts is None else self.function(rows, contexts)


def of_zuko(dim: int) -> Peer:
    """Return LU layers with the diagonal on L, and permutations of columns between them."""
    lazy, transforms = zuko.lazy, zuko.transforms
    layers: list[Any] = []
    for _ in range(LAYERS):
        start = torch.eye(dim) + 0.1 * torch.randn(dim, dim) / dim**0.5
        layers.append(lazy.UnconditionalTransform(transforms.LULinearTransform, start))
        layers.append(lazy.UnconditionalTransform(transforms.PermutationTransform, torch.randperm(dim), buffer=True))
    normal = zuko.distributions.DiagNormal
    base = lazy.UnconditionalDistribution(normal, torch.zeros(dim), torch.ones(dim), buffer=True)
    flow = zuko.flows.Flow(layers, base)
    return Peer(flow, lambda x: flow().log_prob(x), lambda z: flow().transform.inv(z))


def of_nflows(dim: int) -> Peer:
    """Return LU layers with softplus + eps on U, and leaky ReLU and random permutations between them."""
    transforms = nflows.transforms
    layers: list[Any] = []
    for number in range(LAYERS):
        layers += [transforms.LeakyReLU(0.3)] if number else []
        layers += [transforms.RandomPermutation(dim), transforms.LULinear(dim)]
    base = nflows.distributions.StandardNormal([dim])
    flow = nflows.flows.Flow(transforms.CompositeTransform(layers), base)
    return Peer(flow, flow.log_prob, lambda z: flow._transform.inverse(z)[0])


def of_normflows(dim: int) -> Peer:
    """Return `LULinearPermute` with constant affine maps between; its flows go from latent to data."""
    layers: list[Any] = []
    for _ in range(LAYERS):
        layers += [normflows.flows.LULinearPermute(dim), normflows.flows.AffineConstFlow((dim,))]
    base = normflows.distributions.DiagGaussian(dim, trainable=False)
    flow = normflows.NormalizingFlow(base, layers)
    return Peer(flow, flow.log_prob, flow.forward)


PEERS = {"zuko": of_zuko, "nflows": of_nflows, "normflows": of_normflows}


def main() -> None:
    """Run what is missing, compare, print."""
    parser = report.options(__doc__.splitlines()[0], seconds=0)
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS, help="dimensions of the stacks")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = options.output / "imported.json"
    document: dict[str, Any] = {"command": "python -m benchmarks.imported", "machine": report.machine(options.threads)}
    document |= {"layers": LAYERS, "rows": _ROWS, "runs": []}
    if path.exists():
        document = json.loads(path.read_text(encoding="utf-8"))
    done = {(entry["library"], entry["dim"]) for entry in document["runs"]}
    for dim in options.widths:
        for library in PEERS:
            if (library, dim) in done:
                continue
            report.progress(f"{library}, D = {dim}")
            document["runs"].append(run(library, dim))
            report.write(path, document)
    report.table(rows(document))


def run(library: str, dim: int) -> dict[str, Any]:
    """Export one stack by the library in both directions, and compare ours with the library's answers."""
    torch.manual_seed(dim)
    peer = PEERS[library](dim)
    train(peer, dim)
    peer.flow.eval()
    x, z = torch.randn(_ROWS, dim), torch.randn(_ROWS, dim)
    own = {"density": exported(peer, peer.log_prob, x), "sampling": exported(peer, peer.decode, z)}
    with torch.no_grad():
        short = {"log_prob": peer.log_prob(x).numpy(), "x": peer.decode(z).numpy()}
    with double_by_default():
        double = PEERS[library](dim)
        double.flow.load_state_dict(peer.flow.state_dict())
        double.flow.eval()
        ours = {dtype: compared(double, x.numpy(), z.numpy(), dtype) for dtype in DTYPES}
        with torch.no_grad():
            exact = {"log_prob": double.log_prob(x.double()).numpy(), "x": double.decode(z.double()).numpy()}
    theirs = {name: gap(short[name], exact[name]) for name in short}  # of the library's own float32
    return {"library": library, "dim": dim, "own": own, "theirs": theirs, "ours": ours}


@contextmanager
def double_by_default() -> Iterator[None]:
    """Make new tensors float64: nflows keeps some constants in the default dtype of the time when a layer is made."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def train(peer: Peer, dim: int) -> None:
    """Take some steps of maximum likelihood on correlated rows, by the library's own log_prob."""
    rows = torch.randn(256, dim) @ (torch.eye(dim) + 0.2 * torch.randn(dim, dim) / dim**0.5) + 0.5
    parameters = [parameter for parameter in peer.flow.parameters() if parameter.requires_grad]
    adam = torch.optim.Adam(parameters, lr=_RATE / dim)
    for _ in range(_STEPS):
        loss = -peer.log_prob(rows).mean() / dim
        adam.zero_grad()
        loss.backward()
        adam.step()


@torch.no_grad()
def exported(peer: Peer, function: Callable[[Tensor], Tensor], rows: Tensor) -> str:
    """Return `runs`, or the kind of error that ends the library's own way into ONNX Runtime."""
    try:
        graph = own_graph(peer.flow, function, rows)
    except ModuleNotFoundError:  # a package that we lack, no fault of the library's
        raise
    except Exception as error:  # torch's exporters raise many kinds
        return f"export: {cause(error)}"
    try:
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        found = session.run(None, {session.get_inputs()[0].name: rows[:5].numpy()})[0]
    except Exception as error:  # as above
        return f"runtime: {type(error).__name__}"
    right = np.allclose(found, function(rows[:5]).numpy(), rtol=1e-3, atol=1e-3)
    return "runs" if right else "wrong"


def own_graph(flow: nn.Module, function: Callable[..., Tensor], *rows: Tensor) -> bytes:
    """Return the file that `torch.onnx.export` makes of a function of a flow, with a free batch.

    Args:
        flow: Holder of the function's parameters.
        function: One direction of the flow.
        rows: Arguments of the function, (N, D), and (N, C) where it takes contexts.
    """
    file, batch = io.BytesIO(), torch.export.Dim("batch")
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        shapes = tuple({0: batch} for _ in rows)
        module = Direction(flow, function).eval()
        program = torch.onnx.export(module, rows, dynamo=True, dynamic_shapes=shapes, verbose=False)
        assert program is not None
        program.save(file)
    return file.getvalue()


def cause(error: BaseException) -> str:
    """Return the kind of the error at the root."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__


@torch.no_grad()
def compared(peer: Peer, x: NDArray[np.float32], z: NDArray[np.float32], dtype: str) -> dict[str, Any]:
    """Return the gaps of ours in one dtype to the library's float64 answers, and facts of the graphs."""
    begin = time.perf_counter()
    weights = convert(peer.flow).to_chain()
    converted = time.perf_counter() - begin
    try:
        artifact = build_artifact(weights, Provenance("imported"), ExportSettings(dtype=dtype))
    except LunetExportError as error:
        return {"refused": str(error)}
    flow = ExportedFlow(artifact, provider="cpu")
    log_prob, decoded = flow.log_prob(x), flow.decode(z)
    exact_x, exact_z = torch.from_numpy(x).double(), torch.from_numpy(z).double()
    graphs = artifact.manifest.document["graphs"]
    return {
        "log_prob": gap(log_prob, peer.log_prob(exact_x).numpy()),
        "x": gap(decoded, peer.decode(exact_z).numpy()),
        "nodes": {name: graph["nodes"] for name, graph in graphs.items()},
        "convert_seconds": converted,
        "export_seconds": time.perf_counter() - begin - converted,
    }


def gap(found: NDArray[np.floating], exact: NDArray[np.float64]) -> float:
    """Return the largest |found - exact| / max(1, |exact|)."""
    return float((np.abs(found - exact) / np.maximum(1.0, np.abs(exact))).max())


def rows(document: Mapping[str, Any]) -> report.Rows:
    """Return a row per library and width: what its own export gives, and how far ours is from the library."""
    found = [["stack of 3 LU layers, D", "its own density", "its own sampling", "ours, float32: log p, x"]]
    found[0] += ["the library, float32: log p, x", "ours, float64: log p, x", "our nodes: density, sampling"]
    for entry in document["runs"]:
        ours = entry["ours"]
        gaps = [f"{ours[dtype]['log_prob']:.1e}, {ours[dtype]['x']:.1e}" for dtype in DTYPES]
        nodes = ", ".join(str(ours["float32"]["nodes"][name]) for name in ("density", "sampling"))
        own = [entry["own"][name] for name in ("density", "sampling")]
        theirs = f"{entry['theirs']['log_prob']:.1e}, {entry['theirs']['x']:.1e}"
        found.append([f"{entry['library']}, {entry['dim']}", *own, gaps[0], theirs, gaps[1], nodes])
    return found


if __name__ == "__main__":
    report.run(main)
