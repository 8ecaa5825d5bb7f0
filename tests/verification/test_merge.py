"""A generator and a classifier as one graph."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lunet_export.errors import BadInputError
from lunet_export.export import Provenance, Question, export_for_verifier
from lunet_export.graphs import merge
from lunet_export.preprocessing import NAMED
from lunet_export.verification import VerifierFolder
from lunet_export.verification.replay import run
from tests.verification.cases import CLASSES, CLASSIFIERS, _model, dense, piecewise_linear

WEIGHTS = piecewise_linear(16, 2)


@pytest.mark.parametrize(("make", "shape", "opset"), CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_the_merged_graph_is_the_classifier_of_the_generator(make, shape, opset, tmp_path):
    classifier = make()
    question = Question((0.9,), classifier, "class 1")
    written = export_for_verifier(WEIGHTS, tmp_path / "m", Provenance("m"), question)
    (check,) = (check for check in written.checks if check.name == "merged = classifier of generator")
    assert check.passed
    model = onnx.load(tmp_path / "m" / "merged.onnx")
    names = [node.op_type for node in model.graph.node]
    between = ["Reshape"] if shape != [1, 16] else []
    assert names == ["Gemm", "LeakyRelu", "Gemm", *between, *(node.op_type for node in classifier.graph.node)]
    assert ([entry.version for entry in model.opset_import], model.ir_version) == ([opset], 8)
    (z,), (y,) = model.graph.input, model.graph.output
    assert [d.dim_value for d in z.type.tensor_type.shape.dim] == [1, 16]
    assert [d.dim_value for d in y.type.tensor_type.shape.dim] == [1, CLASSES]
    assert y.name == f"classifier.{classifier.graph.output[0].name}"
    outputs = [output for node in model.graph.node for output in node.output]
    assert len(set(outputs)) == len(outputs)
    assert written.document["graphs"]["merged"]["outputs"] == CLASSES


def test_the_classifier_is_left_as_it_was(tmp_path):
    classifier = dense(16)
    before = classifier.SerializeToString()
    export_for_verifier(WEIGHTS, tmp_path / "m", Provenance("m"), Question((0.9,), classifier))
    assert classifier.SerializeToString() == before


def test_the_queries_are_about_the_classifiers_outputs(tmp_path):
    question = Question((0.5, 0.9), dense(16), "class 1")
    export_for_verifier(WEIGHTS, tmp_path / "m", Provenance("m"), question)
    folder = VerifierFolder.open(tmp_path / "m")
    assert sorted(folder.queries) == sorted(
        f"{stem}.vnnlib"
        for mass in (0.5, 0.9)
        for stem in (f"box-{mass}", f"query-{mass}", f"query-{mass}-rival-0", f"query-{mass}-rival-2")
    )
    whole = folder.queries["query-0.9.vnnlib"]
    assert (whole.outputs, len(whole.cases), folder.graph_of("query-0.9.vnnlib")) == (CLASSES, 2, "merged.onnx")
    assert folder.queries["query-0.9-rival-2.vnnlib"].cases == (whole.cases[1],)
    box = folder.queries["box-0.9.vnnlib"]
    assert (box.outputs, box.cases, box.upper) == (16, (), whole.upper)


def test_a_fault_of_the_merge_is_caught(tmp_path, monkeypatch):
    from lunet_export.errors import CheckFailedError

    right = merge.merge

    def swapped(generator, classifier):
        return right(generator, dense(16, seed=4))

    monkeypatch.setattr(merge, "merge", swapped)
    with pytest.raises(CheckFailedError, match="merged = classifier of generator"):
        export_for_verifier(WEIGHTS, tmp_path / "m", Provenance("m"), Question((0.9,), dense(16)))
    assert list(tmp_path.iterdir()) == []


def test_initializers_among_the_inputs_are_no_inputs(tmp_path):
    """As files of IR 3 have them."""
    old = dense(16)
    for tensor in old.graph.initializer:
        old.graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, list(tensor.dims)))
    export_for_verifier(WEIGHTS, tmp_path / "m", Provenance("m"), Question((0.9,), old))
    z = np.zeros(16, dtype=np.float32)
    (y,) = run((tmp_path / "m" / "merged.onnx").read_bytes(), z, outputs=1)
    assert y.shape == (CLASSES,)


def test_a_model_with_a_logit_takes_no_classifier(tmp_path):
    weights = piecewise_linear(16, 2, preprocessing=NAMED["digits"])
    with pytest.raises(BadInputError, match="without pre-processing for `classifier`"):
        export_for_verifier(weights, tmp_path / "m", Provenance("m"), Question((0.9,), dense(16)))


def two_outputs():
    model = dense(16)
    model.graph.output.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, ["N", 5]))
    return model


def of_doubles():
    model = dense(16)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    return model


def many_rows():
    return _model([helper.make_node("Identity", ["rows"], ["logits"])], [2, 8], {}, opset=13, ir_version=7, width=8)


def without_shape():
    """Cut to as many numbers as the input says at run time: nobody knows before."""
    nodes = [
        helper.make_node("NonZero", ["rows"], ["places"]),
        helper.make_node("Cast", ["places"], ["logits"], to=TensorProto.FLOAT),
    ]
    return _model(nodes, ["N", 16], {}, opset=13, ir_version=7, width="K")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: dense(15), "rows of 16 numbers; its input is [N, 15]"),
        (two_outputs, "one input and one output; got 1 and 2"),
        (of_doubles, "float32 rows"),
        (lambda: dense(16, opset=6), "opset 7 or newer; got 6"),
        (without_shape, "known shape for one row"),
    ],
)
def test_other_classifiers_are_refused(make, said, tmp_path):
    with pytest.raises(BadInputError) as error:
        export_for_verifier(WEIGHTS, tmp_path / "m", Provenance("m"), Question((0.9,), make()))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x08" + bytes(100)], ids=["empty", "text", "bytes"])
def test_a_file_that_is_no_model_is_refused(content, tmp_path):
    path = tmp_path / "c.onnx"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="Expected an ONNX model"):
        merge.read_classifier(path)
    with pytest.raises(BadInputError, match="does not exist"):
        merge.read_classifier(tmp_path / "none.onnx")
    with pytest.raises(BadInputError, match="does not exist"):
        merge.read_classifier(tmp_path)
