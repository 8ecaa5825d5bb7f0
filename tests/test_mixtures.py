"""Mixtures of any flows: other architectures and kinds together, float16 products, sampling with the density."""

import json

import numpy as np
import pytest

from lunet_export import ExportedClasses, checkpoint, parity
from lunet_export.checks import reference, vectors
from lunet_export.checks.rounding import RoundingModel
from lunet_export.distribution import Mixture
from lunet_export.errors import ArtifactError, BadInputError, CheckFailedError
from lunet_export.export import ExportCheckError, ExportSettings, Provenance, export, half, rebuilt
from lunet_export.graphs.emulation import EmulatedFlow
from lunet_export.graphs.mixture import MixtureBlueprint
from lunet_export.preprocessing import NAMED
from lunet_export.torch_layers import eager
from tests import tolerances
from tests.families import composed, jko, realnvp
from tests.networks import CLASS_NAMES, PRIORS, far_out, mixture, network, rows


def of_flows(*flows):
    return Mixture(flows, CLASS_NAMES[: len(flows)], (0.6, 0.4) if len(flows) == 2 else PRIORS)


def lunets():
    """Three architectures of LU-Net."""
    return of_flows(network(4, 1), network(4, 5, alpha=0.3, seed=1), network(4, 3, activation="leaky-tanh", seed=2))


def kinds():
    """An LU-Net and a composed flow."""
    return of_flows(network(4, 2), composed.NETWORKS["couplings, turned round"]())


def bounded():
    """Composed flows that are defined on a box."""
    name = "a logit in front"
    return of_flows(composed.NETWORKS[name](), composed.NETWORKS[name]())


def of_images():
    """Flows of two kinds behind one logit."""
    return of_flows(network(64, 2, preprocessing=NAMED["digits"]), realnvp.NETWORKS["dense, digits"]())


MIXTURES = {
    "LU-Nets": lunets,
    "an LU-Net and a composed flow": kinds,
    "an autoregressive flow, an integral and couplings": lambda: of_flows(
        composed.NETWORKS["inverse autoregressive"](),
        jko.NETWORKS["no whitening"](),
        realnvp.NETWORKS["dense, one coupling"](),
    ),
    "flows with a domain": bounded,
    "images": of_images,
}


