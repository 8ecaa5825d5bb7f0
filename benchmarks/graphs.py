"""Our graphs, opened as an export is, with their size and load time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from lunet_export.errors import BadInputError
from lunet_export.graphs import builder, floor, solvers
from lunet_export.graphs.frame import Frame
from lunet_export.layers import LU, Chain, triangular
from lunet_export.runtime.providers import open_sessions

Floats = NDArray[np.floating]

_LOADS = 5


@dataclass(frozen=True)
class Graph:
    """An open ONNX Runtime session on the CPU and the facts of its file."""

    nodes: int
    data: bytes
    load: float  # seconds until the session is open, median of five
    outputs: list[str]
    run: Callable[[Floats], list[Floats]]  # rows -> outputs

    def facts(self) -> dict[str, Any]:
        """Return facts for the results: nodes before ONNX Runtime optimizes, bytes of the file, and the load time."""
        return {"nodes": self.nodes, "bytes": len(self.data), "load_seconds": self.load}


def opened(model: onnx.ModelProto, threads: int) -> Graph:
    """Open the graph in a session like that of an exported flow."""
    data, times = builder.serialize(model), []
    for _ in range(_LOADS):
        begin = time.perf_counter()
        (session,), _ = open_sessions([data], "cpu", threads=threads)
        times.append(time.perf_counter() - begin)
    name = session.get_inputs()[0].name
    outputs = [tensor.name for tensor in session.get_outputs()]
    load = float(np.median(times))
    return Graph(len(model.graph.node), data, load, outputs, lambda rows: session.run(None, {name: rows}))


def sampling_graphs(weights: Chain) -> tuple[dict[str, onnx.ModelProto], dict[str, str]]:
    """Return a sampling graph of every solver that takes these weights, and why the others refuse."""
    models: dict[str, onnx.ModelProto] = {}
    refused: dict[str, str] = {}
    for name in solvers.SOLVERS:
        try:
            models[name] = sampling_graph(weights, name)
        except BadInputError as error:
            refused[name] = str(error)
    return models, refused


def sampling_graph(weights: Chain, solver: str) -> onnx.ModelProto:
    """Return the sampling graph of that solver with its own choice of tiles."""
    chosen = solvers.choose(solver, None, weights.dim)
    return Frame(weights, chosen, "float32").sampling({})


def density_graph(weights: Chain) -> onnx.ModelProto:
    """Return the density graph."""
    return Frame(weights, None, "float32").density({})


def floor_graph(weights: Chain) -> onnx.ModelProto:
    """Return one D x D product per block and nothing else: the time that no graph of ours can undercut."""
    return floor.build(weights.dim, len(weights.of(LU)), "float32")


def solve_graph(dim: int, tile: int, lower: NDArray[np.float64]) -> onnx.ModelProto:
    """Return the graph of y with L y = z alone, unrolled over tiles."""
    g = builder.GraphBuilder("solve", dim=dim, dtype="float32")
    ranges = triangular.tiles(dim, tile)
    parts = g.split(g.input("z"), [here.stop - here.start for here in ranges])
    block = LU(lower, np.eye(dim), np.zeros(dim))
    g.output("y", g.concat(solvers.forward(g, parts, block, ranges)))
    return g.finish({})
