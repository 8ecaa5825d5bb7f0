"""The floor: the matrix products of a flow and nothing else, the least that either direction can cost."""

import numpy as np
import onnx

from lunet_export.errors import BadInputError
from lunet_export.graphs.builder import GraphBuilder


def build(dim: int, blocks: int, dtype: str) -> onnx.ModelProto:
    """Return `blocks` dense (dim, dim) products in a row: x [batch, dim] -> y [batch, dim].

    One product per block is what a fused L U costs, and also the arithmetic of its two triangular factors. The weights
    are seeded normal numbers over sqrt(dim): they keep a row about as long as it is, so every number stays finite.

    Raises:
        BadInputError: if there is no block or no dimension.
    """
    if dim < 1 or blocks < 1:
        raise BadInputError(f"Expected at least one dimension and one block; got {dim} and {blocks}.")
    g = GraphBuilder("floor", dim=dim, dtype=dtype)
    rng = np.random.default_rng(0)
    rows = g.input("x")
    for number in range(1, blocks + 1):
        with g.scope(f"block{number}"):
            rows = g.gemm(rows, rng.standard_normal((dim, dim)) / np.sqrt(dim))
    g.output("y", rows)
    return g.finish({})


def product(size: int) -> onnx.ModelProto:
    """Return one product of two (size, size) float32 matrices that the caller feeds, a, b -> y.

    `runtime.doctor` ships it.
    """
    g = GraphBuilder("product", dim=size, dtype="float32")
    g.output("y", g.node("MatMul", g.input("a", rows=size), g.input("b", rows=size)))
    return g.finish({})
