"""The committed exports: rebuilt byte by byte, and equal in old and new ONNX Runtimes and in onnx.reference."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from benchmarks import given
from lunet_export import ExportedClasses, ExportedFlow, checkpoint, parity
from lunet_export.artifact import open_folder
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.files.reading import sha256
from lunet_export.layers import LU
from tests.conftest import ROOT
from tests.families import composed, jko, realnvp
from tests.networks import network

COMMITTED = ["toy2d", "digits", "mnist", "zuko-nsf"]
OLDEST = ROOT / ".venv-oldest" / "bin" / "python"

every_committed = pytest.mark.parametrize("name", COMMITTED)

REPLAY = """
import sys
import numpy as np, onnxruntime
from lunet_export import ExportedFlow, parity
flow = ExportedFlow(sys.argv[1], provider="cpu")
vectors = flow.artifact.vectors
failed = [check.name for check in parity.run(flow, vectors) if not check.passed]
z, log_prob = flow.density(vectors.density.x)
np.savez(sys.argv[2], z=z, log_prob=log_prob, x=flow.decode(vectors.sampling.z))
print(onnxruntime.__version__, np.__version__, *failed)
"""


def replay(python: str | Path, name: str | Path, target: Path) -> tuple[str, dict[str, np.ndarray]]:
    """Versions and answers of the runtime of another interpreter."""
    command = [str(python), "-c", REPLAY, str(ROOT / "exported" / name), str(target)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    runtime, numpy, *failed = done.stdout.split(" ")
    assert failed == [] or failed == ["\n"], done.stdout
    return f"{runtime} {numpy.strip()}", dict(np.load(target))


@every_committed
def test_a_committed_folder_is_known_by_its_model(name):
    """On every processor, or `check --model` would take it for another."""
    weights = checkpoint.read(ROOT / "exported" / f"{name}.pt").weights
    assert weights.digest() == open_folder(ROOT / "exported" / name).manifest.document["model"]["sha256_weights"]


def test_the_committed_classes_are_known_by_their_model():
    mixture = checkpoint.read(ROOT / "exported" / "digits-classes.pt").mixture
    manifest = open_folder(ROOT / "exported" / "digits-classes").manifest
    assert mixture.digest() == manifest.document["model"]["sha256_weights"]


def test_toy2d_is_rebuilt_byte_by_byte(tmp_path):
    read = checkpoint.read(ROOT / "exported" / "toy2d.pt")
    settings = Provenance("toy2d", read.kind, read.image_shape, read.training)
    export(read.weights, tmp_path / "toy2d", settings, ExportSettings(), examples=read.examples)
    for file in ("density.onnx", "sampling.onnx"):
        assert (tmp_path / "toy2d" / file).read_bytes() == (ROOT / "exported" / "toy2d" / file).read_bytes(), file
    ours, theirs = (open_folder(folder / "toy2d").vectors for folder in (tmp_path, ROOT / "exported"))
    for part in ("density", "sampling"):
        for array in ("x", "z", "log_prob"):
            got, committed = (getattr(getattr(vectors, part), array) for vectors in (ours, theirs))
            np.testing.assert_allclose(got, committed, rtol=1e-9, atol=1e-12)


def test_a_changed_weight_changes_the_bytes(tmp_path):
    """The comparison above can fail."""
    read = checkpoint.read(ROOT / "exported" / "toy2d.pt")
    read.weights.of(LU)[5].bias[0] *= 1 + 1e-6
    export(read.weights, tmp_path / "toy2d", Provenance("toy2d"), ExportSettings())
    file = "density.onnx"
    assert (tmp_path / "toy2d" / file).read_bytes() != (ROOT / "exported" / "toy2d" / file).read_bytes()


@every_committed
def test_committed_exports_pass_their_checks_here(name):
    flow = ExportedFlow(ROOT / "exported" / name, provider="cpu")
    assert parity.all_passed(parity.run(flow, flow.artifact.vectors))


@every_committed
def test_committed_exports_are_of_the_committed_models(name):
    read = checkpoint.read(ROOT / "exported" / f"{name}.pt")
    manifest = json.loads((ROOT / "exported" / name / "manifest.json").read_text())
    assert manifest["model"]["sha256_weights"] == read.weights.digest()


@pytest.mark.parametrize("name", [*COMMITTED, "digits-classes", "sbi-nsf"])
def test_committed_exports_name_the_committed_files_they_were_made_from(name):
    manifest = json.loads((ROOT / "exported" / name / "manifest.json").read_text())
    model = (ROOT / "exported" / f"{name}.pt").read_bytes()
    said = {"name": f"{name}.pt", "sha256": sha256(model), "bytes": len(model)}
    assert manifest["provenance"]["files"] == {"model": said}
    assert manifest["bytes"].keys() == manifest["sha256"].keys()


def test_the_folder_of_classes_is_of_its_models_and_within_tolerance():
    folder = ROOT / "exported" / "digits-classes"
    flow = ExportedClasses(folder, provider="cpu")
    assert parity.all_passed(parity.run(flow, flow.artifact.vectors))
    read = checkpoint.read(folder.with_suffix(".pt"))
    assert flow.artifact.manifest.document["model"]["sha256_weights"] == read.mixture.digest()
    training = flow.artifact.manifest.document["training"]
    assert training["accuracy"] > max(training["gaussian_accuracy"], 0.98)


def test_the_committed_posterior_is_of_its_model_and_within_tolerance():
    flow = ExportedFlow(ROOT / "exported" / "sbi-nsf", provider="cpu")
    assert parity.all_passed(parity.run(flow, flow.artifact.vectors))
    weights = checkpoint.read(ROOT / "exported" / "sbi-nsf.pt").weights
    assert flow.artifact.manifest.document["model"]["sha256_weights"] == weights.digest()
    theta, x = given.simulate(1000, seed=1)
    alone = -0.5 * (np.log(2 * np.pi * 4) + (theta - 1) ** 2 / 4).sum(axis=1).mean()
    assert flow.log_prob(theta, context=x).mean() > alone + 2  # nats, over the prior


def test_the_digits_model_beats_the_gaussian():
    training = checkpoint.read(ROOT / "exported" / "digits.pt").training
    assert training["test"] < training["gaussian_test"] < 2.46


@every_committed
def test_onnx_reference_gives_the_same_answers(name):
    artifact = open_folder(ROOT / "exported" / name)
    flow, vectors = ExportedFlow(artifact, provider="cpu"), artifact.vectors
    x, z = vectors.density.x.astype(np.float32), vectors.sampling.z.astype(np.float32)
    graphs = {direction: ReferenceEvaluator(onnx.load_from_string(data)) for direction, data in artifact.graphs.items()}

    class Reference:
        def density(self, rows):
            return tuple(graphs["density"].run(["z", "log_prob"], {"x": rows.astype(np.float32)}))

        def decode(self, rows):
            return graphs["sampling"].run(["x"], {"z": rows.astype(np.float32)})[0]

    with np.errstate(all="ignore"):  # it computes e^x far out as NumPy does, with warnings
        assert parity.all_passed(parity.run(Reference(), vectors))
        outputs = {"z": Reference().density(x)[0], "log_prob": Reference().density(x)[1], "x": Reference().decode(z)}
    assert_same(outputs, {"z": flow.encode(x), "log_prob": flow.log_prob(x), "x": flow.decode(z)}, vectors)


@every_committed
@pytest.mark.oldest
def test_the_oldest_onnx_runtime_gives_the_same_answers(name, tmp_path):
    if not old_is_there():
        pytest.skip("needs ONNX Runtime 1.16.3 in .venv-oldest: run `make oldest` with Python 3.11")
    versions, old = replay(OLDEST, name, tmp_path / "old.npz")
    assert versions.startswith("1.16.3 1.26")
    _, new = replay(sys.executable, name, tmp_path / "new.npz")
    assert_same(old, new, open_folder(ROOT / "exported" / name).vectors)


FLOAT64 = {
    "realnvp": lambda: realnvp.dense(3, 5, couplings=2),
    "composed": composed.NETWORKS["couplings"],
    "jko": lambda: jko.flow(2, (4,), blocks=1, steps=1, strength=0.2),
    "lunet": lambda: network(3, 2, activation="leaky-tanh"),
}


@pytest.mark.oldest
@pytest.mark.parametrize("family", FLOAT64)
def test_the_oldest_onnx_runtime_runs_float64_of_every_family(family, tmp_path):
    """It makes one node of a Gemm and the activation behind it, and has no float64 kernel for that."""
    if not old_is_there():
        pytest.skip("needs ONNX Runtime 1.16.3 in .venv-oldest: run `make oldest` with Python 3.11")
    folder = tmp_path / family
    export(FLOAT64[family](), folder, Provenance(family), ExportSettings(dtype="float64"))
    replay(OLDEST, folder, tmp_path / "old.npz")


def test_float64_has_no_activation_right_behind_a_gemm_with_a_bias(tmp_path):
    weights = composed.NETWORKS["couplings"]()
    for dtype, expected in (("float32", True), ("float64", False)):
        export(weights, tmp_path / dtype, Provenance("x"), ExportSettings(dtype=dtype))
        graph = onnx.load(tmp_path / dtype / "density.onnx").graph
        sums = {node.output[0] for node in graph.node if node.op_type == "Gemm" and len(node.input) == 3}
        bent = [node for node in graph.node if node.op_type in {"Relu", "Tanh", "Sigmoid", "Elu", "LeakyRelu"}]
        assert any(node.input[0] in sums for node in bent) == expected


def old_is_there() -> bool:
    """The environment of `make oldest` is whole."""
    return (
        OLDEST.exists()
        and not subprocess.run([OLDEST, "-c", "import onnxruntime"], capture_output=True, check=False).returncode
    )


def assert_same(ours, theirs, vectors) -> None:
    bounds = {
        "z": vectors.density.tolerance["z"],
        "log_prob": vectors.density.tolerance["log_prob"],
        "x": vectors.sampling.tolerance["x"],
    }
    for output, bound in bounds.items():
        gap = parity.compare(output, expected=theirs[output], got=ours[output], tolerance=bound)
        assert gap.passed, gap
