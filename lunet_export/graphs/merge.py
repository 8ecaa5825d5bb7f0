"""A generator and a classifier's ONNX file as one graph, z -> the classifier's outputs.

The classifier's nodes stay as they are, with a prefix before every name. The merged graph is declared at the
generator's opset where every operator of the classifier is the same there, else at the classifier's own: the
generator's few operators mean the same from opset 7 on.
"""

from math import prod
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, checker, compose, defs, helper, numpy_helper, shape_inference

from lunet_export.errors import BadInputError
from lunet_export.graphs import builder

_PREFIX = "classifier."
_OLDEST = 7  # Gemm as it is used here


def read_classifier(path: Path) -> onnx.ModelProto:
    """The model in a file, with what it keeps in files beside it.

    Raises:
        BadInputError: The file is missing or no ONNX model.
    """
    if not path.is_file():
        raise BadInputError(f"Expected a classifier's ONNX file; {path} does not exist.")
    try:
        model = onnx.load(path)
        checker.check_model(model, full_check=True)
    except (DecodeError, checker.ValidationError, shape_inference.InferenceError, ValueError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise BadInputError(f"Expected an ONNX model in {path}; it is none: {reason}.") from None
    return model


def merge(generator: onnx.ModelProto, classifier: onnx.ModelProto) -> onnx.ModelProto:
    """The merged graph, at batch 1; a Reshape stands between the two only where the classifier takes no [1, D].

    Raises:
        BadInputError: The classifier has not one float32 input of D numbers a row and one output, its opset is older
            than 7, or its output's shape cannot be told.
    """
    (x,) = generator.graph.output
    dim = x.type.tensor_type.shape.dim[1].dim_value
    shape = _input_shape(classifier, dim)
    opset = _opset(classifier, generator.opset_import[0].version)
    first, second = onnx.ModelProto(), onnx.ModelProto()
    first.CopyFrom(generator)
    second.CopyFrom(classifier)
    _at_batch_one(second, shape)
    second = compose.add_prefix(second, _PREFIX)
    fed = x.name
    if shape != [1, dim]:
        fed = _reshape(first, x, shape)
    for model in (first, second):
        model.ir_version = builder.IR_VERSION
        for entry in model.opset_import:
            if entry.domain in ("", "ai.onnx"):
                entry.version = opset
    merged = compose.merge_models(
        first, second, io_map=[(fed, second.graph.input[0].name)], producer_name=builder.PRODUCER
    )
    merged.graph.name = "merged"
    del merged.metadata_props[:]
    helper.set_model_props(merged, {entry.key: entry.value for entry in generator.metadata_props})
    return _finished(merged)


def outputs_of(model: onnx.ModelProto) -> int:
    """How many numbers the first output of a graph has."""
    return prod(entry.dim_value for entry in model.graph.output[0].type.tensor_type.shape.dim)


def _input_shape(classifier: onnx.ModelProto, dim: int) -> list[int]:
    """The shape that one row takes, a batch axis without a number being 1."""
    constants = {tensor.name for tensor in classifier.graph.initializer}
    inputs = [entry for entry in classifier.graph.input if entry.name not in constants]
    if len(inputs) != 1 or len(classifier.graph.output) != 1:
        raise BadInputError(
            f"Expected a classifier with one input and one output; got {len(inputs)} and "
            f"{len(classifier.graph.output)}. Cut it to its logits."
        )
    tensor = inputs[0].type.tensor_type
    if tensor.elem_type != TensorProto.FLOAT or not tensor.HasField("shape"):
        raise BadInputError("Expected a classifier that takes float32 rows of a known shape; got another. Convert it.")
    lengths = [entry.dim_value if entry.HasField("dim_value") else 0 for entry in tensor.shape.dim]
    shape = [length or 1 for length in lengths]
    if prod(shape) != dim or 0 in lengths[1:]:
        raise BadInputError(
            f"Expected a classifier of rows of {dim} numbers; its input is {_shown(lengths)}. "
            "Give the classifier of the model's data, at batch 1."
        )
    return shape


def _shown(lengths: list[int]) -> str:
    return "[" + ", ".join(str(length) if length else "N" for length in lengths) + "]"


def _opset(classifier: onnx.ModelProto, wanted: int) -> int:
    own = next((entry.version for entry in classifier.opset_import if entry.domain in ("", "ai.onnx")), wanted)
    if own < _OLDEST:
        raise BadInputError(
            f"Expected a classifier of opset {_OLDEST} or newer; got {own}. Convert it with onnx.version_converter."
        )
    newest = max((_since(node, own) for node in classifier.graph.node), default=0)
    plain = not classifier.functions and not any(_has_subgraph(node) for node in classifier.graph.node)
    return wanted if own >= wanted >= newest and plain else own


def _since(node: onnx.NodeProto, opset: int) -> int:
    """The opset from which on the operator is as it is at `opset`."""
    return int(defs.get_schema(node.op_type, opset, "").since_version) if node.domain in ("", "ai.onnx") else 0


def _has_subgraph(node: onnx.NodeProto) -> bool:
    return any(
        attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for attribute in node.attribute
    )


def _at_batch_one(model: onnx.ModelProto, shape: list[int]) -> None:
    """Fix the shape of the input and forget those that followed from another."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in constants]
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info(inputs[0].name, TensorProto.FLOAT, shape))
    del model.graph.value_info[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")


def _reshape(model: onnx.ModelProto, x: onnx.ValueInfoProto, shape: list[int]) -> str:
    name = f"{x.name}_as_input"
    model.graph.initializer.append(numpy_helper.from_array(np.array(shape, dtype=np.int64), f"{name}.shape"))
    model.graph.node.append(helper.make_node("Reshape", [x.name, f"{name}.shape"], [name], name=name))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return name


def _finished(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        found = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        checker.check_model(found, full_check=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise BadInputError(f"Expected a classifier that takes the generator's rows; ONNX says: {reason}.") from None
    tensor = found.graph.output[0].type.tensor_type
    if not tensor.HasField("shape") or not all(entry.dim_value for entry in tensor.shape.dim):
        raise BadInputError(
            "Expected a classifier whose output has a known shape for one row; it cannot be told. Export it at batch 1."
        )
    return found
