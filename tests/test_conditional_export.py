"""Folders of conditional flows: format version 2, what the manifest and the graphs say, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

from lunet_export import ExportedFlow, parity
from lunet_export.artifact import Artifact, Manifest, open_folder, sealed
from lunet_export.checks import reference
from lunet_export.distribution import Mixture
from lunet_export.errors import ArtifactError, BadInputError
from lunet_export.export import ExportSettings, Provenance, Question, export, export_for_verifier, rebuilt
from lunet_export.torch_layers.eager import eager
from tests import tolerances
from tests.conditional import DIM, WIDTH, lu_net, network, rows
from tests.networks import network as unconditional

NAMES = ("mass", "age", "Größe, m")
WEIGHTS = replace(network(), context=replace(network().context, names=NAMES))
RANGE = {"low": [-3.0] * WIDTH, "high": [3.0] * WIDTH}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("conditional") / "flow"
    settings = ExportSettings(with_log_prob=True, rng=True)
    export(WEIGHTS, target, Provenance("c"), settings, eager=lambda model: eager(model, "float32"), compare=True)
    return target


@pytest.fixture(scope="module")
def document(folder):
    return json.loads((folder / "manifest.json").read_bytes())


def test_the_manifest_says_what_a_context_is(document):
    assert document["format_version"] == 2
    assert document["model"]["context"] == {"dim": WIDTH, "names": list(NAMES), "range": RANGE}
    assert "certificate" not in document
    inputs = {name: [tensor["name"] for tensor in graph["inputs"]] for name, graph in document["graphs"].items()}
    assert inputs == {
        "density": ["x", "context"],
        "sampling": ["z", "context"],
        "sampling_with_log_prob": ["z", "context"],
        "random_sampling": ["shape", "context"],
    }
    assert document["graphs"]["density"]["direction"] == "x, context -> log_prob, z"
    assert document["graphs"]["density"]["inputs"][1]["shape"] == ["contexts", WIDTH]


def test_every_graph_repeats_it(folder, document):
    for name, graph in document["graphs"].items():
        model = onnx.load(folder / f"{name}.onnx")
        told = {entry.key: entry.value for entry in model.metadata_props}
        assert json.loads(told["lunet.context"]) == document["model"]["context"]
        assert told["lunet.format_version"] == "2"
        shapes = [
            [size.dim_param or size.dim_value for size in entry.type.tensor_type.shape.dim]
            for entry in model.graph.input
        ]
        assert shapes == [tensor["shape"] for tensor in graph["inputs"]]


def test_a_folder_without_a_context_is_of_version_1_and_says_nothing_of_one(tmp_path):
    export(unconditional(2, 2), tmp_path / "f", Provenance("plain"))
    found = json.loads((tmp_path / "f" / "manifest.json").read_bytes())
    assert (found["format_version"], "context" in found["model"]) == (1, False)
    assert all("context" not in json.dumps(graph) for graph in found["graphs"].values())
    assert "context" not in (tmp_path / "f" / "vectors.json").read_text()
    assert "ontext" not in (tmp_path / "f" / "README.md").read_text()


def test_the_blueprint_is_made_again_from_the_model(folder):
    manifest = open_folder(folder).manifest
    assert rebuilt(WEIGHTS, manifest).weights.digest() == WEIGHTS.digest()
    assert rebuilt(network(seed=1), manifest) is None


def altered(document, change):
    found = json.loads(json.dumps(document))
    change(found)
    return sealed(found)


ALTERED = {
    "version 1": (lambda d: d.update(format_version=1), "Expected format version 2; got 1. Install the lunet-export"),
    "version 3": (lambda d: d.update(format_version=3), "Expected format version 2; got 3. Install the lunet-export"),
    "no context": (lambda d: d["model"].pop("context"), "Expected format version 1; got 2. Install the lunet-export"),
    "a number": (lambda d: d["model"].update(context=3), "model.context, dim is missing or wrong"),
    "no dim": (lambda d: d["model"]["context"].pop("dim"), "model.context, dim is missing or wrong"),
    "dim 0": (lambda d: d["model"]["context"].update(dim=0), "model.context, dim is missing or wrong"),
    "names twice": (lambda d: d["model"]["context"].update(names=["a"] * 3), "model.context, names is missing or"),
    "a short range": (lambda d: d["model"]["context"]["range"].update(low=[0]), "model.context, range is missing"),
    "a range of text": (lambda d: d["model"]["context"].update(range="all"), "model.context, range is missing"),
}


@pytest.mark.parametrize("case", ALTERED)
def test_a_malformed_manifest_is_one_sentence(case, document):
    change, said = ALTERED[case]
    with pytest.raises(ArtifactError, match=said):
        Manifest.from_json(altered(document, change))


@pytest.mark.parametrize(
    "change",
    [
        lambda context: context.update(dim=WIDTH + 1, names=None, range=None),
        lambda context: context.update(names=["age", "mass", "Größe, m"]),
        lambda context: context["range"].update(high=[4.0] * WIDTH),
    ],
)
def test_graphs_of_another_context_are_refused(change, folder, document):
    artifact = open_folder(folder)
    manifest = Manifest.from_json(altered(document, lambda d: change(d["model"]["context"])))
    with pytest.raises(ArtifactError, match=r"Expected density.onnx as the manifest describes it; it is another graph"):
        ExportedFlow(Artifact(manifest, artifact.graphs, artifact.vectors_json), provider="cpu", threads=1)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v["density"].pop("context"),
        lambda v: v["sampling"].pop("context"),
        lambda v: v["density"].update(context=[row[:2] for row in v["density"]["context"]]),
        lambda v: v["density"]["context"].pop(),
    ],
)
def test_vectors_without_their_contexts_are_refused(change, folder):
    artifact = open_folder(folder)
    found = json.loads(artifact.vectors_json)
    change(found)
    with pytest.raises(ArtifactError, match=r"Expected rows of 4 numbers and contexts of 3 in vectors\.json"):
        _ = replace(artifact, vectors_json=json.dumps(found).encode()).vectors


def test_contexts_in_the_vectors_of_a_flow_that_takes_none_are_refused(tmp_path):
    export(unconditional(2, 2), tmp_path / "f", Provenance("plain"))
    artifact = open_folder(tmp_path / "f")
    found = json.loads(artifact.vectors_json)
    found["density"]["context"] = found["density"]["x"]
    with pytest.raises(ArtifactError, match="the shapes differ"):
        _ = replace(artifact, vectors_json=json.dumps(found).encode()).vectors


REFUSALS = {
    "verifiers": lambda folder, tmp: export_for_verifier(network(), tmp / "v", Provenance("c"), Question()),
    "mixture": lambda folder, tmp: Mixture((network(), network(seed=1)), ("a", "b"), (0.5, 0.5)),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_takes_no_context_says_so_in_one_sentence_and_writes_nothing(what, folder, tmp_path):
    with pytest.raises(BadInputError, match=r"Expected a flow without a context for .*; this one is conditional, on 3"):
        REFUSALS[what](folder, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_export_in_float64_of_an_unknown_range_is_checked_too(tmp_path):
    unknown = replace(WEIGHTS, context=replace(WEIGHTS.context, low=None, high=None, names=None))
    written = export(unknown, tmp_path / "f", Provenance("c"), ExportSettings(dtype="float64"))
    assert parity.all_passed(written.checks)
    assert written.manifest.document["model"]["context"] == {"dim": WIDTH}
    assert ExportedFlow(tmp_path / "f", provider="cpu").context.low is None


@pytest.mark.parametrize(
    "settings", [{"solver": "auto"}, {"dtype": "float64", "solver": "rows"}, {"dtype": "float16", "solver": "fused"}]
)
def test_a_conditional_lu_net_is_exported_with_every_solver(settings, tmp_path):
    written = export(lu_net(), tmp_path / "f", Provenance("c"), ExportSettings(**settings), compare=True)
    assert parity.all_passed(written.checks)
    document = written.manifest.document
    assert (document["model"]["kind"], document["format_version"], "certificate" in document) == ("lunet", 2, False)
    assert (len(written.blueprint.estimates) > 1, "solver" in document["graphs"]["sampling"]) == (True, True)
    with pytest.raises(BadInputError, match="an export for verifiers"):
        export_for_verifier(lu_net(), tmp_path / "v", Provenance("c"), Question())


def test_an_lu_net_that_took_latent_statistics_is_exported(tmp_path):
    """Its last block stands behind its last map of the context."""
    folded = lu_net().fold_latent(np.ones(DIM), np.eye(DIM) + 0.5)
    written = export(folded, tmp_path / "f", Provenance("c"), ExportSettings(with_log_prob=True), compare=True)
    assert parity.all_passed(written.checks)
    assert written.manifest.document["model"]["blocks"] == 4
    x, c = rows(8)
    flow = ExportedFlow(tmp_path / "f", provider="cpu", threads=1)
    allowed = tolerances.of_density(folded, x, context=c)["log_prob"]
    tolerances.assert_within(flow.log_prob(x, context=c), reference.log_prob(folded, x, c), allowed)


def test_data_rows_are_left_out_of_the_vectors_since_their_contexts_are_not_known(tmp_path):
    export(WEIGHTS, tmp_path / "f", Provenance("c"), examples=np.full((8, DIM), 7.0))
    assert not (open_folder(tmp_path / "f").vectors.density.x == 7.0).any()
