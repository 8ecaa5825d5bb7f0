"""ONNX files that ONNX's own functions stumble over."""

from pathlib import Path

import onnx
import pytest

from lunet_export.errors import BadInputError
from lunet_export.graphs import builder, merge, verifier
from tests.verification.cases import dense, piecewise_linear


def damaged(path: Path, old: bytes, new: bytes) -> Path:
    data = dense(3).SerializeToString()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


def test_a_classifier_with_names_that_are_no_text_gets_a_sentence(tmp_path):
    """It was a TypeError of text and bytes."""
    path = damaged(tmp_path / "m.onnx", b"logits", b"logi\xff\xfe")
    with pytest.raises(BadInputError, match="Expected a"):
        merge.merge(verifier.build(piecewise_linear(3, 1), metadata={}), merge.read_classifier(path))


@pytest.mark.parametrize("element", [0, 99])
def test_an_onnx_file_of_unknown_numbers_is_described_or_refused(tmp_path, element):
    model = dense(3)
    model.graph.output[0].type.tensor_type.elem_type = element
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(BadInputError, match="Expected an ONNX graph"):
        builder.describe(tmp_path / "m.onnx")
