"""`export`: builds both graphs, writes the folder, checks what was written, and only then lets it appear."""

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

import lunet_export
from lunet_export import files, parity, vectors
from lunet_export.artifact import DTYPES, FORMAT, FORMAT_VERSION, GRAPHS, MANIFEST, VECTORS, Artifact, Manifest, sealed
from lunet_export.errors import BadInputError, CheckFailedError
from lunet_export.graphs import builder, density, sampling
from lunet_export.parity import Check, Runner
from lunet_export.preprocessing import Logit
from lunet_export.runtime import ExportedFlow
from lunet_export.runtime.flow import LARGEST_BATCH
from lunet_export.runtime.providers import Provider
from lunet_export.weights import LUNetWeights

_VECTOR_SEED = 0
MakeRunner = Callable[[LUNetWeights], Runner]


@dataclass(frozen=True)
class ExportSettings:
    """What can be chosen about the graphs."""

    solver: str = "unrolled"  # or `fused`
    tile: int | None = None  # rows of an unrolled solve's tile; None takes two tiles a factor
    dtype: str = "float32"  # or `float64`

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise BadInputError(f"Expected a dtype of {', '.join(DTYPES)}; got {self.dtype}.")


@dataclass(frozen=True)
class Provenance:
    """What is known about the model beside its weights."""

    name: str
    source: str = "arrays"  # kind of checkpoint: `lunet_export`, `authors`
    image_shape: tuple[int, ...] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Exported:
    """A folder that was written, and the checks that it passed."""

    folder: Path
    manifest: Manifest
    checks: list[Check]


class ExportCheckError(CheckFailedError):
    """The graphs were built but are not right; `checks` says where. Nothing was written."""

    def __init__(self, checks: list[Check]) -> None:
        worst = max(checks, key=lambda check: check.difference.ratio)
        gap = worst.difference
        super().__init__(
            f"Expected {worst.name} within {gap.tolerance:.1e}; got {gap.worst:.1e} at row {gap.row}, column "
            f"{gap.column}. Nothing was written. Export with --dtype float64, or report this model."
        )
        self.checks = checks


