"""What a graph lacks: kernels of its operators, opset and types, and the limits that keep uploads out of a run."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnx
from onnx import defs, helper, shape_inference

FILE = Path(__file__).with_name("onnxruntime-1.31.1.json.gz")
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")

_OPEN_ENDED = 2**31 - 1
_TYPES = {"float32": "float", "float64": "double"}  # where ONNX Runtime's names are not NumPy's
_CONTROL_FLOW = {"Loop", "If", "Scan"}
_NEED_CUDNN = {"ReduceMax", "Einsum"}  # even for two axes
_MOST_PARTS, _MOST_UNEQUAL_PARTS = 32, 4


@dataclass(frozen=True)
class _Kernel:
    first: int  # opset
    last: int
    types: dict[str, list[str]]  # by the name of a type constraint

    def takes(self, since: int, types: list[tuple[str, str]]) -> bool:
        """ONNX Runtime's rule: a kernel without an end fits only the operator's version that it was written for."""
        fits = self.first <= since <= self.last if self.last != _OPEN_ENDED else self.first == since
        return fits and all(name in self.types.get(constraint, [name]) for constraint, name in types)


@cache
def _kernels() -> dict[str, dict[str, list[_Kernel]]]:
    document: dict[str, Any] = json.loads(gzip.decompress(FILE.read_bytes()))
    return {
        provider: {name: [_Kernel(*kernel) for kernel in kernels] for name, kernels in operators.items()}
        for provider, operators in document["kernels"].items()
    }


def lacking(model: onnx.ModelProto) -> dict[str, Counter[str]]:
    """Nodes without a kernel by provider, spelled as in `Gemm-13 float16`."""
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    graph, opset = inferred.graph, {entry.domain: entry.version for entry in model.opset_import}[""]
    types = {value.name: _name(value.type.tensor_type.elem_type) for value in (*graph.input, *graph.output)}
    types |= {value.name: _name(value.type.tensor_type.elem_type) for value in graph.value_info}
    types |= {tensor.name: _name(tensor.data_type) for tensor in graph.initializer}
    found: dict[str, Counter[str]] = {provider: Counter() for provider in PROVIDERS}
    for node in graph.node:
        schema = defs.get_schema(node.op_type, opset, node.domain)
        used = list(_constraints(schema.inputs, node.input, types))
        used += _constraints(schema.outputs, node.output, types)
        for provider in PROVIDERS:
            known = _kernels()[provider].get(node.op_type, [])
            if not any(kernel.takes(schema.since_version, used) for kernel in known):
                kinds = sorted({_numpy(name) for _, name in used})
                found[provider][f"{node.op_type}-{schema.since_version} {' '.join(kinds)}"] += 1
    return found


def _constraints(formal: Any, names: Any, types: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The type constraint of each operand and the type it has; the last formal operand may stand for many."""
    for position, name in enumerate(names):
        if name in types:
            yield formal[min(position, len(formal) - 1)].type_str, types[name]


def _name(element: int) -> str:
    name = str(helper.tensor_dtype_to_np_dtype(element))
    return f"tensor({_TYPES.get(name, name)})"


def _numpy(name: str) -> str:
    inner = name.removeprefix("tensor(").removesuffix(")")
    return {theirs: ours for ours, theirs in _TYPES.items()}.get(inner, inner)


def beyond_limits(model: onnx.ModelProto) -> list[str]:
    """What would upload in a run on CUDA, leave the GPU, or need cuDNN; in sentences."""
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*model.graph.value_info, *model.graph.output)}
    found = []
    for node in model.graph.node:
        if node.domain != "":
            found.append(f"{node.op_type} is of the domain {node.domain}")
        if node.op_type in _CONTROL_FLOW:
            found.append(f"{node.op_type} waits for the host")
        if node.op_type in _NEED_CUDNN:
            found.append(f"{node.op_type} needs cuDNN")
        if node.op_type == "Concat" and len(node.input) > _MOST_PARTS:
            found.append(f"Concat of {len(node.input)} parts uploads their sizes")
        if node.op_type == "Split":
            sizes = {shapes[part][1].dim_value for part in node.output}
            if len(node.output) > (_MOST_PARTS if len(sizes) == 1 else _MOST_UNEQUAL_PARTS):
                kind = "equal" if len(sizes) == 1 else "unequal"
                found.append(f"Split into {len(node.output)} {kind} parts uploads their sizes")
    return found
