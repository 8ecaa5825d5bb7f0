"""One contract for all families: each part says what the reference says, and a fault is seen."""

import json
from dataclasses import replace
from importlib import import_module

import numpy as np
import onnx
import pytest
import torch

from lunet_export import ExportedFlow, checkpoint, noise, parity
from lunet_export.artifact import Manifest, sealed
from lunet_export.checks import reference, vectors
from lunet_export.checks.rounding import Probe, RoundingModel
from lunet_export.errors import ArtifactError, BadInputError, CheckpointError
from lunet_export.export import ExportSettings, Provenance, build_artifact, export
from lunet_export.flows import KINDS
from lunet_export.graphs.blueprint import Blueprint
from lunet_export.layers import ConvolutionalCoupling
from lunet_export.torch_layers import EagerFlow, Flow
from lunet_export.torch_layers.compiled import CompiledFlow
from tests.flows.test_laws import LAWS, integral
from tests.networks import rows

#: Of each family, its module in this folder.
OURS = {name: import_module(f"tests.families.{name}") for name in KINDS}
CASES = {f"{name}: {case}": make for name, module in OURS.items() for case, make in module.NETWORKS.items()}

every_case = pytest.mark.parametrize("make", CASES.values(), ids=CASES)
every_family = pytest.mark.parametrize("family", KINDS)


@every_family
def test_every_case_is_of_its_kind(family):
    assert {make().kind.name for make in OURS[family].NETWORKS.values()} == {family}


@every_case
def test_latents_are_folded_in_where_the_kind_says_so(make):
    """What `diagnose` says of recalibrate, `recalibrate` does."""
    weights = make()
    mean, covariance = np.ones(weights.dim), 4 * np.eye(weights.dim)
    if not weights.kind.folds:
        with pytest.raises(BadInputError, match="Give an LU-Net or an imported flow"):
            weights.fold_latent(mean, covariance)
        return
    x = rows(weights, 4)
    exact = (reference.encode(weights, x)[0] - mean) / 2
    folded = weights.fold_latent(mean, covariance)
    np.testing.assert_allclose(reference.encode(folded, x)[0], exact, rtol=1e-9, atol=1e-9)


@every_case
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_flow_keeps_the_laws(law, make):
    weights = make()
    flow = Flow.of(weights, dtype=torch.float64).requires_grad_(False).eval()
    error, bound = law(flow.chain, torch.from_numpy(rows(weights, 4)))
    # Flows that are integrated keep the laws of the exact flow up to the integrator's error, which they state.
    inexact = getattr(OURS[weights.kind.name], "INEXACT", {})
    assert error <= bound * inexact.get(law, 1.0)


