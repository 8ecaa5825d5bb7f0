"""The description of an export: manifest.json, and the metadata inside each graph."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import onnx

from lunet_export.artifact import CONTEXT_VERSION, FORMAT, FORMAT_VERSION, GRAPHS, MIXTURE_VERSION, README, graph_of
from lunet_export.certificate import Certificate
from lunet_export.distribution import LUNET_CLASSES, Distribution, Mixture, classes_of, kind_of
from lunet_export.export.provenance import Provenance, versions
from lunet_export.graphs import builder
from lunet_export.graphs.blueprint import Blueprint
from lunet_export.graphs.census import census
from lunet_export.graphs.mixture import MixtureBlueprint, flows_of
from lunet_export.graphs.settings import ExportSettings
from lunet_export.preprocessing import Logit
from lunet_export.runtime.rows import LARGEST_BATCH

_RNG_WARNINGS = [
    "Samples are not reproducible across providers, GPU models or versions; for that, feed z to sampling.onnx.",
    "On the CPU provider every new session of one process repeats the same numbers.",
    "Never capture this graph in a CUDA graph: every replay would return the same samples.",
]


def metadata_of(blueprint: Blueprint | MixtureBlueprint, provenance: Provenance, name: str) -> dict[str, str]:
    """Return the metadata of a graph: what a reader of this ONNX file alone must know."""
    _, number = graph_of(name)
    own = blueprint if number is None else flows_of(blueprint)[number]
    model, settings, p = own.weights, own.settings, own.weights.preprocessing
    common = {
        "lunet.format_version": str(_version(blueprint)),
        "lunet.name": provenance.name,
        "lunet.direction": name,
        "lunet.dim": str(model.dim),
        "lunet.dtype": settings.tensors,
        "lunet.products": settings.products or settings.tensors,
        "lunet.preprocessing": f"logit levels={p.levels} margin={p.margin!r}" if p else "none",
        "lunet.sha256_weights": model.digest(),
    }
    if isinstance(own, MixtureBlueprint):
        mixture = own.weights
        return {**common, "lunet.classes": json.dumps(mixture.names), "lunet.priors": json.dumps(mixture.priors)}
    return {"lunet.family": own.weights.kind.name, **common, **own.metadata()}


def document_of(
    blueprint: Blueprint | MixtureBlueprint,
    provenance: Provenance,
    models: Mapping[str, onnx.ModelProto],
    certificates: Sequence[Certificate | None],
) -> dict[str, Any]:
    """Return manifest.json, without hashes and checks.

    Args:
        blueprint: Blueprint of the flow or the mixture.
        provenance: Name of the model, and the record of its training.
        models: Graphs by name.
        certificates: Certificate of the flow; for a mixture, those of all classes.
    """
    model, settings, flows = blueprint.weights, blueprint.settings, flows_of(blueprint)
    tensors, classes = _Tensors.of(model, settings), len(classes_of(model))
    graphs = {}
    for name, graph in models.items():
        kind, number = graph_of(name)
        if classes and number is None:
            graphs[name] = _class_density(tensors, classes, census(graph))
        else:
            own = flows[number or 0].graph(kind)
            graphs[name] = _graph(kind, tensors, own, census(graph)) | {"file": f"{name}.onnx"}
    if isinstance(blueprint, MixtureBlueprint):
        facts: dict[str, Any] = {} if model.domain is None else {"domain": model.domain.to_json()}
        parts = {"classes": _classes(blueprint, provenance, certificates), "graphs": graphs}
    else:
        (certificate,) = certificates
        facts = blueprint.model()
        parts = {"graphs": graphs, **_certified(certificate)}
    return {
        "format": FORMAT,
        "format_version": _version(blueprint),
        "model": {
            "kind": kind_of(model),
            "name": provenance.name,
            "dim": model.dim,
            "preprocessing": _preprocessing(model.preprocessing),
            **provenance.shown,
            "sha256_weights": model.digest(),
            "source": provenance.source,
            **facts,
        },
        "dtype": settings.tensors,
        "products": settings.products or settings.tensors,
        "batch": [1, LARGEST_BATCH],
        **parts,
        "noise": {"generator": "Philox4x32-10", "normal": "Box-Muller", "specification": README},
        "onnx": {"opset": builder.OPSET, "ir_version": builder.IR_VERSION},
        "versions": versions(),
        "provenance": provenance.document(asdict(settings)),
        "training": dict(provenance.training),
        "checks": [],
    }


def _classes(
    blueprint: MixtureBlueprint, provenance: Provenance, certificates: Sequence[Certificate | None]
) -> list[dict[str, Any]]:
    """Return the entries of the classes. If all are LU-Nets, only `model.kind` says so."""
    mixture = blueprint.weights
    records = provenance.classes or ({},) * len(mixture.names)
    told = zip(mixture.names, mixture.priors, blueprint.components, records, certificates, strict=True)
    return [
        {
            "name": name,
            "prior": prior,
            **({} if mixture.kind == LUNET_CLASSES else {"kind": flow.weights.kind.name}),
            **flow.model(),
            "sha256_weights": flow.weights.digest(),
            "training": dict(record),
            **_certified(certificate),
        }
        for name, prior, flow, record, certificate in told
    ]


def _certified(certificate: Certificate | None) -> dict[str, Any]:
    return {"certificate": certificate.to_json()} if certificate else {}


def _version(blueprint: Blueprint | MixtureBlueprint) -> int:
    """Return the format version, a higher one for what programs written for version 1 cannot run."""
    if not isinstance(blueprint, MixtureBlueprint):
        return FORMAT_VERSION if blueprint.weights.context is None else CONTEXT_VERSION
    plain = blueprint.weights.kind == LUNET_CLASSES and blueprint.settings.graphs == GRAPHS
    return FORMAT_VERSION if plain else MIXTURE_VERSION


@dataclass(frozen=True)
class _Tensors:
    """Inputs and outputs of graphs as the manifest describes them."""

    x: dict[str, Any]
    z: dict[str, Any]
    log_prob: dict[str, Any]
    dtype: str
    context: dict[str, Any] | None = None  # of a conditional flow

    @classmethod
    def of(cls, model: Distribution, settings: ExportSettings) -> Self:
        dim, dtype, p = model.dim, settings.tensors, model.preprocessing
        unit = f"grey level plus noise in [0, {p.levels})" if p else "the data's own"
        domain = [0, p.levels] if p else None
        return cls(
            {"name": "x", "shape": ["batch", dim], "dtype": dtype, "unit": unit, "domain": domain},
            {"name": "z", "shape": ["batch", dim], "dtype": dtype, "unit": "standard normal", "domain": None},
            {"name": "log_prob", "shape": ["batch"], "dtype": dtype, "unit": "nats, of x", "domain": None},
            dtype,
            _context(model, dtype),
        )


def _context(model: Distribution, dtype: str) -> dict[str, Any] | None:
    """Return the tensor `context` of a conditional flow; a mixture has none."""
    of_chain = None if isinstance(model, Mixture) else model.context
    if of_chain is None:
        return None
    unit = "the context of each row, in its own units"
    return {"name": "context", "shape": ["contexts", of_chain.dim], "dtype": dtype, "unit": unit, "domain": None}


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
    if tensors.context is not None:
        direction = direction.replace(inputs[0]["name"], f"{inputs[0]['name']}, context", 1)
        inputs = [inputs[0], tensors.context, *inputs[1:]]
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
