"""ONNX models."""

from random import Random

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.fuzz.mutations import ELSEWHERE


def mutate(data: bytes, rng: Random) -> tuple[str, bytes]:
    """One or two changes that a writer of ONNX could make, and the last one's name."""
    model = onnx.load_model_from_string(data)
    name = ""
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(list(_WAYS))
        _WAYS[name](model, rng)
    return name, model.SerializeToString()


def outside(data: bytes, rng: Random) -> tuple[str, bytes]:
    """The model with a constant's numbers in another file."""
    model = onnx.load_model_from_string(data)
    way = rng.choice(("an initializer", "an attribute", "a branch", "a function", "a sparse initializer"))
    constant = rng.choice(list(model.graph.initializer))
    tensor = TensorProto()
    tensor.CopyFrom(constant)
    _elsewhere(tensor, rng)
    if way == "an initializer":
        constant.CopyFrom(tensor)
    elif way == "an attribute":
        model.graph.node.append(_constant(tensor))
    elif way == "a sparse initializer":
        entry = model.graph.sparse_initializer.add()
        entry.values.CopyFrom(tensor)
        entry.indices.CopyFrom(numpy_helper.from_array(np.arange(2), "places"))
        entry.dims.append(4)
    elif way == "a branch":
        branch = helper.make_graph([_constant(tensor)], "branch", [], [helper.make_empty_tensor_value_info("there")])
        yes = numpy_helper.from_array(np.array(True), "yes")
        model.graph.initializer.append(yes)
        model.graph.node.append(helper.make_node("If", ["yes"], ["there"], then_branch=branch, else_branch=branch))
    else:
        function = helper.make_function(
            "own", "There", [], ["there"], [_constant(tensor)], [helper.make_opsetid("", 18)]
        )
        model.functions.append(function)
        model.opset_import.append(helper.make_opsetid("own", 1))
        model.graph.node.append(helper.make_node("There", [], ["there"], domain="own"))
    return way, model.SerializeToString()


def _constant(tensor: TensorProto) -> onnx.NodeProto:
    node = onnx.NodeProto(op_type="Constant", output=["there"])
    attribute = node.attribute.add()
    attribute.name, attribute.type = "value", onnx.AttributeProto.TENSOR
    attribute.t.CopyFrom(tensor)
    return node


def _elsewhere(tensor: TensorProto, rng: Random) -> None:
    for key in ("raw_data", "float_data", "double_data", "int64_data"):
        tensor.ClearField(key)
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", rng.choice((*ELSEWHERE, "secret", "density.onnx", "vectors.json"))
    if rng.random() < 0.5:
        for key in ("offset", "length"):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(rng.choice((0, 4, 16, 2**40, -1)))


def _another_operator(model: onnx.ModelProto, rng: Random) -> None:
    rng.choice(model.graph.node).op_type = rng.choice(
        ("Add", "Mul", "Exp", "Log", "Relu", "Softmax", "NoSuch", "", "Loop")
    )


def _another_domain(model: onnx.ModelProto, rng: Random) -> None:
    rng.choice(model.graph.node).domain = rng.choice(("com.microsoft", "own", "ai.onnx.ml"))


def _without_node(model: onnx.ModelProto, rng: Random) -> None:
    del model.graph.node[rng.randrange(len(model.graph.node))]


def _rewired(model: onnx.ModelProto, rng: Random) -> None:
    names = [name for node in model.graph.node for name in (*node.input, *node.output)]
    node = rng.choice([node for node in model.graph.node if node.input])
    node.input[rng.randrange(len(node.input))] = rng.choice((*names, "", "nowhere"))


def _another_constant(model: onnx.ModelProto, rng: Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    values = np.array(numpy_helper.to_array(tensor))
    if values.size and values.dtype.kind == "f":
        values.reshape(-1)[rng.randrange(values.size)] = rng.choice((np.nan, np.inf, 0.0, -1.0, 1e30, 1.5))
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _claimed(model: onnx.ModelProto, rng: Random) -> None:
    """A constant of more numbers than there are."""
    tensor = rng.choice(model.graph.initializer)
    if tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice((0, -1, 2**31, 2**40, 2**62))


def _filled(model: onnx.ModelProto, rng: Random) -> None:
    """A node that makes very many numbers of two."""
    count = rng.choice((2**28, 2**31, 2**36, 2**40))
    shape = numpy_helper.from_array(np.array([count], dtype=np.int64), "how many")
    model.graph.initializer.append(shape)
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["how many"], ["filled"]))
    last = model.graph.node[-1]
    model.graph.node.append(helper.make_node("ReduceSum", ["filled"], ["of filled"], keepdims=0))
    model.graph.node.append(helper.make_node("Identity", [last.output[0]], ["also"]))


def _endless(model: onnx.ModelProto, rng: Random) -> None:
    """A loop of 2^62 rounds, in front of the result."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["on still"]), helper.make_node("Identity", ["in"], ["out"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("out", TensorProto.FLOAT, None),
        ],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(2**62), "rounds"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    last = model.graph.node[-1]
    name, last.output[0] = last.output[0], "before the loop"
    model.graph.node.append(helper.make_node("Loop", ["rounds", "yes", "before the loop"], [name], body=body))


def _another_end(model: onnx.ModelProto, rng: Random) -> None:
    entry = rng.choice((*model.graph.input, *model.graph.output))
    dims = entry.type.tensor_type.shape.dim
    way = rng.randrange(4)
    if way == 0:
        entry.name = rng.choice(("y", "", "\n", "x" * 5000))
    elif way == 1:
        entry.type.tensor_type.elem_type = rng.choice((0, 1, 7, 11, 16, 99))
    elif way == 2:
        entry.type.tensor_type.ClearField("shape")
    elif dims:
        dims[-1].dim_value = rng.choice((0, -1, 1, 2**40))


def _another_version(model: onnx.ModelProto, rng: Random) -> None:
    if rng.random() < 0.5:
        model.ir_version = rng.choice((0, 1, 3, 99, 2**62))
    else:
        model.opset_import[0].version = rng.choice((0, 1, 7, 99, 2**40))


def _other_words(model: onnx.ModelProto, rng: Random) -> None:
    if model.metadata_props:
        entry = rng.choice(model.metadata_props)
        entry.value = rng.choice(("", "2", "none", entry.value * 1000, "\n"))


_WAYS = {
    "operator": _another_operator,
    "domain": _another_domain,
    "node gone": _without_node,
    "rewired": _rewired,
    "constant": _another_constant,
    "claimed size": _claimed,
    "filled": _filled,
    "endless": _endless,
    "end": _another_end,
    "version": _another_version,
    "words": _other_words,
}