@every_case
def test_the_flow_is_the_reference(make):
    weights = make()
    x, z = rows(weights, 5), noise.normal(0, range(5), weights.dim)
    flow = Flow.of(weights, dtype=torch.float64).requires_grad_(False).eval()
    encoded, log_det = flow.chain(torch.from_numpy(x))
    exact, exact_log_det = reference.encode(weights, x)
    np.testing.assert_allclose(encoded, exact, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(log_det, exact_log_det, rtol=1e-10, atol=1e-10)
    decoded = reference.decode(weights, z)
    got = flow.chain.inverse(torch.from_numpy(z))[0]
    np.testing.assert_allclose(got, decoded, rtol=0, atol=1e-10 * max(1.0, np.abs(decoded).max()))


@every_case
def test_weights_survive_the_flow(make):
    weights = make()
    x = rows(weights, 3)
    back = Flow.of(weights, dtype=torch.float64).to_chain()
    np.testing.assert_allclose(reference.log_prob(back, x), reference.log_prob(weights, x), rtol=1e-12)
    assert (back.dim, back.preprocessing, back.facts()) == (weights.dim, weights.preprocessing, weights.facts())


@every_family
def test_the_density_of_a_plane_integrates_to_one(family):
    weights = OURS[family].PLANE()
    flow = Flow.of(weights, dtype=torch.float64)
    assert integral(flow.log_prob, weights) == pytest.approx(1.0, abs=1e-4)


@every_case
def test_a_walk_with_errors_of_no_size_is_the_reference(make):
    weights = make().without_preprocessing()
    x, z = rows(weights, 3), noise.normal(0, range(3), weights.dim)
    nothing = Probe(1e-300, 1e-300, 0.0, np.random.default_rng(0))
    got, exact = weights.encode(x, nothing), weights.encode(x)
    np.testing.assert_allclose(got.rows, exact.rows, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got.log_det, exact.log_det, rtol=1e-9, atol=1e-9)
    assert (got.size >= np.abs(got.log_det) - 1e-12).all()
    decoded = weights.decode(z)
    np.testing.assert_allclose(weights.decode(z, nothing), decoded, rtol=0, atol=1e-9 * max(1.0, np.abs(decoded).max()))


def dtypes(weights) -> list[str]:
    """What the family can be exported in."""
    return ["float32"] if weights.of(ConvolutionalCoupling) else ["float32", "float64"]


@every_case
def test_the_graphs_and_eager_pytorch_are_inside_the_tolerance(make):
    weights = make()
    for dtype in dtypes(weights):
        settings = ExportSettings(dtype=dtype, with_log_prob=True)
        flow = ExportedFlow(build_artifact(weights, Provenance("case"), settings), provider="cpu", threads=1)
        known = flow.vectors
        checks = parity.run(flow, known, predicted=None) + parity.run_optional(flow, known)
        checks += parity.run(EagerFlow(weights, dtype), known)
        assert max(checks, key=lambda check: check.difference.ratio).difference.ratio <= 1.0, dtype


@every_case
def test_a_small_fault_exceeds_the_tolerance(make):
    weights = make()
    wrong = OURS[weights.kind.name].changed(weights)
    assert wrong.digest() != weights.digest()
    checks = parity.run(EagerFlow(wrong, "float64"), vectors.build(weights, dtype="float32", seed=3))
    assert not parity.all_passed(checks)


@every_family
def test_the_tolerance_follows_the_dtype(family):
    weights = OURS[family].PLANE()
    x = rows(weights, 6)
    single, double = (RoundingModel(weights, dtype).density(x)["z"] for dtype in ("float32", "float64"))
    assert single / double == pytest.approx(np.full(6, 2.0**29), rel=0.5)


@every_case
def test_a_file_gives_the_weights_back(make, tmp_path):
    weights = make()
    path = tmp_path / "model.pt"
    checkpoint.write_weights(path, weights, image_shape=None, training={"test": 1.0}, examples=None)
    read = checkpoint.read(path)
    x = rows(weights, 3)
    np.testing.assert_allclose(reference.log_prob(read.weights, x), reference.log_prob(weights, x), rtol=1e-12)
    assert (read.weights.kind.name, dict(read.training)) == (weights.kind.name, {"test": 1.0})
    again = tmp_path / "again.pt"
    checkpoint.write_weights(again, read.weights, image_shape=None, training={}, examples=None)
    assert checkpoint.read(again).weights.digest() == read.weights.digest()


@every_case
def test_a_damaged_file_gets_one_sentence(make, tmp_path):
    path = tmp_path / "model.pt"
    checkpoint.write_weights(path, make(), image_shape=None, training={}, examples=None)
    content = torch.load(path, weights_only=True)

    def spoilt(tree, spoil):
        if isinstance(tree, dict):
            return {key: spoilt(value, spoil) for key, value in tree.items()}
        if isinstance(tree, list):
            return [spoilt(value, spoil) for value in tree]
        return spoil(tree) if isinstance(tree, torch.Tensor) and tree.is_floating_point() else tree

    for spoil in (
        lambda tensor: tensor[:-1],
        lambda tensor: tensor * float("nan"),
        lambda tensor: tensor.to("meta"),
        lambda tensor: tensor.long(),
        lambda tensor: tensor[:0],
        lambda tensor: torch.zeros(1).expand(tensor.shape),
        lambda tensor: "text",
    ):
        torch.save(spoilt(content, spoil), path)
        with pytest.raises(CheckpointError, match=r"^Expected|: Expected") as caught:
            checkpoint.read(path)
        assert "\n" not in str(caught.value)


def test_a_family_that_nobody_knows_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    checkpoint.write_weights(path, OURS["lunet"].PLANE(), image_shape=None, training={}, examples=None)
    torch.save({**torch.load(path, weights_only=True), "family": "glow"}, path)
    with pytest.raises(CheckpointError, match=r"Expected a model of composed, jko, lunet, realnvp in .*; got 'glow'"):
        checkpoint.read(path)


@every_family
def test_a_folder_names_its_family_and_keeps_to_it(family, tmp_path):
    weights = OURS[family].PLANE()
    written = export(weights, tmp_path / "m", Provenance("m"), ExportSettings(with_log_prob=True, rng=True))
    document = written.manifest.document
    assert OURS[family].FACTS.items() <= document["model"].items()
    assert ExportedFlow(tmp_path / "m", provider="cpu").manifest.kind.name == family
    for name in document["graphs"]:
        model = onnx.load(tmp_path / "m" / f"{name}.onnx")
        said = {entry.key: entry.value for entry in model.metadata_props}
        assert said["lunet.family"] == family
        assert KINDS[family].repeated(document["model"]).items() <= said.items()
    for key in OURS[family].FACTS:
        if key != "kind":
            model = {name: value for name, value in document["model"].items() if name != key}
            with pytest.raises(ArtifactError, match=key):
                Manifest.from_json(json.loads(json.dumps(sealed({**document, "model": model}))))
    with pytest.raises(ArtifactError, match="something else"):
        Manifest.from_json(sealed({**document, "model": {**document["model"], "kind": "glow"}}))


@every_case
def test_the_choices_hold_without_the_preprocessing(make):
    blueprint = Blueprint.choose(make(), ExportSettings())
    chain = blueprint.without_preprocessing()
    assert (chain.weights.preprocessing, chain.weights.dim) == (None, blueprint.weights.dim)
    assert blueprint.remark()
    assert replace(blueprint) == blueprint


@pytest.mark.slow
@every_family
def test_a_compiled_flow_gives_eager_answers(family):
    weights = OURS[family].smallest()
    z = noise.normal(0, range(2), weights.dim)
    compiled, eager = CompiledFlow(weights, "float64"), EagerFlow(weights, "float64")
    np.testing.assert_allclose(compiled.decode(z), eager.decode(z), rtol=1e-9, atol=1e-9)
