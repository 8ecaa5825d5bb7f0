"""An exported folder: what is in it, and what happens when it was altered."""

import json
import os
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from lunet_export import ExportedFlow
from lunet_export.artifact import open_folder
from lunet_export.checks import vectors
from lunet_export.checks.vector_file import Vectors
from lunet_export.errors import ArtifactError
from lunet_export.export import ExportSettings, Provenance, SourceFile, export
from lunet_export.files.reading import sha256
from tests.networks import network


def test_manifest_says_what_a_reader_needs(exported):
    document = json.loads((exported.folder / "manifest.json").read_text())
    assert (document["format"], document["format_version"]) == ("lunet_export", 1)
    assert document["model"]["preprocessing"] == {
        "kind": "logit",
        "formula": "logit((1 - margin) * x / levels + margin / 2)",
        "levels": 17,
        "margin": 0.1,
    }
    density, sampling = document["graphs"]["density"], document["graphs"]["sampling"]
    assert [tensor["name"] for tensor in density["outputs"]] == ["log_prob", "z"]
    assert density["inputs"][0] == {
        "name": "x",
        "shape": ["batch", 16],
        "dtype": "float32",
        "unit": "grey level plus noise in [0, 17)",
        "domain": [0, 17],
    }
    assert sampling["solver"] == {"name": "unrolled", "tile": 8}
    for name, digest in document["sha256"].items():
        assert sha256((exported.folder / name).read_bytes()) == digest
    assert all(check["passed"] and check["ratio"] <= 1 for check in document["checks"])
    assert any(check["name"].startswith("chain without pre-processing") for check in document["checks"])


def test_manifest_tells_the_truth_about_the_graphs(exported):
    for name, graph in exported.manifest.document["graphs"].items():
        model = onnx.load(exported.folder / graph["file"])
        assert graph["nodes"] == len(model.graph.node)
        assert graph["bytes"] == (exported.folder / graph["file"]).stat().st_size
        for said, tensors in ((graph["inputs"], model.graph.input), (graph["outputs"], model.graph.output)):
            assert [entry["name"] for entry in said] == [tensor.name for tensor in tensors]
            shapes = [[d.dim_param or d.dim_value for d in t.type.tensor_type.shape.dim] for t in tensors]
            assert [entry["shape"] for entry in said] == shapes
        properties = {entry.key: entry.value for entry in model.metadata_props}
        assert properties["lunet.direction"] == name
        assert properties["lunet.sha256_weights"] == exported.manifest.document["model"]["sha256_weights"]
        certified = exported.manifest.document["certificate"]["data"]
        for key, bound in certified.items():
            written = float(properties[f"lunet.{key}"])
            assert written <= bound if key == "log_det_min" else written >= bound
            assert written == pytest.approx(bound, rel=1e-5)


def test_vectors_are_within_the_dtype_and_replayable(exported):
    vectors = open_folder(exported.folder).vectors
    for array in (vectors.density.x, vectors.sampling.z):
        np.testing.assert_array_equal(array, array.astype(np.float32))
    assert not vectors.sampling.clamped.all()  # the latents of interior rows keep the round trip from being vacuous
    log_prob = ExportedFlow(exported.folder, provider="cpu").log_prob(vectors.density.x)
    assert (np.abs(log_prob - vectors.density.log_prob) <= vectors.density.tolerance["log_prob"]).all()


@pytest.mark.parametrize("name", ["density.onnx", "sampling.onnx", "vectors.json"])
def test_an_altered_file_is_named(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ArtifactError, match=f"{name} with SHA-256 .* was altered or damaged"):
        open_folder(folder)


