"""Contexts that name classes: what is drawn for checks, what lies beyond, model files, and folders."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from lunet_export import checkpoint, parity
from lunet_export.artifact import Manifest, open_folder, sealed
from lunet_export.checks import vectors
from lunet_export.classes import Classes
from lunet_export.errors import ArtifactError, BadInputError, CheckpointError
from lunet_export.export import ExportSettings, Provenance, build_artifact, export
from lunet_export.layers import ConditionalAffine, Context
from lunet_export.runtime import ExportedFlow
from tests.conditional import CLASSES, WIDTH, of_classes

WEIGHTS = of_classes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("classes") / "flow"
    export(WEIGHTS, target, Provenance("c"), ExportSettings())
    return target


@pytest.fixture(scope="module")
def document(folder):
    return json.loads((folder / "manifest.json").read_bytes())


def test_a_class_is_known_by_name_and_number():
    assert [CLASSES.number(label) for label in ("T-shirt/top", 1, "0", "1", np.int64(2))] == [0, 1, 0, 2, 2]
    for label in ("3", "shirt", 3, -1):
        with pytest.raises(BadInputError, match=r"Expected a class of 0 \.\. 2 or one of T-shirt/top, b, c, 1; got"):
            CLASSES.number(label)


def test_the_context_of_a_class_has_1_in_its_place_and_no_other_names_one():
    contexts = CLASSES.contexts(np.array([2, 0]))
    np.testing.assert_array_equal(contexts, [[0, 0, 1], [1, 0, 0]])
    assert CLASSES.named(contexts).all()
    others = np.array([[0, 0, 0], [1, 1, 0], [0.5, 0.5, 0], [1, 0.1, 0], [0, -1, 0], [2, 0, 0]], dtype=np.float32)
    assert not CLASSES.named(others).any()
    beyond = WEIGHTS.context.beyond(np.vstack([others, contexts]))
    np.testing.assert_array_equal(beyond.all(axis=1), [True] * 6 + [False] * 2)
    np.testing.assert_array_equal(beyond.any(axis=1), beyond.all(axis=1))


def test_priors_are_shares_of_the_rows():
    assert Classes.counted(("a", "b"), np.array([1, 0, 1, 1])).priors == (0.25, 0.75)
    with pytest.raises(CheckpointError, match="Expected positive priors"):
        Classes.counted(("a", "b"), np.array([1, 1]))


@pytest.mark.parametrize("seed", [0, 5, 2**64 - 1])
def test_drawn_contexts_name_every_class_in_each_run_of_as_many_rows(seed):
    context = WEIGHTS.context
    drawn = context.drawn(seed, range(40))
    assert not context.beyond(drawn).any()
    np.testing.assert_array_equal(drawn[7:9], context.drawn(seed, range(7, 9)))
    for first in range(0, 39, WIDTH):
        np.testing.assert_array_equal(drawn[first : first + WIDTH].sum(axis=0), np.ones(WIDTH))
    assert (drawn[:WIDTH] != drawn[WIDTH : 2 * WIDTH]).any()  # or a class would always have the same kind of row
    assert not context.beyond(context.middle[None]).any()


def test_every_test_vector_has_the_context_of_a_class():
    made = vectors.build(WEIGHTS, dtype="float32", seed=3)
    for part in (made.density, made.sampling):
        assert CLASSES.named(part.context).all()
        assert (part.context.sum(axis=0) > 0).all()


def test_plain_values_hold_the_classes():
    told = WEIGHTS.context.to_json()
    assert told["classes"][1] == {"name": "b, c", "prior": 0.25}
    assert Context.from_json(json.loads(json.dumps(told)), "context").classes == CLASSES
    assert "classes" not in replace(WEIGHTS.context, classes=None).to_json()


def test_a_model_file_holds_them_and_its_digest_covers_them(tmp_path):
    checkpoint.write_weights(tmp_path / "m.pt", WEIGHTS, image_shape=None, training={}, examples=None)
    read = checkpoint.read(tmp_path / "m.pt").weights
    assert read.context.classes == CLASSES
    assert read.digest() == WEIGHTS.digest()
    for other in (None, replace(CLASSES, names=("a", "b", "c")), replace(CLASSES, priors=(0.5, 0.25, 0.25))):
        assert replace(WEIGHTS, context=replace(WEIGHTS.context, classes=other)).digest() != WEIGHTS.digest()


DAMAGE = {
    "no list": 3,
    "too few": CLASSES.to_json()[:2],
    "no name": [{"prior": 0.25}, *CLASSES.to_json()[1:]],
    "a name twice": [CLASSES.to_json()[1], *CLASSES.to_json()[1:]],
    "a prior of 0": [{"name": "a", "prior": 0.0}, *CLASSES.to_json()[1:]],
    "a prior as text": [{"name": "a", "prior": "0.25"}, *CLASSES.to_json()[1:]],
    "no dictionaries": ["a", "b", "c"],
}


@pytest.mark.parametrize("case", DAMAGE)
def test_malformed_classes_are_one_sentence(case, tmp_path, document):
    checkpoint.write_weights(tmp_path / "m.pt", WEIGHTS, image_shape=None, training={}, examples=None)
    content = torch.load(tmp_path / "m.pt", weights_only=True)
    content["context"]["classes"] = DAMAGE[case]
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="context, classes is missing or wrong"):
        checkpoint.read(tmp_path / "m.pt")
    wrong = json.loads(json.dumps(document))
    wrong["model"]["context"]["classes"] = DAMAGE[case]
    with pytest.raises(ArtifactError, match=r"model\.context, classes is missing or wrong"):
        Manifest.from_json(sealed(wrong))


def test_a_context_has_as_many_numbers_as_classes():
    with pytest.raises(CheckpointError, match="Expected a class for each of the 3 numbers of the context; got 2"):
        replace(WEIGHTS, context=replace(WEIGHTS.context, classes=Classes(("a", "b"), (0.5, 0.5))))


def test_manifest_and_graphs_name_the_classes(folder, document):
    assert document["format_version"] == 2
    assert document["model"]["context"]["classes"] == CLASSES.to_json()
    assert open_folder(folder).manifest.classes == CLASSES
    assert "classes" not in document
    for graph in document["graphs"]:
        told = {entry.key: entry.value for entry in onnx.load(folder / f"{graph}.onnx").metadata_props}
        assert json.loads(told["lunet.context"])["classes"] == CLASSES.to_json()


def test_the_readme_names_them_and_shows_the_context_of_one(folder):
    text = (folder / "README.md").read_text()
    assert "classes and their priors: 0 `T-shirt/top` (0.25), 1 `b, c` (0.25), 2 `1` (0.5)" in text
    assert "context = [1.0] + [0.0] * 2" in text
    assert 'model = ExportedClasses(".", provider="cpu")' in text


def test_a_graph_of_other_classes_fails_its_checks(folder):
    """Planted: the shifts of two classes are exchanged, in every layer."""
    swapped = []
    for layer in WEIGHTS.of(ConditionalAffine):
        (dense,) = layer.network
        swapped.append(replace(layer, network=(replace(dense, weight=dense.weight[:, [1, 0, 2]]),)))
    wrong, whole = build_artifact(WEIGHTS.with_layers(swapped), Provenance("c"), ExportSettings()), open_folder(folder)
    assert parity.all_passed(parity.run(ExportedFlow(whole, provider="cpu"), whole.vectors))
    failed = {
        check.name for check in parity.run(ExportedFlow(wrong, provider="cpu"), whole.vectors) if not check.passed
    }
    assert {"golden: density, log_prob", "golden: density, z", "golden: sampling, x"} <= failed
