"""Exporting one network per class: whole or not at all, never unchecked, and what the folder says of itself."""

import json

import numpy as np
import onnx
import pytest

from lunet_export import ExportedClasses, ExportedFlow
from lunet_export.artifact import open_folder, read_manifest
from lunet_export.checks import reference
from lunet_export.errors import ArtifactError, BadInputError
from lunet_export.export import ExportCheckError, ExportSettings, Provenance, export
from lunet_export.files.reading import sha256
from lunet_export.graphs import mixture as mixture_graph
from lunet_export.preprocessing import NAMED
from lunet_export.torch_layers import eager
from tests import tolerances
from tests.networks import CLASS_NAMES, PRIORS, mixture, network, rows

CASES = {
    "6-D vectors": (lambda: mixture(6, 3), ExportSettings()),
    "4 x 4 images": (lambda: mixture(16, 3, preprocessing=NAMED["digits"]), ExportSettings()),
    "auto": (lambda: mixture(6, 2), ExportSettings(solver="auto")),
    "fused float64": (lambda: mixture(6, 3), ExportSettings(solver="fused", dtype="float64")),
}


@pytest.mark.parametrize(("make", "settings"), CASES.values(), ids=CASES)
def test_export_checks_and_runs(make, settings, tmp_path):
    weights = make()
    result = export(weights, tmp_path / "out", Provenance("out"), settings, eager=lambda m: eager(m, settings.tensors))
    assert all(check.passed and check.eager is not None for check in result.checks)
    groups = {"golden: class T-shirt/top, ", "golden: mixture, "}
    if weights.preprocessing:
        groups |= {f"class {name}, chain without pre-processing: " for name in CLASS_NAMES}
    assert all(any(check.name.startswith(group) for check in result.checks) for group in groups)
    flow, x = ExportedClasses(tmp_path / "out", provider="cpu"), rows(weights, 5)
    expected = reference.class_log_prob(weights, x)
    allowed = tolerances.of_classes(weights, x, settings.dtype)
    tolerances.assert_within(flow.class_log_prob(x), expected, allowed["class_log_prob"])
    tolerances.assert_within(flow.log_prob(x), reference.mixture_log_prob(expected, PRIORS), allowed["log_prob"])
    tolerances.assert_within(flow.posterior(x), reference.posterior(expected, PRIORS), allowed["posterior"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_the_folder_is_what_its_manifest_says(exported_classes):
    folder = exported_classes.folder
    document = json.loads((folder / "manifest.json").read_text())
    assert document["model"]["kind"] == "lunet-classes"
    assert [(entry["name"], entry["prior"]) for entry in document["classes"]] == list(
        zip(CLASS_NAMES, PRIORS, strict=True)
    )
    assert [entry["training"] for entry in document["classes"]] == [{}, {"test": 1.0}, {}]
    assert {*document["sha256"]} == {"density.onnx", *(f"sampling_{k}.onnx" for k in range(3)), "vectors.json"}
    for name, digest in document["sha256"].items():
        assert sha256((folder / name).read_bytes()) == digest
    for name, graph in document["graphs"].items():
        model = onnx.load(folder / graph["file"])
        assert graph["nodes"] == len(model.graph.node)
        assert graph["bytes"] == (folder / graph["file"]).stat().st_size
        for said, tensors in ((graph["inputs"], model.graph.input), (graph["outputs"], model.graph.output)):
            assert [entry["name"] for entry in said] == [tensor.name for tensor in tensors]
            shapes = [[d.dim_param or d.dim_value for d in t.type.tensor_type.shape.dim] for t in tensors]
            assert [entry["shape"] for entry in said] == shapes
        assert {entry.key: entry.value for entry in model.metadata_props}["lunet.direction"] == name
    assert all(check["passed"] and check["ratio"] <= 1 for check in document["checks"])
    rows_of_class = np.bincount(open_folder(folder).vectors.density.label + 1)[1:]
    lengths = [len(one.certificate.rows.round_trip) for one in exported_classes.manifest.components]
    assert lengths == rows_of_class.tolist()


def test_some_test_rows_are_between_classes(exported_classes):
    """There a posterior without its prior would show."""
    density = open_folder(exported_classes.folder).vectors.density
    border = density.posterior[density.label == -1].max(axis=1)
    assert len(border) == 3
    assert (border < 0.9).any()


def test_exporting_twice_gives_the_same_files(tmp_path):
    for name in ("a", "b"):
        export(mixture(5, 2), tmp_path / name / "m", Provenance("m"))
    for file in (tmp_path / "a" / "m").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / "m" / file.name).read_bytes(), file.name


def swapped(right):
    return lambda components, priors, **options: right((*components[1:], components[0]), priors, **options)


def other_priors(right):
    return lambda g, class_log_prob, log_priors: right(g, class_log_prob, log_priors[::-1].copy())


FAULTS = {
    "swapped classes": ("density", swapped, "class .* log_prob"),
    "a wrong prior": ("mixed", other_priors, "mixture, log_prob"),
}


@pytest.mark.parametrize(("name", "plant", "check"), FAULTS.values(), ids=FAULTS)
def test_a_graph_that_is_wrong_is_never_written(tmp_path, monkeypatch, name, plant, check):
    monkeypatch.setattr(mixture_graph, name, plant(getattr(mixture_graph, name)))
    with pytest.raises(ExportCheckError, match=check):
        export(mixture(6, 2), tmp_path / "m", Provenance("m"))
    assert list(tmp_path.iterdir()) == []


def test_settings_without_meaning_are_refused(tmp_path):
    for settings in (ExportSettings(rng=True), ExportSettings(hutchinson=True)):
        with pytest.raises(BadInputError, match="neither `rng` nor `hutchinson` for one network per class"):
            export(mixture(6, 2), tmp_path / "m", Provenance("m"), settings)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_either_kind_is_replaced_by_one_of_the_other(tmp_path):
    target = tmp_path / "m"
    export(mixture(3, 2), target, Provenance("m"))
    with pytest.raises(BadInputError, match="exists already"):
        export(network(3, 2), target, Provenance("m"))
    export(network(3, 2), target, Provenance("m"), force=True)
    assert not (target / "sampling_0.onnx").exists()
    assert open_folder(target).manifest.names == ()
    export(mixture(3, 2), target, Provenance("m"), force=True)
    assert open_folder(target).manifest.names == CLASS_NAMES
    (target / "sampling_x.onnx").write_text("mine")
    with pytest.raises(BadInputError, match=r"holds sampling_x\.onnx"):
        export(network(3, 2), target, Provenance("m"), force=True)


def test_each_kind_says_that_it_is_not_the_other(exported, exported_classes):
    with pytest.raises(ArtifactError, match=r"folder with one network; this one holds one network per class.*classify"):
        ExportedFlow(exported_classes.folder, provider="cpu")
    with pytest.raises(ArtifactError, match="folder with one network per class; this one holds one network"):
        ExportedClasses(exported.folder, provider="cpu")
    assert (read_manifest(exported.folder).names, read_manifest(exported_classes.folder).names) == ((), CLASS_NAMES)


MALFORMED = {
    "another kind": (lambda d: d["model"].update(kind="forest"), "this one holds something else"),
    "no classes": (lambda d: d.pop("classes"), "'classes' is missing"),
    "classes of text": (lambda d: d.update(classes=["a"]), "classes is missing or wrong"),
    "a class less": (lambda d: d["classes"].pop(), "priors that sum to 1"),
    "one class": (lambda d: d.update(classes=d["classes"][:1]), "at least 2 classes"),
    "a name of numbers": (lambda d: d["classes"][0].update(name=3), "a name of its own"),
    "a name twice": (lambda d: d["classes"][0].update(name="8"), "a name of its own"),
    "a prior of text": (lambda d: d["classes"][0].update(prior="0.5"), "positive priors"),
    "an infinite prior": (lambda d: d["classes"][0].update(prior=float("inf")), "positive priors"),
    "another prior": (lambda d: d["classes"][0].update(prior=0.6), "sum to 1; got 1.1"),
    "no digest": (lambda d: d["classes"][0].pop("sha256_weights"), "sha256_weights"),
    "a digest of numbers": (lambda d: d["classes"][0].update(sha256_weights=1), "sha256_weights"),
    "no blocks": (lambda d: d["classes"][1].update(blocks=0), "model.blocks"),
    "no certificate": (lambda d: d["classes"][1].pop("certificate"), "certificate"),
    "no solver": (lambda d: d["graphs"]["sampling_1"].pop("solver"), "solver"),
    "a graph less": (lambda d: d["graphs"].pop("sampling_2"), "sampling_2"),
    "a graph more": (lambda d: d["graphs"].update(sampling_3=d["graphs"]["sampling_0"]), "graphs is missing or wrong"),
    "a graph of the other kind": (lambda d: d["graphs"].update(sampling=d["graphs"]["sampling_0"]), "graphs"),
}


@pytest.mark.parametrize(("edit", "sentence"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_manifest_gets_a_sentence(class_folder, rewrite, edit, sentence):
    rewrite(class_folder, edit)
    with pytest.raises(ArtifactError, match=sentence):
        open_folder(class_folder)


def rehashed(document, folder):
    document["sha256"] = {name: sha256((folder / name).read_bytes()) for name in document["sha256"]}


def test_swapped_sampling_files_are_told_apart_by_what_is_in_them(class_folder, rewrite):
    first, second = class_folder / "sampling_0.onnx", class_folder / "sampling_1.onnx"
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    rewrite(class_folder, lambda d: rehashed(d, class_folder))
    with pytest.raises(ArtifactError, match=r"sampling_0.onnx as the manifest describes it"):
        ExportedClasses(class_folder, provider="cpu").sample(1, seed=0, label=0)


def test_priors_and_names_in_the_manifest_must_be_those_of_the_graph(class_folder, rewrite):
    def edit(document):
        for entry, prior in zip(document["classes"], PRIORS[::-1], strict=True):
            entry["prior"] = prior

    rewrite(class_folder, edit)
    with pytest.raises(ArtifactError, match=r"density.onnx as the manifest describes it"):
        ExportedClasses(class_folder, provider="cpu")


BAD_VECTORS = {
    "no sampling": (lambda v: v.pop("sampling"), "'sampling'"),
    "a class less": (lambda v: v["sampling"].pop(), "the shapes differ"),
    "another width": (lambda v: v["density"].update(posterior=v["density"]["x"]), "the shapes differ"),
    "a label too large": (lambda v: v["density"]["label"].__setitem__(0, 3), "the shapes differ"),
    "a label of text": (lambda v: v["density"].update(label="a"), "Expected test vectors"),
    "an infinite label": (lambda v: v["density"]["label"].__setitem__(0, float("inf")), "Expected test vectors"),
    "no tolerance": (lambda v: v["density"]["tolerance"].pop("posterior"), "the shapes differ"),
    "a negative tolerance": (lambda v: v["density"]["tolerance"]["log_prob"].__setitem__(0, -1.0), "shapes differ"),
    "a tolerance for TF32 of nothing": (lambda v: v["density"].update(tf32_tolerance={}), "the shapes differ"),
    "text": (lambda v: v.update(density="x"), "Expected test vectors"),
    "sampling of another shape": (lambda v: v["sampling"][1]["z"].pop(), "the shapes differ"),
}


@pytest.mark.parametrize(("edit", "sentence"), BAD_VECTORS.values(), ids=BAD_VECTORS)
def test_malformed_vectors_get_a_sentence(class_folder, rewrite, edit, sentence):
    path = class_folder / "vectors.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    rewrite(class_folder, lambda d: rehashed(d, class_folder))
    with pytest.raises(ArtifactError, match=sentence):
        _ = open_folder(class_folder).vectors


def test_vectors_have_tolerances_for_tf32(exported_classes):
    vectors = open_folder(exported_classes.folder).vectors
    loose = vectors.under_tf32("float32")
    assert (loose.density.tolerance["class_log_prob"] > vectors.density.tolerance["class_log_prob"]).all()
    assert (loose.sampling[1].tolerance["x"] >= vectors.sampling[1].tolerance["x"]).all()