@pytest.mark.parametrize("name", ["density.onnx", "sampling.onnx", "vectors.json", "manifest.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"Expected {name} in .*; it is missing"):
        open_folder(folder)


def test_a_missing_folder_says_how_to_write_one(tmp_path):
    with pytest.raises(ArtifactError, match="Write one with: lunet-export"):
        open_folder(tmp_path / "none")


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda d: d.update(format="other"), "Expected a manifest of format"),
        (lambda d: d.update(format_version=99), "Expected format version 1; got 99"),
        (lambda d: d["model"].update(dim="16"), "model.name, model.dim or dtype"),
        (lambda d: d["model"].update(preprocessing={"levels": 1, "margin": 0.1}), "at least 2 grey levels"),
        (lambda d: d.pop("sha256"), "'sha256'"),
        (lambda d: d.update(dtype="bfloat16"), "model.name, model.dim or dtype"),
        (lambda d: d["model"].update(image_shape=[4, 5]), "model.image_shape"),
        (lambda d: d["model"].update(image_shape=[4, "x"]), "model.image_shape"),
        (lambda d: d["model"].update(columns=["a", "b"]), "model.columns"),
        (lambda d: d["model"].update(columns=["a"] * 16), "model.columns"),
        (lambda d: d["graphs"]["sampling"]["solver"].update(tile="8"), "graphs.sampling.solver"),
        (lambda d: d["graphs"].update(density=None), "graphs"),
        (lambda d: d["model"].update(blocks=0), "model.blocks"),
        (lambda d: d["model"].pop("blocks"), "blocks"),
        (lambda d: d["model"].update(activation="relu"), "model.activation"),
        (lambda d: d["model"].update(activation=None), "model.activation"),
        (lambda d: d.update(products="bfloat16"), "products"),
        (lambda d: d.update(checks=["a"]), "checks"),
        (lambda d: d.pop("checks"), "checks"),
        (lambda d: d["graphs"]["sampling"].update(solver=None), "graphs.sampling.solver"),
        (lambda d: d.update(graphs=[]), "graphs"),
        (lambda d: d["graphs"].update(other=d["graphs"]["sampling"]), "graphs"),
        (lambda d: d.update(certificate=None), "certificate is missing or wrong"),
        (lambda d: d.update(certificate=[1]), "certificate is missing or wrong"),
        (lambda d: d["certificate"].pop("rows"), "certificate is missing or wrong"),
        (lambda d: d["certificate"].update(network="wide"), "certificate.network is"),
        (lambda d: d["certificate"]["data"].update(lip_forward="1"), "certificate.data.lip_forward"),
        (lambda d: d["certificate"]["data"].update(lip_inverse=True), "certificate.data.lip_inverse"),
        (lambda d: d["certificate"]["data"].update(lip_inverse=-1.0), "certificate.data is"),
        (lambda d: d["certificate"]["data"].update(log_det_min=1e9), "certificate.data is"),
        (lambda d: d["certificate"]["network"].update(log_det_max=None), "certificate.network.log_det_max"),
        (lambda d: d["certificate"]["network"].update(log_det_max=float("nan")), "certificate.network.log_det_max"),
        (lambda d: d["certificate"].update(unit_roundoff=0), "certificate.unit_roundoff"),
        (lambda d: d["certificate"]["rows"].update(stretch=1.0), "certificate.rows.stretch"),
        (lambda d: d["certificate"]["rows"].update(squeeze=[[1.0]] * 8), "certificate.rows.squeeze"),
        (lambda d: d["certificate"]["rows"].update(round_trip=[-1.0] * 8), "certificate.rows.round_trip"),
        (lambda d: d["certificate"]["rows"].update(round_trip=[1.0] * 7), "certificate.rows is"),
        (lambda d: d["certificate"]["rows"].update(converged="yes"), "certificate.rows is"),
    ],
)
def test_a_malformed_manifest_gets_a_sentence(folder, rewrite, edit, sentence):
    rewrite(folder, edit)
    with pytest.raises(ArtifactError, match=sentence):
        open_folder(folder)


def test_a_certificate_of_other_rows_is_refused(folder, rewrite):
    def shorten(document):
        rows = document["certificate"]["rows"]
        rows.update({name: values[:3] for name, values in rows.items() if name != "converged"})

    rewrite(folder, shorten)
    with pytest.raises(ArtifactError, match=r"Expected certificate\.rows of 8 rows, as density has .*; got 3"):
        _ = open_folder(folder).round_trip


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d["model"].update(preprocessing=None),
        lambda d: d["model"]["preprocessing"].update(levels=256),
        lambda d: d["model"].update(dim=32, image_shape=None),
        lambda d: d.update(dtype="float64", products="float64"),
        lambda d: d.update(products="float16"),
        lambda d: d["model"].update(blocks=10**9),
    ],
    ids=["no preprocessing", "levels", "dim", "dtype", "products", "blocks"],
)
def test_a_manifest_of_other_graphs_is_refused(folder, rewrite, edit):
    """Even with its hash mended: rows would be checked against one domain and computed in another."""
    rewrite(folder, edit)
    with pytest.raises(ArtifactError, match="it is another graph"):
        ExportedFlow(folder, provider="cpu")


