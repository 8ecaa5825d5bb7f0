"""What was written as version 1 is read for ever, and gives the answers that were recorded when it was written."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lunet_export import ExportedClasses, ExportedFlow, checkpoint, parity
from lunet_export.artifact import open_folder
from lunet_export.checks import reference
from lunet_export.errors import ArtifactError, CheckpointError
from lunet_export.files.reading import sha256
from lunet_export.flows import KINDS
from lunet_export.parity.optional import run_optional
from lunet_export.runtime import open_export
from tests.conftest import copied
from tests.version1.make import FOLDERS, HERE, MODELS, ROWS, SEED

ANSWERS = json.loads((HERE / "answers.json").read_text(encoding="utf-8"))
SINGLE = [name for name in ANSWERS["folders"] if name != "classes"]

every_folder = pytest.mark.parametrize("name", ANSWERS["folders"])
every_single = pytest.mark.parametrize("name", SINGLE)


def test_they_are_as_they_were_written():
    found = [file for part in (FOLDERS, MODELS) for file in part.rglob("*") if file.is_file()]
    assert {str(file.relative_to(HERE)): sha256(file.read_bytes()) for file in found} == ANSWERS["sha256"]


def test_every_kind_is_there():
    kinds = {open_folder(FOLDERS / name).manifest.document["model"]["kind"] for name in ANSWERS["folders"]}
    assert kinds >= {*KINDS, "lunet-classes"}
    assert {path.stem for path in MODELS.glob("*.pt")} == set(ANSWERS["models"]) == set(ANSWERS["folders"])


@every_single
def test_a_folder_passes_its_own_vectors(name):
    flow = ExportedFlow(FOLDERS / name, provider="cpu", threads=1)
    checks = parity.run(flow, flow.vectors, predicted=flow.artifact.round_trip) + run_optional(flow, flow.vectors)
    assert len(checks) >= 6
    assert parity.all_passed(checks), [check for check in checks if not check.passed]


@every_single
def test_a_folder_draws_what_it_drew(name):
    flow = ExportedFlow(FOLDERS / name, provider="cpu", threads=1)
    assert_near(flow.sample(ROWS, seed=SEED), ANSWERS["folders"][name]["sampled"])


def test_the_folder_of_classes_gives_its_answers():
    flow, answers = ExportedClasses(FOLDERS / "classes", provider="cpu", threads=1), ANSWERS["folders"]["classes"]
    assert parity.all_passed(parity.run(flow, flow.artifact.vectors))
    assert flow.labels(8, seed=SEED).tolist() == answers["labels"]
    for label, sampled in enumerate(answers["sampled"]):
        assert_near(flow.sample(ROWS, seed=SEED, label=label), sampled)


@pytest.mark.parametrize("name", [name for name in ANSWERS["models"] if name != "classes"])
def test_a_model_file_holds_what_it_held(name):
    read, answers = checkpoint.read(MODELS / f"{name}.pt"), ANSWERS["models"][name]
    assert read.weights.digest() == answers["sha256_weights"]
    assert answers["facts"].items() <= json.loads(json.dumps(read.weights.facts())).items()
    np.testing.assert_allclose(
        reference.log_prob(read.weights, np.array(answers["x"])), answers["log_prob"], rtol=1e-12
    )
    manifest = open_folder(FOLDERS / name).manifest.document
    assert manifest["model"]["sha256_weights"] == answers["sha256_weights"]
    assert read.training == {"dataset": "none", "seed": 0}
    assert read.examples.shape == (2, read.weights.dim)


def test_the_model_file_of_classes_holds_what_it_held():
    mixture, answers = checkpoint.read(MODELS / "classes.pt").mixture, ANSWERS["models"]["classes"]
    assert mixture.digest() == answers["sha256_weights"]
    assert [*mixture.names] == answers["names"]
    assert [*mixture.priors] == answers["priors"]
    for weights, expected in zip(mixture.components, answers["class_log_prob"], strict=True):
        np.testing.assert_allclose(reference.log_prob(weights, np.array(answers["x"])), expected, rtol=1e-12)


@every_folder
def test_a_key_that_nobody_knows_is_passed_over(name, tmp_path, rewrite):
    folder = copied(FOLDERS / name, tmp_path / name)

    def add(document):
        document["of a later release"] = {"a": [1, None, "b"]}
        document["model"]["of a later release"] = 1
        for entry in document["graphs"].values():
            entry["of a later release"] = 1

    rewrite(folder, add)
    assert type(open_folder(folder).manifest) is type(open_folder(FOLDERS / name).manifest)
    assert open_export(folder, provider="cpu", threads=1).sample(1, seed=0).shape[0] == 1


@every_folder
@pytest.mark.parametrize("version", [3, 2, 0, "1", None, 1.5])
def test_a_folder_of_another_version_is_refused_in_one_sentence(name, version, tmp_path, rewrite):
    folder = copied(FOLDERS / name, tmp_path / name)
    rewrite(folder, lambda document: document.update(format_version=version))
    mixture = name == "classes"  # which has had two
    if mixture and version == 2:
        assert open_folder(folder).manifest.names
        return
    with pytest.raises(ArtifactError) as caught:
        open_folder(folder)
    known = "1 or 2" if mixture else "1"
    said = f"Expected format version {known}; got {version!r}. Install the lunet-export that wrote it."
    assert str(caught.value) == said


def test_another_version_is_said_before_anything_else_is_asked(tmp_path):
    """A later version may seal, name and arrange its manifest in ways that this one does not know."""
    folder = tmp_path / "later"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"format": "lunet_export", "format_version": 2, "model": []}')
    with pytest.raises(ArtifactError, match=r"^Expected format version 1; got 2\. Install the lunet-export"):
        open_folder(folder)


@pytest.mark.parametrize("name", ["lunet", "jko", "classes"])
def test_a_model_file_of_another_version_is_refused_in_one_sentence(name, tmp_path):
    content = torch.load(MODELS / f"{name}.pt", weights_only=True)
    content["format_version"] = 99
    path = tmp_path / "model.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"^Expected format version 1[^;]*; got 99\. Install the lunet-export"):
        checkpoint.read(path)


def test_a_number_that_moved_is_seen():
    """The comparisons above can fail."""
    flow = ExportedFlow(FOLDERS / "lunet", provider="cpu", threads=1)
    moved = json.loads(json.dumps(ANSWERS["folders"]["lunet"]["sampled"]))
    moved["x"][1][1] += 2.1 * moved["tolerance"][1]
    with pytest.raises(AssertionError, match="from the recorded"):
        assert_near(flow.sample(ROWS, seed=SEED), moved)


def assert_near(x, sampled) -> None:
    """The rows are within the recorded tolerance of the recorded ones."""
    off = np.abs(x.astype(np.float64) - np.array(sampled["x"])).max(axis=1)
    assert (off <= np.array(sampled["tolerance"])).all(), f"{off} from the recorded, {sampled['tolerance']} allowed"


def test_the_folder_is_small():
    assert sum(file.stat().st_size for file in Path(HERE).rglob("*") if file.is_file()) < 420_000