@pytest.mark.parametrize("make", MIXTURES.values(), ids=MIXTURES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_flows_are_exported_together(make, dtype, tmp_path):
    model, settings = make(), ExportSettings(dtype=dtype, with_log_prob=True)
    result = export(model, tmp_path / "m", Provenance("m"), settings, eager=lambda m: eager(m, dtype))
    assert parity.all_passed(result.checks)
    flow, x = ExportedClasses(tmp_path / "m", provider="cpu"), rows(model, 6)
    assert bool(flow.accepts(x).all())
    expected, allowed = reference.class_log_prob(model, x), tolerances.of_classes(model, x, dtype)
    tolerances.assert_within(flow.class_log_prob(x), expected, allowed["class_log_prob"])
    tolerances.assert_within(flow.log_prob(x), reference.mixture_log_prob(expected, model.priors), allowed["log_prob"])
    z = flow.latent(5, seed=2)
    for label, component in enumerate(model.components):
        drawn, log_prob = flow.decode_with_log_prob(z, label)
        most = tolerances.of_sampling(component, z, dtype)
        tolerances.assert_within(drawn, flow.decode(z, label), tolerances.TWO * most["x"])
        exact = reference.decode(component, z.astype(np.float64))
        whole = (RoundingModel(component, dtype).clamp(exact) == exact).all(axis=1)  # log_prob is of x unclamped
        given = reference.log_prob(component, exact[whole])
        tolerances.assert_within(log_prob[whole], given, tolerances.TWO * most["log_prob"][whole])


def test_what_was_chosen_of_a_flow_is_chosen_again(tmp_path):
    """Steps of an integration, which make another model of it: the folder is known by its model file all the same."""
    model = of_flows(jko.NETWORKS["three hidden layers"](), jko.NETWORKS["one step, eight blocks"]())
    result = export(model, tmp_path / "m", Provenance("m"), ExportSettings(steps=3))
    assert [entry["steps"] for entry in result.manifest.document["classes"]] == [3, 3]
    assert result.manifest.document["model"]["sha256_weights"] != model.digest()
    again = rebuilt(model, result.manifest)
    assert again is not None
    assert again.weights.digest() == result.manifest.document["model"]["sha256_weights"]


def test_what_a_manifest_says_of_flows_of_other_kinds(tmp_path):
    export(kinds(), tmp_path / "m", Provenance("m"))
    document = json.loads((tmp_path / "m" / "manifest.json").read_text())
    assert (document["format_version"], document["model"]["kind"]) == (2, "mixture")
    assert [entry["kind"] for entry in document["classes"]] == ["lunet", "composed"]
    assert ["certificate" in entry for entry in document["classes"]] == [True, False]
    assert "solver" in document["graphs"]["sampling_0"]
    export(bounded(), tmp_path / "b", Provenance("b"))
    flow = ExportedClasses(tmp_path / "b", provider="cpu")
    assert flow.manifest.document["model"]["domain"]["low"] == [0.0] * 4
    with pytest.raises(BadInputError, match="The density is not defined there"):
        flow.log_prob(np.full((1, 4), 2.0))
    assert flow.accepts(np.array([[0.5] * 4, [2.0] * 4])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("make", "settings", "version"),
    [
        (lunets, ExportSettings(), 1),
        (lambda: mixture(6, 2), ExportSettings(dtype="float16"), 1),
        (lambda: mixture(6, 2), ExportSettings(with_log_prob=True), 2),
        (kinds, ExportSettings(), 2),
    ],
    ids=["LU-Nets", "float16", "with log_prob", "other kinds"],
)
def test_the_version_is_another_only_where_older_programs_would_not_run_it(make, settings, version, tmp_path):
    result = export(make(), tmp_path / "m", Provenance("m"), settings)
    assert result.manifest.document["format_version"] == version


MALFORMED = {
    "a class of no kind": (lambda d: d["classes"][0].pop("kind"), "'kind' is missing"),
    "a class of another kind": (lambda d: d["classes"][0].update(kind="forest"), r"classes\.kind is missing or wrong"),
    "a kind that its facts are not": (lambda d: d["classes"][0].update(kind="jko"), "steps"),
    "half a domain": (lambda d: d["model"].update(domain={"low": [0.0] * 4}), "'high' is missing"),
    "a graph that draws": (lambda d: d["graphs"].update(random_sampling=d["graphs"]["density"]), "graphs is missing"),
    "a third version": (lambda d: d.update(format_version=3), "Expected format version 1 or 2; got 3"),
}


@pytest.mark.parametrize(("edit", "sentence"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_manifest_gets_a_sentence(edit, sentence, tmp_path, rewrite):
    export(kinds(), tmp_path / "m", Provenance("m"))
    rewrite(tmp_path / "m", edit)
    with pytest.raises(ArtifactError, match=sentence):
        ExportedClasses(tmp_path / "m", provider="cpu")


def wrong(right):
    def build(self, name, metadata):
        model = right(self, name, metadata)
        if name == "sampling_with_log_prob_1":
            return right(self, "sampling_with_log_prob_0", metadata)
        return model

    return build


def test_a_density_of_samples_that_is_wrong_is_never_written(tmp_path, monkeypatch):
    monkeypatch.setattr(MixtureBlueprint, "build", wrong(MixtureBlueprint.build))
    with pytest.raises(ExportCheckError, match=r"class b, c, sampling with log_prob"):
        export(mixture(6, 2), tmp_path / "m", Provenance("m"), ExportSettings(with_log_prob=True))
    assert list(tmp_path.iterdir()) == []


def test_no_density_of_samples_without_its_graph(exported_classes):
    flow = ExportedClasses(exported_classes.folder, provider="cpu")
    with pytest.raises(BadInputError, match=r"sampling_with_log_prob_1\.onnx in the export; .* `with_log_prob=True`"):
        flow.decode_with_log_prob(np.zeros((1, 16)), 1)
    with pytest.raises(BadInputError, match=r"Expected a class of 0 \.\. 2"):
        flow.decode_with_log_prob(np.zeros((1, 16)), 3)


@pytest.mark.parametrize("preprocessing", [None, NAMED["digits"]], ids=["vectors", "images"])
def test_float16_products_are_judged_as_a_gpu_computes_them(preprocessing, tmp_path):
    model = mixture(16, 2, preprocessing=preprocessing)
    settings = ExportSettings(dtype="float16", with_log_prob=True)
    result = export(model, tmp_path / "m", Provenance("m"), settings)
    unit = "grey_levels" if preprocessing else "standard_deviations"
    measured = result.manifest.document["float16"]
    assert measured.keys() == {"log_prob_nats_per_dim", f"x_{unit}"}
    assert 0 < measured[f"x_{unit}"] <= (half.LARGEST_GREY if preprocessing else half.LARGEST_SHARE)
    groups = {"emulated GPU: class T-shirt/top, sampling, x", "emulated GPU: mixture, posterior"}
    assert groups <= {check.name for check in result.checks}
    flow = ExportedClasses(tmp_path / "m", provider="cpu")
    assert (flow.manifest.products, flow.vectors.density.tf32_tolerance) == ("float16", None)
    assert parity.all_passed(parity.run(flow, flow.vectors))


def test_a_class_beyond_float16_is_refused(tmp_path):
    model = Mixture((network(2, 3), far_out()), ("near", "far"), (0.5, 0.5))
    with pytest.raises(ExportCheckError, match="Expected emulated GPU: class far, sampling, x within"):
        export(model, tmp_path / "m", Provenance("m"), ExportSettings(dtype="float16"))
    assert list(tmp_path.iterdir()) == []


class Planted(EmulatedFlow):
    """A mixture whose last class draws no numbers, or whose density of samples is none."""

    def __init__(self, graphs, fault):
        super().__init__(graphs, "float32")
        self.fault = fault

    def decode(self, z, label):
        x = super().decode(z, label)
        return x * np.nan if (self.fault, label) == ("x", 2) else x

    def decode_with_log_prob(self, z, label):
        x, log_prob = super().decode_with_log_prob(z, label)
        return x, log_prob + (1.0 if (self.fault, label) == ("log_prob", 2) else 0.0)


@pytest.mark.parametrize("fault", ["", "x", "log_prob"])
def test_a_fault_of_the_last_class_alone_is_measured(fault):
    model, settings = mixture(6, 2), ExportSettings(dtype="float16", with_log_prob=True)
    blueprint = MixtureBlueprint.choose(model, settings)
    names = ["density", *(f"{kind}_{k}" for kind in ("sampling", "sampling_with_log_prob") for k in range(3))]
    flow = Planted({name: blueprint.build(name, {}) for name in names}, fault)
    known = vectors.build(model, dtype="float32", products="float16", seed=0)
    if not fault:
        assert half.measure(flow, known, images=False)
        return
    with pytest.raises(CheckFailedError, match="Expected float16 products within"):
        half.measure(flow, known, images=False)


def test_a_model_file_of_any_flows_comes_back_and_is_known_again(tmp_path):
    model, members = kinds(), [tmp_path / "0.pt", tmp_path / "1.pt"]
    for path, flow in zip(members, model.components, strict=True):
        checkpoint.write_weights(path, flow, image_shape=None, training={}, examples=None)
    path = tmp_path / "both.pt"
    checkpoint.write_classes(path, members, names=model.names, priors=model.priors, training={})
    read = checkpoint.read(path)
    assert read.mixture.digest() == model.digest()
    assert [member.weights.kind.name for member in read.members] == ["lunet", "composed"]
    result = export(read.model, tmp_path / "m", Provenance("m"), ExportSettings(solver=None, with_log_prob=True))
    again = rebuilt(read.model, result.manifest)
    assert again is not None
    assert again.settings.graphs == ("density", "sampling", "sampling_with_log_prob")
    backwards = Mixture(model.components[::-1], model.names, model.priors)
    others = [backwards, Mixture(model.components, model.names, (0.5, 0.5)), mixture(4, 2), network(4, 2)]
    assert [rebuilt(other, result.manifest) for other in others] == [None] * 4