def test_swapped_graphs_are_refused(folder, rewrite):
    density, sampling = ((folder / f"{name}.onnx").read_bytes() for name in ("density", "sampling"))
    (folder / "density.onnx").write_bytes(sampling)
    (folder / "sampling.onnx").write_bytes(density)

    def swap(document):
        digests = document["sha256"]
        digests["density.onnx"], digests["sampling.onnx"] = digests["sampling.onnx"], digests["density.onnx"]

    rewrite(folder, swap)
    with pytest.raises(ArtifactError, match="it is another graph"):
        ExportedFlow(folder, provider="cpu")


def test_a_newer_format_is_called_newer_and_not_altered(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(ArtifactError, match="Expected format version 1; got 2"):
        open_folder(folder)


def test_an_edited_manifest_is_an_altered_folder(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"levels": 17', '"levels": 18'))
    with pytest.raises(ArtifactError, match="it was altered afterwards"):
        open_folder(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000])
def test_a_manifest_that_is_no_json_object_gets_a_sentence(folder, text):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError):
        open_folder(folder)


@pytest.fixture
def revector(folder, rewrite):
    """Change vectors.json of the folder as one who also mends the hashes."""

    def change(edit) -> None:
        vectors = json.loads((folder / "vectors.json").read_text())
        edit(vectors)
        data = json.dumps(vectors).encode()
        (folder / "vectors.json").write_bytes(data)
        rewrite(folder, lambda d: d["sha256"].update({"vectors.json": sha256(data)}))

    return change


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d["density"].update(x=[row[:-1] for row in d["density"]["x"]]),
        lambda d: d["sampling"]["tolerance"].update(x=[1.0]),
        lambda d: d["sampling"]["tf32_tolerance"].pop("z"),
        lambda d: d["density"]["tf32_tolerance"].update(z=[-1.0] * 8),
        lambda d: d["density"].update(tf32_tolerance=[1.0] * 8),
        lambda d: d["density"].update(tolerance=None),
    ],
    ids=["width", "tolerance", "tf32 without z", "negative", "no table", "null"],
)
def test_vectors_of_other_shapes_are_refused(folder, revector, edit):
    revector(edit)
    with pytest.raises(ArtifactError, match="Expected rows of 16 numbers"):
        _ = open_folder(folder).vectors


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.update(density=[]),
        lambda d: d["density"].update(x={"a": [1.0]}),
        lambda d: d["density"]["tolerance"].update(z={"a": [1.0]}),
        lambda d: d["sampling"].update(other=[1.0]),
        lambda d: d.pop("sampling"),
    ],
    ids=["a list", "x is a table", "z is a table", "unknown key", "no sampling"],
)
def test_vectors_that_are_none_get_a_sentence(folder, revector, edit):
    revector(edit)
    with pytest.raises(ArtifactError, match=r"Expected test vectors in vectors\.json"):
        _ = open_folder(folder).vectors


def test_tf32_has_tolerances_of_its_own_that_survive_the_file(exported):
    known = open_folder(exported.folder).vectors
    tf32 = known.under_tf32("float32")
    for part, wider in ((known.density, tf32.density), (known.sampling, tf32.sampling)):
        assert wider.tolerance is part.tf32_tolerance
        for name, narrow in part.tolerance.items():  # on some rows x is clamped, whatever the error
            assert (wider.tolerance[name] / narrow).max() > 100
        np.testing.assert_array_equal(wider.x, part.x)
    for products in ("float16", "float64"):  # TF32 does not touch these
        assert known.under_tf32(products) is known


def test_a_folder_older_than_tf32s_tolerances_opens_and_asks_for_another_export(folder, revector):
    def age(document):
        for part in document.values():
            part.pop("tf32_tolerance")

    revector(age)
    known = open_folder(folder).vectors
    assert known.density.tf32_tolerance is None
    with pytest.raises(ArtifactError, match=r"Expected tolerances for TF32.*Export again, or run without"):
        known.under_tf32("float32")


