"""What is written about an export: manifest.json, and the metadata inside each graph."""

import platform
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import onnx

import lunet_export
from lunet_export.artifact import FORMAT, FORMAT_VERSION
from lunet_export.certificate import Bounds, Certificate, outwards
from lunet_export.export.estimate import census
from lunet_export.export.settings import ExportSettings, Provenance
from lunet_export.graphs import builder
from lunet_export.graphs.solvers import Solver
from lunet_export.preprocessing import Logit
from lunet_export.runtime.rows import LARGEST_BATCH
from lunet_export.weights import LUNetWeights

_RNG_WARNINGS = [
    "Samples are not reproducible across providers, GPU models or versions; for that, feed z to sampling.onnx.",
    "On the CPU provider every new session of one process repeats the same numbers.",
    "Never capture this graph in a CUDA graph: every replay would return the same samples.",
]


def metadata_of(
    weights: LUNetWeights, provenance: Provenance, solver: Solver, settings: ExportSettings, name: str, bounds: Bounds
) -> dict[str, str]:
    """What a reader of one ONNX file alone must know; all known before the file exists. bounds: in data space."""
    p = weights.preprocessing
    return {
        "lunet.format_version": str(FORMAT_VERSION),
        "lunet.name": provenance.name,
        "lunet.direction": name,
        "lunet.dim": str(weights.dim),
        "lunet.blocks": str(len(weights.blocks)),
        "lunet.alpha": repr(weights.alpha),
        "lunet.dtype": settings.tensors,
        "lunet.products": settings.products or settings.tensors,
        "lunet.preprocessing": f"logit levels={p.levels} margin={p.margin!r}" if p else "none",
        "lunet.solver": str(solver),
        "lunet.lip_forward": repr(outwards(bounds.lip_forward, upper=True)),
        "lunet.lip_inverse": repr(outwards(bounds.lip_inverse, upper=True)),
        "lunet.log_det_min": repr(outwards(bounds.log_det_min, upper=False)),
        "lunet.log_det_max": repr(outwards(bounds.log_det_max, upper=True)),
        "lunet.sha256_weights": weights.digest(),
    }


def document_of(
    weights: LUNetWeights,
    provenance: Provenance,
    solver: Solver,
    settings: ExportSettings,
    models: Mapping[str, onnx.ModelProto],
    certificate: Certificate,
) -> dict[str, Any]:
    """manifest.json without hashes and checks."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": {
            "name": provenance.name,
            "kind": "lunet",
            "dim": weights.dim,
            "blocks": len(weights.blocks),
            "alpha": weights.alpha,
            "preprocessing": _preprocessing(weights.preprocessing),
            "image_shape": list(provenance.image_shape) if provenance.image_shape else None,
            "sha256_weights": weights.digest(),
            "source": provenance.source,
        },
        "dtype": settings.tensors,
        "products": settings.products or settings.tensors,
        "batch": [1, LARGEST_BATCH],
        "graphs": {name: _graph(name, weights, settings, solver, model) for name, model in models.items()},
        "certificate": certificate.to_json(),
        "noise": {"generator": "Philox4x32-10", "normal": "Box-Muller", "specification": "exported/README.md"},
        "onnx": {"opset": builder.OPSET, "ir_version": builder.IR_VERSION},
        "versions": {
            "lunet_export": lunet_export.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "onnx": onnx.__version__,
        },
        "training": dict(provenance.training),
        "checks": [],
    }


def _graph(
    name: str, weights: LUNetWeights, settings: ExportSettings, solver: Solver, model: onnx.ModelProto
) -> dict[str, Any]:
    dim, dtype, p = weights.dim, settings.tensors, weights.preprocessing
    unit = f"grey level plus noise in [0, {p.levels})" if p else "the data's own"
    x = {"name": "x", "shape": ["batch", dim], "dtype": dtype, "unit": unit, "domain": [0, p.levels] if p else None}
    z = {"name": "z", "shape": ["batch", dim], "dtype": dtype, "unit": "standard normal", "domain": None}
    log_prob = {"name": "log_prob", "shape": ["batch"], "dtype": dtype, "unit": "nats, of x", "domain": None}
    shape = {"name": "shape", "shape": [2], "dtype": "int64", "unit": "[batch, dim]", "domain": None}
    direction, inputs, outputs = {
        "density": ("x -> log_prob, z", [x], [log_prob, z]),
        "sampling": ("z -> x", [z], [x]),
        "sampling_with_log_prob": ("z -> x, log_prob", [z], [{**log_prob, "unit": "nats, of x unclamped"}, x]),
        "random_sampling": ("shape -> x, z", [shape], [x, z]),
    }[name]
    return {
        "file": f"{name}.onnx",
        "direction": direction,
        "inputs": inputs,
        "outputs": outputs,
        **({} if name == "density" else {"solver": asdict(solver)}),
        **({"warnings": _RNG_WARNINGS} if name == "random_sampling" else {}),
        **census(model),
    }


def _preprocessing(p: Logit | None) -> dict[str, Any] | None:
    if p is None:
        return None
    formula = "logit((1 - margin) * x / levels + margin / 2)"
    return {"kind": "logit", "formula": formula, "levels": p.levels, "margin": p.margin}
