"""What is counted of a graph."""

from typing import Any

import onnx

from lunet_export.graphs import builder


def work_items(model: onnx.ModelProto) -> int:
    """Launches of the CUDA provider: one a node, one more for the third operand of a Gemm, none for a Reshape."""
    return sum(_launches(node) for node in model.graph.node)


def _launches(node: onnx.NodeProto) -> int:
    if node.op_type == "Reshape":  # the same bytes under another shape
        return 0
    return 2 if node.op_type == "Gemm" and len(node.input) == 3 else 1


def census(model: onnx.ModelProto) -> dict[str, Any]:
    """Nodes, operators and launches of a graph, for the manifest."""
    return {"nodes": len(model.graph.node), "work_items": work_items(model), "operators": builder.operators(model)}
