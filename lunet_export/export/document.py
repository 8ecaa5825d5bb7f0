"""What is written about an export: manifest.json, and the metadata inside each graph."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import onnx

from lunet_export.artifact import FORMAT, FORMAT_VERSION, ClassManifest, sampling_of
from lunet_export.certificate import Certificate
from lunet_export.export.provenance import Provenance, versions
from lunet_export.graphs import builder
from lunet_export.graphs.blueprint import Blueprint
from lunet_export.graphs.census import census
from lunet_export.graphs.settings import ExportSettings
from lunet_export.layers import Chain
from lunet_export.preprocessing import Logit
from lunet_export.runtime.rows import LARGEST_BATCH
from lunet_export.weights import Mixture

_RNG_WARNINGS = [
    "Samples are not reproducible across providers, GPU models or versions; for that, feed z to sampling.onnx.",
    "On the CPU provider every new session of one process repeats the same numbers.",
    "Never capture this graph in a CUDA graph: every replay would return the same samples.",
]


def metadata_of(blueprint: Blueprint, provenance: Provenance, name: str) -> dict[str, str]:
    """What a reader of one ONNX file alone must know; all known before the file exists."""
    weights, settings = blueprint.weights, blueprint.settings
    return {
        "lunet.family": weights.kind.name,
        **_metadata(weights, provenance, settings, name),
        **blueprint.metadata(),
    }


def document_of(
    blueprint: Blueprint,
    provenance: Provenance,
    models: Mapping[str, onnx.ModelProto],
    certificate: Certificate | None,
) -> dict[str, Any]:
    """manifest.json of one network, without hashes and checks."""
    weights, settings = blueprint.weights, blueprint.settings
    model = {"kind": weights.kind.name, **_model(weights, provenance), **blueprint.model()}
    tensors = _Tensors.of(weights, settings)
    graphs = {name: _graph(name, tensors, blueprint.graph(name), census(graph)) for name, graph in models.items()}
    certified = {"certificate": certificate.to_json()} if certificate else {}
    return _document(model, settings, {"graphs": graphs, **certified}, provenance)


def class_metadata(mixture: Mixture[Chain], provenance: Provenance, settings: ExportSettings) -> dict[str, str]:
    """As `metadata_of`, for the density graph of one network a class."""
    classes = {"lunet.classes": json.dumps(mixture.names), "lunet.priors": json.dumps(mixture.priors)}
    return {**_metadata(mixture, provenance, settings, "density"), **classes}


def _metadata(
    model: Chain | Mixture[Chain], provenance: Provenance, settings: ExportSettings, name: str
) -> dict[str, str]:
    p = model.preprocessing
    return {
        "lunet.format_version": str(FORMAT_VERSION),
        "lunet.name": provenance.name,
        "lunet.direction": name,
        "lunet.dim": str(model.dim),
        "lunet.dtype": settings.tensors,
        "lunet.products": settings.products or settings.tensors,
        "lunet.preprocessing": f"logit levels={p.levels} margin={p.margin!r}" if p else "none",
        "lunet.sha256_weights": model.digest(),
    }


def class_document(
    mixture: Mixture[Chain],
    provenance: Provenance,
    settings: ExportSettings,
    blueprints: Sequence[Blueprint],
    counted: Mapping[str, Mapping[str, Any]],
    certificates: Sequence[Certificate],
    training: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """manifest.json of one network a class, without hashes and checks.

    Args:
        mixture: The model.
        provenance: Its name and what training recorded of all classes together.
        settings: Of the export.
        blueprints: Of each class.
        counted: The `census` of each graph, by its name.
        certificates: Of each class.
        training: What was recorded of each class.
    """
    model = {"kind": ClassManifest.kinds[0], **_model(mixture, provenance)}
    classes = [
        {
            "name": name,
            "prior": prior,
            **blueprint.model(),
            "sha256_weights": blueprint.weights.digest(),
            "training": dict(record),
            "certificate": certificate.to_json(),
        }
        for name, prior, blueprint, record, certificate in zip(
            mixture.names, mixture.priors, blueprints, training, certificates, strict=True
        )
    ]
    tensors = _Tensors.of(mixture, settings)
    graphs = {"density": _class_density(tensors, len(classes), counted["density"])}
    for number, blueprint in enumerate(blueprints):
        name = sampling_of(number)
        own = blueprint.graph("sampling")
        graphs[name] = _graph("sampling", tensors, own, counted[name]) | {"file": f"{name}.onnx"}
    return _document(model, settings, {"classes": classes, "graphs": graphs}, provenance)


def _model(model: Chain | Mixture[Chain], provenance: Provenance) -> dict[str, Any]:
    """What a manifest of every kind says of its model."""
    return {
        "name": provenance.name,
        "dim": model.dim,
        "preprocessing": _preprocessing(model.preprocessing),
        "image_shape": list(provenance.image_shape) if provenance.image_shape else None,
        "sha256_weights": model.digest(),
        "source": provenance.source,
    }


def _document(
    model: dict[str, Any], settings: ExportSettings, own: Mapping[str, Any], provenance: Provenance
) -> dict[str, Any]:
    """What manifests of every kind hold; `own` is that of one kind."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": model,
        "dtype": settings.tensors,
        "products": settings.products or settings.tensors,
        "batch": [1, LARGEST_BATCH],
        **own,
        "noise": {"generator": "Philox4x32-10", "normal": "Box-Muller", "specification": "exported/README.md"},
        "onnx": {"opset": builder.OPSET, "ir_version": builder.IR_VERSION},
        "versions": versions(),
        "provenance": provenance.document(asdict(settings)),
        "training": dict(provenance.training),
        "checks": [],
    }


