"""Graphs of exported folders hold what exports write; anything else is refused before a runtime opens it."""

from random import Random

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from lunet_export.artifact import graph_file, open_folder
from lunet_export.errors import ArtifactError
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.files.reading import sha256
from tests.families import composed, jko, realnvp
from tests.fuzz.mutations import graphs
from tests.networks import network

FAMILIES = {
    "lunet": (network(3, 2), ExportSettings(with_log_prob=True, rng=True)),
    "leaky relu": (network(3, 2, activation="leaky-relu"), None),
    "leaky tanh": (network(3, 2, activation="leaky-tanh"), None),
    "float16": (network(3, 2), ExportSettings(dtype="float16")),
    "realnvp": (realnvp.convolutional(4, 2), None),
    "dense realnvp": (realnvp.dense(2, 4, couplings=2), None),
    "jko": (jko.flow(2, (4, 5), blocks=1), ExportSettings(hutchinson=True)),
    "three hidden layers": (jko.flow(3, (3, 4, 5), blocks=1), None),
    **{f"composed, {name}": (make(), None) for name, make in composed.NETWORKS.items()},
}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_export_holds_operators_that_are_known(name, tmp_path):
    weights, settings = FAMILIES[name]
    export(weights, tmp_path / "m", Provenance("m"), settings)
    assert open_folder(tmp_path / "m").graphs


@pytest.fixture
def density(folder):
    return open_folder(folder).graphs["density"]


def changed(data, edit):
    model = onnx.load_model_from_string(data)
    edit(model)
    return model.SerializeToString()


@pytest.mark.parametrize("seed", range(12))
def test_numbers_in_another_file_are_refused_wherever_they_are(density, seed):
    _, data = graphs.outside(density, Random(seed))
    with pytest.raises(ArtifactError, match=r"x.onnx; it has (numbers|a graph|a function|a sparse|the operator)"):
        graph_file.validate_operators(data, "x.onnx")
    with pytest.raises(ArtifactError, match="kept in another file"):  # a classifier's own graph may have the others
        graph_file.validate_operators(data, "x.onnx", None)


def test_a_folder_cannot_read_a_file_elsewhere(folder, rewrite, density):
    (folder / "secret").write_bytes(np.full(16, 7.0, np.float32).tobytes())
    _, data = graphs.outside(density, Random(0))
    (folder / "density.onnx").write_bytes(data)
    rewrite(folder, lambda d: d["sha256"].update({"density.onnx": sha256(data)}))
    with pytest.raises(ArtifactError, match="which is refused"):
        open_folder(folder)


def add(*nodes):
    return lambda model: model.graph.node.extend(nodes)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (add(helper.make_node("Loop", ["n"], ["y"])), "the operator Loop"),
        (add(helper.make_node("ConstantOfShape", ["n"], ["y"])), "the operator ConstantOfShape"),
        (add(helper.make_node("Add", ["n", "n"], ["y"], domain="com.microsoft")), "the operator Add"),
        (add(helper.make_node("", ["n"], ["y"])), "the operator without a name"),
        (
            add(helper.make_node("Add", ["n"], ["y"], body=helper.make_graph([], "g", [], []))),
            "a graph inside a node",
        ),
        (lambda model: model.functions.add(name="f"), "a function"),
        (lambda model: model.training_info.add().initialization.CopyFrom(onnx.GraphProto(name="g")), "training"),
    ],
)
def test_what_no_export_does_is_refused(density, edit, told):
    with pytest.raises(ArtifactError, match=told):
        graph_file.validate_operators(changed(density, edit), "x.onnx")


def length_of(data):
    return bytes([len(data) & 127 | 128, len(data) >> 7])


def test_a_classifier_may_have_branches_but_not_without_end(density):
    inner = b""
    for _ in range(35):  # a graph of a node with an attribute that is a graph; protobuf's own writer stops earlier
        for field in (6, 5, 1):
            inner = bytes([field << 3 | 2]) + length_of(inner) + inner
    data = b"\x3a" + length_of(inner) + inner
    with pytest.raises(ArtifactError, match="graphs inside graphs"):
        graph_file.validate_operators(data, "x.onnx", None)
    constant = numpy_helper.from_array(np.zeros(2), "c")
    graph_file.validate_operators(
        changed(density, add(helper.make_node("Constant", [], ["y"], value=constant))), "x", None
    )


@pytest.mark.parametrize("data", [b"", b"\x3a", b"\x3a\xff\xff\xff\xff\x0f", b"\xff" * 40, b"\x3b\x00", b"\x3d\x01"])
def test_what_is_no_graph_is_refused_or_empty(data):
    if data:
        with pytest.raises(ArtifactError, match="damaged or another format"):
            graph_file.validate_operators(data, "x.onnx")
    else:
        graph_file.validate_operators(data, "x.onnx")  # a runtime says that there is no graph in it


def test_a_file_of_very_many_parts_is_refused_before_all_are_looked_at():
    with pytest.raises(ArtifactError, match="more than 2000000 parts"):
        graph_file.validate_operators(b"\x08\x01" * 2_000_001, "x.onnx")