def export(
    weights: LUNetWeights,
    folder: Path,
    provenance: Provenance,
    settings: ExportSettings | None = None,
    *,
    examples: NDArray[np.floating] | None = None,
    eager: MakeRunner | None = None,
    force: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Exported:
    """Write the folder of a model: both graphs, manifest, test vectors. It appears checked and whole, or not at all.

    Args:
        weights: The model.
        folder: Where to write; an existing exported folder is replaced only with `force`.
        provenance: Name and history of the model, for the manifest.
        settings: Solver and dtype.
        examples: Rows of data for the test vectors; rows of the model itself when there are none.
        eager: Makes another implementation to compare with, usually eager PyTorch; its own error is recorded.
        force: Replace an existing exported folder.
        on_stage: Called with a few words before each stage.

    Raises:
        BadInputError: The folder exists, a setting does not fit, or a graph would pass 2 GB.
        ExportCheckError: A check failed; nothing is left behind.
    """
    settings = settings or ExportSettings()
    _refuse_existing(folder, force=force)
    solver = sampling.choose(settings.solver, settings.tile, weights.dim)
    _refuse_large(weights, solver, settings.dtype)

    on_stage("building the graphs")
    parts = _build(weights, provenance, settings, solver, examples)
    with files.whole_folder(folder) as fresh:
        parts.write(fresh)
        on_stage("checking the graphs")
        artifact = Artifact.open(fresh)
        checks = _check(artifact, weights, eager, "golden")
        if weights.preprocessing:
            on_stage("checking the chain without pre-processing")
            checks += check_chain(weights, settings, eager=eager)
        if not parity.all_passed(checks):
            raise ExportCheckError(checks)
        parts.document["checks"] = [parity.as_json(check) for check in checks]
        parts.write(fresh)
        manifest = Artifact.open(fresh).manifest
        _refuse_existing(folder, force=force)  # someone else may have been faster
    return Exported(folder, manifest, checks)


def check_chain(
    weights: LUNetWeights, settings: ExportSettings, *, eager: MakeRunner | None, provider: Provider = "cpu"
) -> list[Check]:
    """Checks of the network without its pre-processing, whose clamps hide what happens in the tails.

    The graphs are built as for export and run from memory.
    """
    chain = weights.without_preprocessing()
    solver = sampling.choose(settings.solver, settings.tile, chain.dim)
    artifact = _build(chain, Provenance("chain"), settings, solver, None).artifact()
    return _check(artifact, chain, eager, "chain without pre-processing", provider)


def _check(
    artifact: Artifact, weights: LUNetWeights, eager: MakeRunner | None, group: str, provider: Provider = "cpu"
) -> list[Check]:
    flow = ExportedFlow(artifact, provider=provider)
    return parity.run(flow, artifact.vectors, eager=eager(weights) if eager else None, group=group)


@dataclass
class _Parts:
    """The content of a folder before it is one."""

    document: dict[str, Any]
    content: dict[str, bytes]  # by file name

    def write(self, folder: Path) -> None:
        for name, data in self.content.items():
            (folder / name).write_bytes(data)
        text = json.dumps(sealed(self.document), indent=2, allow_nan=False) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8")

    def artifact(self) -> Artifact:
        graphs = {name: self.content[f"{name}.onnx"] for name in GRAPHS}
        return Artifact(Manifest.from_json(sealed(self.document)), graphs, self.content[VECTORS])


def _build(
    weights: LUNetWeights,
    provenance: Provenance,
    settings: ExportSettings,
    solver: sampling.Solver,
    examples: NDArray[np.floating] | None,
) -> _Parts:
    dtype = settings.dtype
    metadata = {direction: _metadata(weights, provenance, solver, direction, dtype) for direction in GRAPHS}
    models = {
        "density": density.build(weights, dtype=dtype, metadata=metadata["density"]),
        "sampling": sampling.build(weights, solver=solver, dtype=dtype, metadata=metadata["sampling"]),
    }
    given = None if examples is None else examples.astype(np.float64)
    golden = vectors.build(weights, dtype=dtype, seed=_VECTOR_SEED, examples=given)
    content = {f"{direction}.onnx": builder.serialize(model) for direction, model in models.items()}
    content[VECTORS] = (json.dumps(golden.to_json(), allow_nan=False) + "\n").encode()
    document = _document(weights, provenance, solver, dtype, models)
    document["sha256"] = {name: files.sha256(data) for name, data in content.items()}
    for direction in GRAPHS:
        document["graphs"][direction]["bytes"] = len(content[f"{direction}.onnx"])
    return _Parts(document, content)


def _metadata(
    weights: LUNetWeights, provenance: Provenance, solver: sampling.Solver, direction: str, dtype: str
) -> dict[str, str]:
    """What a reader of one ONNX file alone must know; all known before the file exists."""
    p = weights.preprocessing
    return {
        "lunet.format_version": str(FORMAT_VERSION),
        "lunet.name": provenance.name,
        "lunet.direction": direction,
        "lunet.dim": str(weights.dim),
        "lunet.blocks": str(len(weights.blocks)),
        "lunet.alpha": repr(weights.alpha),
        "lunet.dtype": dtype,
        "lunet.preprocessing": f"logit levels={p.levels} margin={p.margin!r}" if p else "none",
        "lunet.solver": solver.name if solver.tile is None else f"{solver.name} tile={solver.tile}",
        "lunet.sha256_weights": weights.digest(),
    }


def _document(
    weights: LUNetWeights,
    provenance: Provenance,
    solver: sampling.Solver,
    dtype: str,
    models: Mapping[str, onnx.ModelProto],
) -> dict[str, Any]:
    dim, p = weights.dim, weights.preprocessing
    unit = f"grey level plus noise in [0, {p.levels})" if p else "the data's own"
    x = {"name": "x", "shape": ["batch", dim], "dtype": dtype, "unit": unit, "domain": [0, p.levels] if p else None}
    z = {"name": "z", "shape": ["batch", dim], "dtype": dtype, "unit": "standard normal", "domain": None}
    log_prob = {"name": "log_prob", "shape": ["batch"], "dtype": dtype, "unit": "nats, of x", "domain": None}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": {
            "name": provenance.name,
            "kind": "lunet",
            "dim": dim,
            "blocks": len(weights.blocks),
            "alpha": weights.alpha,
            "preprocessing": _preprocessing(p),
            "image_shape": list(provenance.image_shape) if provenance.image_shape else None,
            "sha256_weights": weights.digest(),
            "source": provenance.source,
        },
        "dtype": dtype,
        "batch": [1, LARGEST_BATCH],
        "graphs": {
            "density": {
                "file": "density.onnx",
                "direction": "x -> log_prob, z",
                "inputs": [x],
                "outputs": [log_prob, z],
                **_census(models["density"]),
            },
            "sampling": {
                "file": "sampling.onnx",
                "direction": "z -> x",
                "inputs": [z],
                "outputs": [x],
                "solver": asdict(solver),
                **_census(models["sampling"]),
            },
        },
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


def _preprocessing(p: Logit | None) -> dict[str, Any] | None:
    if p is None:
        return None
    formula = "logit((1 - margin) * x / levels + margin / 2)"
    return {"kind": "logit", "formula": formula, "levels": p.levels, "margin": p.margin}


def _census(model: onnx.ModelProto) -> dict[str, Any]:
    return {"nodes": len(model.graph.node), "operators": builder.operators(model)}


def _refuse_existing(folder: Path, *, force: bool) -> None:
    """Raise unless `folder` is free or empty, or is an exported folder and nothing else, and `force` is set."""
    if not folder.exists():
        return
    inside = {entry.name for entry in folder.iterdir()} if folder.is_dir() else {"not a folder"}
    known = {MANIFEST, VECTORS, *(f"{direction}.onnx" for direction in GRAPHS)}
    if inside and not known >= inside >= {MANIFEST, "density.onnx"}:
        other = sorted(inside - known) or sorted(inside)
        raise BadInputError(f"Expected a new folder; {folder} exists and holds {other[0]}. Give another -o.")
    if inside and not force:
        raise BadInputError(f"Expected a new folder; {folder} exists already. Give another -o, or --force.")


def _refuse_large(weights: LUNetWeights, solver: sampling.Solver, dtype: str) -> None:
    dim, tile = weights.dim, solver.tile
    stored = dim**2 if tile is None else dim**2 + dim * tile  # numbers a block in the larger of the two graphs
    size = len(weights.blocks) * stored * np.dtype(dtype).itemsize
    if size > builder.LARGEST_BYTES:
        raise BadInputError(
            f"Expected graphs of at most 2 GB, the limit of one ONNX file; this one needs {size / 1e9:.1f} GB. "
            "Use --dtype float32, a smaller --tile or fewer blocks."
        )
