"""`export`: builds the graphs, writes the folder, checks what was written, and only then lets it appear."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from lunet_export import parity
from lunet_export.artifact import VECTORS, Artifact, Manifest, sealed
from lunet_export.checks import vectors
from lunet_export.export import half
from lunet_export.export.document import document_of, metadata_of
from lunet_export.export.parts import Parts, publish, refuse_existing
from lunet_export.export.provenance import Provenance
from lunet_export.graphs import builder
from lunet_export.graphs.blueprint import Blueprint
from lunet_export.graphs.emulation import EmulatedFlow
from lunet_export.graphs.settings import ExportSettings
from lunet_export.layers import Chain
from lunet_export.parity import Check, Runner
from lunet_export.runtime import ExportedFlow
from lunet_export.runtime.cuda import CudaOptions
from lunet_export.runtime.providers import Provider

_VECTOR_SEED = 0
MakeRunner = Callable[[Chain], Runner]


@dataclass(frozen=True)
class Exported:
    """A folder that was written, the checks that it passed, and the choices that its graphs were built by."""

    folder: Path
    manifest: Manifest
    checks: list[Check]
    blueprint: Blueprint


def export(
    weights: Chain,
    folder: Path,
    provenance: Provenance,
    settings: ExportSettings | None = None,
    *,
    examples: NDArray[np.floating] | None = None,
    eager: MakeRunner | None = None,
    force: bool = False,
    compare: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Exported:
    """Write the folder of a model: its graphs, manifest, test vectors. It appears checked and whole, or not at all.

    Args:
        weights: The model.
        folder: Where to write; an existing exported folder is replaced only with `force`.
        provenance: Name and history of the model, for the manifest.
        settings: Solver and dtype.
        examples: Rows of data for the test vectors; rows of the model itself when there are none.
        eager: Makes another implementation to compare with, usually eager PyTorch; its own error is recorded.
        force: Replace an existing exported folder.
        compare: Also estimate what every other solver would cost and lose.
        on_stage: Called with a few words before each stage.

    Raises:
        BadInputError: The folder exists, a setting does not fit, or a graph would pass 2 GB.
        ExportCheckError: A check failed; nothing is left behind.
    """
    settings = settings or ExportSettings()
    refuse_existing(folder, force=force)
    if compare or settings.solver == "auto":
        on_stage("comparing the solvers")
    blueprint = Blueprint.choose(weights, settings, compare=compare)
    weights = blueprint.weights  # with what was chosen of them, as the steps of an integration

    on_stage("building the graphs")
    models, parts = _build(blueprint, provenance, examples)

    def check(fresh: Path) -> list[Check]:
        on_stage("checking the graphs")
        flow = ExportedFlow(fresh, provider="cpu")
        checks = _check(flow, weights, eager, "golden")
        if weights.preprocessing:
            on_stage("checking the chain without pre-processing")
            checks += check_chain(blueprint, eager=eager)
        if settings.products:
            on_stage("emulating the float16 products of a GPU")
            emulated = EmulatedFlow(models, "float32")
            images = weights.preprocessing is not None
            parts.document["float16"] = half.measure(emulated, flow.vectors, images=images)
            checks += parity.run(emulated, flow.vectors, group="emulated GPU")
        return checks

    checks = publish(folder, parts, check, refuse=lambda: refuse_existing(folder, force=force))
    return Exported(folder, Manifest.from_json(sealed(parts.document)), checks, blueprint)


def check_chain(
    blueprint: Blueprint,
    *,
    eager: MakeRunner | None,
    provider: Provider = "cpu",
    threads: int | None = None,
    cuda: CudaOptions | None = None,
) -> list[Check]:
    """Checks of the network without its pre-processing, whose clamps hide what happens in the tails.

    The graphs are built as for export and run from memory.
    """
    chain = blueprint.without_preprocessing()
    _, parts = _build(chain, Provenance("chain"), None)
    flow = ExportedFlow(_in_memory(parts), provider=provider, threads=threads, cuda=cuda)
    return _check(flow, chain.weights, eager, "chain without pre-processing")


def build_artifact(weights: Chain, provenance: Provenance, settings: ExportSettings) -> Artifact:
    """The artifact of an export, in memory, its graphs not yet checked.

    Raises:
        BadInputError: As `export` does for its settings.
    """
    return _in_memory(_build(Blueprint.choose(weights, settings), provenance, None)[1])


def _in_memory(parts: Parts) -> Artifact:
    graphs = {name: parts.content[f"{name}.onnx"] for name in parts.document["graphs"]}
    return Artifact(Manifest.from_json(sealed(parts.document)), graphs, parts.content[VECTORS])


def _check(flow: ExportedFlow, weights: Chain, eager: MakeRunner | None, group: str) -> list[Check]:
    beside = eager(weights) if eager else None
    checks = parity.run(flow, flow.vectors, eager=beside, group=group, predicted=flow.artifact.round_trip)
    return checks + parity.run_optional(flow, flow.vectors, group=group)


def _build(
    blueprint: Blueprint, provenance: Provenance, examples: NDArray[np.floating] | None
) -> tuple[dict[str, onnx.ModelProto], Parts]:
    """The graphs by name, and what they become."""
    weights, settings = blueprint.weights, blueprint.settings
    dtype, products = settings.tensors, settings.products
    models = {name: blueprint.build(name, metadata_of(blueprint, provenance, name)) for name in settings.graphs}
    given = None if examples is None else examples.astype(np.float64)
    golden = vectors.build(weights, dtype=dtype, products=products, seed=_VECTOR_SEED, examples=given)
    content = {f"{name}.onnx": builder.serialize(model) for name, model in models.items()}
    content[VECTORS] = (json.dumps(golden.to_json(), allow_nan=False) + "\n").encode()
    document = document_of(blueprint, provenance, models, blueprint.certificate(golden.density.x))
    return models, Parts(document, content)
