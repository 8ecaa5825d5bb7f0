"""A generator and a classifier's ONNX file as one graph, z -> the classifier's outputs.

The classifier's nodes stay as they are, with a prefix before every name, and so does its opset, which the merged graph
takes: Gemm, LeakyRelu and Reshape mean the same from opset 7 on. The IR version is that of all our graphs.
"""

from math import prod
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, checker, compose, helper, numpy_helper, shape_inference

from lunet_export.errors import BadInputError
from lunet_export.graphs import builder

_PREFIX = "classifier."
_OLDEST = 7  # Gemm as it is used here
_ONNX = ("", "ai.onnx")  # two names of one domain
#: Errors that ONNX's own functions raise if there is no model, or a damaged one.
_MALFORMED = (
    *(DecodeError, checker.ValidationError, shape_inference.InferenceError),
    *(ValueError, TypeError, AttributeError, LookupError, RuntimeError, ArithmeticError),
)


def read_classifier(path: Path) -> onnx.ModelProto:
    """Return the model in a file, with what it keeps in files beside it.

    Raises:
        BadInputError: if the file is missing or no ONNX model.
    """
    if not path.is_file():
        raise BadInputError(f"Expected a classifier's ONNX file; {path} does not exist.")
    try:
        model = onnx.load(path)
        checker.check_model(model, full_check=True)
    except (*_MALFORMED, OSError) as error:
        raise BadInputError(f"Expected an ONNX model in {path}; it is not: {_first_line(error)}.") from None
    return model


def merge(generator: onnx.ModelProto, classifier: onnx.ModelProto) -> onnx.ModelProto:
    """Return the merged graph, at batch 1, with a Reshape between the two only if the classifier takes no [1, D].

    Raises:
        BadInputError: if the classifier does not have one float32 input of D numbers per row and one output, its opset
            is older than 7, or its output's shape cannot be inferred.
    """
    try:
        return _merged(generator, classifier)
    except _MALFORMED as error:  # for example for names that are not text
        raise BadInputError(f"Expected a classifier that ONNX can merge; it says: {_first_line(error)}.") from None


def _merged(generator: onnx.ModelProto, classifier: onnx.ModelProto) -> onnx.ModelProto:
    (x,) = generator.graph.output
    dim = x.type.tensor_type.shape.dim[1].dim_value
    shape = _input_shape(classifier, dim)
    opset = _opset(classifier)
    first, second = onnx.ModelProto(), onnx.ModelProto()
    first.CopyFrom(generator)
    second.CopyFrom(classifier)
    second = compose.add_prefix(_at_batch_one(second, shape), _PREFIX)
    fed = x.name
    if shape != [1, dim]:
        fed = _reshape(first, x, shape)
    del first.opset_import[:]
    first.opset_import.append(helper.make_opsetid("", opset))
    for model in (first, second):
        model.ir_version = builder.IR_VERSION
    merged = compose.merge_models(
        first, second, io_map=[(fed, second.graph.input[0].name)], producer_name=builder.PRODUCER
    )
    merged.graph.name = "merged"
    others = [entry for entry in second.opset_import if entry.domain not in _ONNX]
    del merged.opset_import[:], merged.metadata_props[:]
    merged.opset_import.extend([helper.make_opsetid("", opset), *others])
    helper.set_model_props(merged, {entry.key: entry.value for entry in generator.metadata_props})
    checker.check_model(merged, full_check=True)
    return merged


def outputs_of(model: onnx.ModelProto) -> int:
    """Return how many numbers the first output of a graph has."""
    return prod(entry.dim_value for entry in model.graph.output[0].type.tensor_type.shape.dim)


def _input_shape(classifier: onnx.ModelProto, dim: int) -> list[int]:
    """Return the shape that one row takes, a batch axis without a number being 1."""
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


def _opset(classifier: onnx.ModelProto) -> int:
    opset = next((entry.version for entry in classifier.opset_import if entry.domain in _ONNX), 0)
    if opset < _OLDEST:
        raise BadInputError(
            f"Expected a classifier of opset {_OLDEST} or newer; got {opset}. Convert it with onnx.version_converter."
        )
    return int(opset)


def _at_batch_one(model: onnx.ModelProto, shape: list[int]) -> onnx.ModelProto:
    """Return the model with the shape of its input fixed, and all others as they follow from it."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in constants]
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info(inputs[0].name, TensorProto.FLOAT, shape))
    del model.graph.value_info[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    try:
        found = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as error:
        raise BadInputError(f"Expected a classifier that takes one row; ONNX says: {_first_line(error)}.") from None
    tensor = found.graph.output[0].type.tensor_type
    if not tensor.HasField("shape") or not all(entry.dim_value for entry in tensor.shape.dim):
        raise BadInputError(
            "Expected a classifier whose output has a known shape for one row; it cannot be inferred. "
            "Export it at batch 1."
        )
    return found


def _reshape(model: onnx.ModelProto, x: onnx.ValueInfoProto, shape: list[int]) -> str:
    name = f"{x.name}_as_input"
    model.graph.initializer.append(numpy_helper.from_array(np.array(shape, dtype=np.int64), f"{name}.shape"))
    model.graph.node.append(helper.make_node("Reshape", [x.name, f"{name}.shape"], [name], name=name))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return name


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