def test_tf32_that_overflows_is_no_reason_to_refuse_float32(monkeypatch):
    real = vectors.RoundingModel.of_sampling

    def overflows(model, *rows):
        found = real(model, *rows)
        if model._products == "float32":
            return found
        return replace(found, tolerance={name: array * np.inf for name, array in found.tolerance.items()})

    monkeypatch.setattr(vectors.RoundingModel, "of_sampling", overflows)
    built = vectors.build(network(4, 2), dtype="float32", seed=0)
    assert built.sampling.tf32_tolerance is None
    with pytest.raises(ArtifactError, match="or TF32 would overflow"):
        built.under_tf32("float32")


@pytest.mark.parametrize(("dtype", "products"), [("float64", None), ("float32", "float16")])
def test_only_float32_products_have_tolerances_for_tf32(dtype, products):
    built = vectors.build(network(4, 2), dtype=dtype, products=products, seed=0)
    assert built.density.tf32_tolerance is built.sampling.tf32_tolerance is None
    assert "tf32_tolerance" not in built.to_json()["density"]
    assert vectors.Vectors.from_json(built.to_json(), 4).under_tf32(products or dtype).density.tf32_tolerance is None


# Sizes, and files that are none or lie elsewhere


def test_the_manifest_tells_the_size_of_every_file(exported):
    document = json.loads((exported.folder / "manifest.json").read_text())
    assert document["bytes"] == {name: (exported.folder / name).stat().st_size for name in document["sha256"]}


@pytest.mark.parametrize("name", ["density.onnx", "vectors.json"])
def test_a_file_of_another_size_is_named_and_not_read(folder, name, monkeypatch):
    path = folder / name
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(2**40)  # a hole: no disk is used, but reading it would take a terabyte of memory
    with pytest.raises(ArtifactError, match=f"{name} of {size} bytes; got {2**40}.*altered or damaged"):
        open_folder(folder)


@pytest.mark.parametrize("name", ["density.onnx", "manifest.json"])
def test_of_a_folder_without_sizes_no_file_may_be_larger_than_any_export(folder, name, rewrite):
    rewrite(folder, lambda d: d.pop("bytes"))
    with (folder / name).open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(ArtifactError, match=rf"{name} of at most \d+ bytes; got {2**40}"):
        open_folder(folder)


def test_a_folder_older_than_sizes_opens(folder, rewrite):
    rewrite(folder, lambda d: (d.pop("bytes"), d.pop("provenance")))
    assert open_folder(folder).manifest.sizes == {}


@pytest.mark.parametrize("sizes", [[], "many", {"density.onnx": 1}, -1, 2**31 + 1, 17486.0, True, None, "17486"])
def test_sizes_that_are_none_get_a_sentence(folder, rewrite, sizes):
    def spoil(document):
        whole = isinstance(sizes, (list, dict)) or sizes == "many"
        document["bytes"] = sizes if whole else {**document["bytes"], "vectors.json": sizes}

    rewrite(folder, spoil)
    with pytest.raises(ArtifactError, match=r"Expected a whole manifest; .* is missing or wrong"):
        open_folder(folder)


