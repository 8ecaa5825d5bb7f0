"""Counts of a graph's nodes, operators and launches."""

from typing import Any

import onnx

from lunet_export.graphs import builder


def work_items(model: onnx.ModelProto) -> int:
    """Return the CUDA provider's launches: one per node, one more for a Gemm's third operand, none for a Reshape.

    A Reshape whose result is an output of the graph is a copy.
    """
    outputs = {output.name for output in model.graph.output}
    return sum(_launches(node, outputs) for node in model.graph.node)


def _launches(node: onnx.NodeProto, outputs: set[str]) -> int:
    if node.op_type == "Reshape":  # the same bytes under another shape
        return len(outputs.intersection(node.output))
    return 2 if node.op_type == "Gemm" and len(node.input) == 3 else 1


def census(model: onnx.ModelProto) -> dict[str, Any]:
    """Return nodes, operators and launches of a graph, for the manifest."""
    return {"nodes": len(model.graph.node), "work_items": work_items(model), "operators": builder.operators(model)}