@dataclass(frozen=True)
class _Tensors:
    """Inputs and outputs as the manifest describes them."""

    x: dict[str, Any]
    z: dict[str, Any]
    log_prob: dict[str, Any]
    dtype: str

    @classmethod
    def of(cls, weights: Chain | Mixture[Chain], settings: ExportSettings) -> Self:
        dim, dtype, p = weights.dim, settings.tensors, weights.preprocessing
        unit = f"grey level plus noise in [0, {p.levels})" if p else "the data's own"
        domain = [0, p.levels] if p else None
        return cls(
            {"name": "x", "shape": ["batch", dim], "dtype": dtype, "unit": unit, "domain": domain},
            {"name": "z", "shape": ["batch", dim], "dtype": dtype, "unit": "standard normal", "domain": None},
            {"name": "log_prob", "shape": ["batch"], "dtype": dtype, "unit": "nats, of x", "domain": None},
            dtype,
        )


def _class_density(tensors: _Tensors, classes: int, counted: Mapping[str, Any]) -> dict[str, Any]:
    table = {"shape": ["batch", classes], "dtype": tensors.dtype, "domain": None}
    return {
        "file": "density.onnx",
        "direction": "x -> class_log_prob, log_prob, posterior",
        "inputs": [tensors.x],
        "outputs": [
            {"name": "class_log_prob", **table, "unit": "nats, of x under each class"},
            {**tensors.log_prob, "unit": "nats, of x under the mixture"},
            {"name": "posterior", **table, "unit": "probability of each class"},
        ],
        **counted,
    }


def _graph(name: str, tensors: _Tensors, own: Mapping[str, Any], counted: Mapping[str, Any]) -> dict[str, Any]:
    x, z, log_prob = tensors.x, tensors.z, tensors.log_prob
    shape = {"name": "shape", "shape": [2], "dtype": "int64", "unit": "[batch, dim]", "domain": None}
    probe = {**z, "name": "probe", "unit": "directions with E[e e^T] = I, such as signs"}
    estimate = {**log_prob, "name": "log_prob_estimate", "unit": "nats, of x, unbiased over probes"}
    direction, inputs, outputs = {
        "density": ("x -> log_prob, z", [x], [log_prob, z]),
        "sampling": ("z -> x", [z], [x]),
        "sampling_with_log_prob": ("z -> x, log_prob", [z], [{**log_prob, "unit": "nats, of x unclamped"}, x]),
        "random_sampling": ("shape -> x, z", [shape], [x, z]),
        "density_estimate": ("x, probe -> log_prob_estimate, z", [x, probe], [estimate, z]),
    }[name]
    return {
        "file": f"{name}.onnx",
        "direction": direction,
        "inputs": inputs,
        "outputs": outputs,
        **own,
        **({"warnings": _RNG_WARNINGS} if name == "random_sampling" else {}),
        **counted,
    }


def _preprocessing(p: Logit | None) -> dict[str, Any] | None:
    if p is None:
        return None
    formula = "logit((1 - margin) * x / levels + margin / 2)"
    return {"kind": "logit", "formula": formula, "levels": p.levels, "margin": p.margin}