def test_a_link_to_outside_of_the_folder_is_not_followed(folder, tmp_path):
    """Its bytes are the right ones, and still: a folder from a stranger may not say what else of a disk is read."""
    (folder / "density.onnx").rename(tmp_path / "elsewhere.onnx")
    (folder / "density.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(ArtifactError, match=r"Expected density\.onnx in .*; it lies elsewhere. Copy files"):
        open_folder(folder)


def test_links_inside_of_the_folder_are_followed(folder, tmp_path):
    """So are volumes mounted that are renewed at once."""
    (folder / "..2026").mkdir()
    for path in list(folder.glob("*.*")):
        if path.is_file():
            path.rename(folder / "..2026" / path.name)
            path.symlink_to(f"..2026/{path.name}")
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    assert open_folder(linked).manifest.dim == 16


@pytest.mark.parametrize("name", ["density.onnx", "manifest.json", "vectors.json"])
def test_pipes_folders_and_circles_are_no_files(folder, name):
    (folder / name).unlink()
    (folder / name).symlink_to(name)
    with pytest.raises(ArtifactError, match=f"Expected {name} in .*; it is missing"):
        open_folder(folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(ArtifactError, match=f"Expected {name} in .*; it is missing"):
        open_folder(folder)
    (folder / name).rmdir()
    os.mkfifo(folder / name)  # with nobody at its other end: a plain `open` would wait for ever
    with pytest.raises(ArtifactError, match=f"Expected a file {name} in .*; it is a device or a pipe"):
        open_folder(folder)


def test_the_manifest_says_where_an_export_came_from(tmp_path):
    model, stats = tmp_path / "model.pt", tmp_path / "stats.pth"
    model.write_bytes(b"weights")
    stats.write_bytes(b"")
    given = {"model": SourceFile.of(model), "latent_stats": SourceFile.of(stats)}
    written = export(network(2, 2), tmp_path / "m", Provenance("m", files=given), ExportSettings(tile=1)).manifest
    found, versions = written.document["provenance"], written.document["versions"]
    assert found["files"] == {
        "model": {"name": "model.pt", "sha256": sha256(b"weights"), "bytes": 7},
        "latent_stats": {"name": "stats.pth", "sha256": sha256(b""), "bytes": 0},
    }
    assert (found["settings"]["tile"], found["settings"]["dtype"]) == (1, "float32")
    assert str(tmp_path) not in json.dumps(written.document)
    assert {"lunet_export", "python", "numpy", "onnx", "torch", "onnxruntime"} <= set(versions)
    assert (versions["numpy"], versions["torch"]) == (np.__version__, torch.__version__)
    again = export(network(2, 2), tmp_path / "again" / "m", Provenance("m", files=given), ExportSettings(tile=1))
    assert again.manifest.document["provenance"] == found


def _as_pipe(path):
    os.mkfifo(path)


def _as_link_out(path):
    (path.parent.parent / "elsewhere").write_bytes(b"{}")
    path.symlink_to("../elsewhere")


def _as_huge(path):
    with path.open("wb") as file:
        file.truncate(2**40)


@pytest.mark.parametrize("name", ["manifest.json", "vectors.json", "density.onnx"])
@pytest.mark.parametrize(
    ("put", "told"),
    [
        (_as_pipe, "a device or a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "lies elsewhere"),
        (lambda path: path.mkdir(), "is missing"),
        (lambda path: path.symlink_to(path.name), "is missing"),
        (_as_link_out, "lies elsewhere"),
        (_as_huge, "bytes; got"),
    ],
)
def test_what_is_no_file_of_the_folder_is_refused(folder, name, put, told):
    """A pipe and a device would never end; a link may lead anywhere."""
    (folder / name).unlink()
    put(folder / name)
    with pytest.raises(ArtifactError, match=told):
        open_folder(folder)


def test_links_inside_the_folder_are_followed(folder):
    (folder / "density.onnx").rename(folder / "other name")
    (folder / "density.onnx").symlink_to("other name")
    assert open_folder(folder).graphs["density"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d["model"].update(image_shape=[float("inf"), 4]),
        lambda d: d["model"].update(image_shape=["4", "4"]),
        lambda d: d["model"].update(image_shape=[]),
        lambda d: d["model"].update(preprocessing=0),
        lambda d: d["model"].update(dim=True),
        lambda d: d.update(graphs=[]),
        lambda d: d.update(format_version=10**400),
    ],
)
def test_values_of_other_types_in_a_sealed_manifest_get_a_sentence(folder, rewrite, edit):
    rewrite(folder, edit)
    with pytest.raises(ArtifactError, match="Expected"):
        open_folder(folder)


def test_a_manifest_deeper_than_the_stack_gets_a_sentence(folder):
    text = (folder / "manifest.json").read_text()
    for depth in (990, 100_000):
        (folder / "manifest.json").write_text(text.replace("{", '{"deep": ' + "[" * depth + "]" * depth + ",", 1))
        with pytest.raises(ArtifactError, match=r"altered afterwards|is not valid JSON"):
            open_folder(folder)


@pytest.mark.parametrize("value", ["0.5", 10**400, float("nan"), float("inf"), None, [0.5]], ids=range(6))
def test_vectors_hold_finite_numbers(folder, value):
    """Text was taken for a number, and a number of 400 digits was a traceback."""
    document = json.loads((folder / "vectors.json").read_text())
    document["density"]["x"][0][0] = value
    with pytest.raises(ArtifactError, match="Expected test vectors"):
        Vectors.from_json(document, 16)
