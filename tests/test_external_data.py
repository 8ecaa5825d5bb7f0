"""A graph that keeps its weights in another file would have the process read that file: it is refused unread."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lunet_export import ExportedFlow
from lunet_export.artifact.graph_file import validate_operators
from lunet_export.errors import ArtifactError
from lunet_export.files.reading import sha256

N = 16


def outside(name: str = "w", location: str = "secret.bin") -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[N, N], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": str(4 * N * N)}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def model(*initializers, nodes=None, functions=()) -> bytes:
    nodes = nodes or [helper.make_node("MatMul", ["x", "w"], ["y"])]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [N, N])] for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", *ends, list(initializers))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8).SerializeToString()


def inside(name: str = "w") -> TensorProto:
    return numpy_helper.from_array(np.eye(N, dtype=np.float32), name)


def branch() -> bytes:
    """In a branch of an If, in an attribute, in a graph."""
    constant = helper.make_node("Constant", [], ["z"], value=outside("value"))
    z = [helper.make_tensor_value_info("z", TensorProto.FLOAT, [N, N])]
    body = helper.make_graph([constant], "body", [], z)
    condition = numpy_helper.from_array(np.array(True), "c")
    return model(condition, nodes=[helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)])


def function() -> bytes:
    constant = helper.make_node("Constant", [], ["z"], value=outside("value"))
    own = helper.make_function("own", "f", ["x"], ["z"], [constant], [helper.make_opsetid("", 18)])
    return model(nodes=[helper.make_node("f", ["x"], ["y"], domain="own")], functions=[own])


def default() -> bytes:
    """What an attribute of a function is where its caller says nothing."""
    proto = onnx.ModelProto.FromString(function())
    del proto.functions[0].node[:]
    proto.functions[0].attribute_proto.add(name="a", type=onnx.AttributeProto.TENSOR, t=outside("a"))
    return proto.SerializeToString()


def sparse() -> bytes:
    proto = onnx.ModelProto.FromString(model(inside()))
    proto.graph.sparse_initializer.add(values=outside("s"), dims=[N, N])
    return proto.SerializeToString()


def unmarked() -> bytes:
    """The location is there, and data_location does not say so."""
    tensor = outside()
    tensor.ClearField("data_location")
    return model(tensor)


def padded() -> bytes:
    """A length in more bytes than it needs, which protobuf's readers take."""
    data = model(outside())
    return data.replace(b"\x0a\x08location", b"\x0a\x88\x00location")


CASES = {
    "a weight": lambda: model(outside()),
    "the second of two": lambda: model(inside("v"), outside()),
    "a branch": branch,
    "a function": function,
    "the default of a function": default,
    "a sparse weight": sparse,
    "unmarked": unmarked,
    "a padded length": padded,
    "cut short": lambda: model(outside())[:-3],
    "noise": lambda: b"\xff" * 40 + b"location",
}


@pytest.mark.parametrize("case", CASES)
def test_weights_in_other_files_are_refused(case):
    """Whatever operators a graph may have."""
    with pytest.raises(ArtifactError, match=r"numbers that are kept in another file|it is damaged"):
        validate_operators(CASES[case](), "merged.onnx", None)


def test_onnx_runtime_would_have_read_them(tmp_path, monkeypatch):
    """Proof that there is something to refuse: the numbers that come out are the file's."""
    import onnxruntime

    monkeypatch.chdir(tmp_path)
    secret = np.arange(N * N, dtype=np.float32).reshape(N, N)
    secret.tofile("secret.bin")
    session = onnxruntime.InferenceSession(model(outside()), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": np.eye(N, dtype=np.float32)})[0], secret)
    with pytest.raises(ArtifactError, match=r"numbers that are kept in another file, which is refused"):
        validate_operators(model(outside()), "density.onnx")


def test_a_folder_whose_graph_names_a_file_is_refused(folder, rewrite):
    """By one who mends hashes and sizes too."""
    graph = onnx.load(folder / "density.onnx")
    graph.graph.initializer[0].CopyFrom(outside(graph.graph.initializer[0].name, "/etc/passwd"))
    data = graph.SerializeToString()
    (folder / "density.onnx").write_bytes(data)
    rewrite(folder, lambda d: d["sha256"].update({"density.onnx": sha256(data)}))
    with pytest.raises(ArtifactError, match=r"numbers that are kept in another file, which is refused"):
        ExportedFlow(folder, provider="cpu")


@pytest.mark.parametrize("name", ["location", "localisation/location:0"])
def test_the_word_alone_is_no_reason(name):
    """A classifier behind a generator may call its tensors so."""
    data = model(inside(name), nodes=[helper.make_node("MatMul", ["x", name], ["y"])])
    assert b"location" in data
    validate_operators(data, "merged.onnx", None)
    validate_operators(data, "density.onnx")
