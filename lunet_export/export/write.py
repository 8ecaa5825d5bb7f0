"""`export`: builds the graphs, writes the folder, checks it, and only then makes it visible."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from lunet_export import parity
from lunet_export.artifact import VECTORS, Artifact, Manifest, graph_names, sealed
from lunet_export.checks import vectors
from lunet_export.checks.vector_file import Seams
from lunet_export.checks.vectors import Examples
from lunet_export.distribution import Distribution, classes_of
from lunet_export.errors import BadInputError, NarrowDtypeError
from lunet_export.export import half, readme
from lunet_export.export.document import document_of, metadata_of
from lunet_export.export.parts import Parts, publish, validate_target
from lunet_export.export.provenance import Provenance
from lunet_export.graphs import builder
from lunet_export.graphs.blueprint import Blueprint
from lunet_export.graphs.emulation import EmulatedFlow
from lunet_export.graphs.mixture import MixtureBlueprint, blueprint_of, flows_of
from lunet_export.graphs.settings import ExportSettings
from lunet_export.parity import Check
from lunet_export.runtime import ExportedClasses, ExportedFlow, open_export

_VECTOR_SEED = 0
_WIDENING = ("float16", "float32", "float64")
#: Function that makes another implementation of a flow or a mixture: a `parity.Runner` or `parity.ClassRunner`.
MakeRunner = Callable[[Any], Any]


@dataclass(frozen=True)
class Exported:
    """A written folder, the checks that it passed, the blueprint of its graphs, and which rows rounding decides."""

    folder: Path
    manifest: Manifest
    checks: list[Check]
    blueprint: Blueprint | MixtureBlueprint
    seams: Seams | None = None


def export(
    model: Distribution,
    folder: Path,
    provenance: Provenance,
    settings: ExportSettings | None = None,
    *,
    examples: Examples | None = None,
    eager: MakeRunner | None = None,
    force: bool = False,
    compare: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Exported:
    """Write the folder of a model: graphs, manifest, test vectors. It appears checked and whole, or not at all.

    Args:
        model: A flow or a mixture.
        folder: Folder to write.
        provenance: Name, source and training record of the model, for the manifest.
        settings: Settings of the graphs, such as solver and dtype; None takes the defaults.
        examples: Rows of data for the test vectors, (N, D); for a mixture, those of each class. None takes samples of
            the model.
        eager: Function that makes another implementation to compare with, usually eager PyTorch; its error is recorded.
        force: Whether an existing exported folder is replaced.
        compare: Whether to estimate the time and the error of every other solver too.
        on_stage: Function that is called with a few words before each stage.

    Returns:
        The folder with its manifest, its checks and its blueprint.

    Raises:
        BadInputError: if the folder exists, a setting does not fit, there are more than 32 classes, or a graph would
            exceed 2 GB.
        NarrowDtypeError: if the dtype cannot hold numbers of the model. A wider one is advised only if it can.
        ExportCheckError: if a check failed; then nothing is written.
    """
    settings = settings or ExportSettings()
    validate_target(folder, force=force)
    try:
        if compare or settings.solver == "auto":
            on_stage("comparing the solvers")
        blueprint = blueprint_of(model, settings, compare=compare)
        on_stage("building the graphs")
        models, parts = _build(blueprint, provenance, examples)
    except NarrowDtypeError as error:
        raise _advising(error, model, provenance, settings, examples, on_stage) from None
    model = blueprint.weights  # with the choices of the settings, such as the steps of an integration

    def check(fresh: Path) -> list[Check]:
        on_stage("checking the graphs")
        flow = open_export(fresh, provider="cpu")
        checks = _check(flow, model, eager, "golden")
        checks += check_chains(blueprint, eager=eager, on_stage=on_stage)
        if settings.products:
            on_stage("emulating the float16 products of a GPU")
            gpu, known = EmulatedFlow(models, "float32"), flow.vectors
            parts.document["float16"] = half.measure(gpu, known, images=model.preprocessing is not None)
            checks += parity.run(gpu, known, group="emulated GPU")
        return checks

    checks = publish(folder, parts, check, refuse=lambda: validate_target(folder, force=force))
    written = _in_memory(parts)
    return Exported(folder, written.manifest, checks, blueprint, written.vectors.seams)


def _advising(
    error: NarrowDtypeError,
    model: Distribution,
    provenance: Provenance,
    settings: ExportSettings,
    examples: Examples | None,
    on_stage: Callable[[str], None],
) -> NarrowDtypeError:
    """Return the error with its advice: the next wider dtype that holds the model, or that there is none."""
    refused: BadInputError | None = None
    for dtype in _WIDENING[_WIDENING.index(settings.dtype) + 1 :]:
        on_stage(f"trying {dtype}")
        try:
            _build(blueprint_of(model, replace(settings, dtype=dtype)), provenance, examples)
        except BadInputError as other:
            refused = other
        else:
            return error.curing(f"Export with `dtype={dtype!r}`.")
    return error if refused is None else error.curing(f"A wider dtype is refused too: {refused}")


def check_chains(
    blueprint: Blueprint | MixtureBlueprint,
    *,
    eager: MakeRunner | None,
    on_stage: Callable[[str], None] = lambda stage: None,
    **run: Any,  # noqa: ANN401
) -> list[Check]:
    """Return checks of every network that has pre-processing, without it: its clamps would hide errors in the tails.

    The graphs are built as for export and run from memory.

    Args:
        blueprint: Blueprint of the flow or the mixture.
        eager: Function that makes another implementation to compare with.
        on_stage: Function that is called with a few words before each stage.
        **run: Provider, threads and cuda of `ExportedFlow`.
    """
    checks: list[Check] = []
    names = classes_of(blueprint.weights)
    for number, flow in enumerate(flows_of(blueprint)):
        if flow.weights.preprocessing:
            of_class = f"class {names[number]}" if names else ""
            on_stage(f"checking the chain{of_class and f' of {of_class}'} without pre-processing")
            chain = flow.without_preprocessing()
            _, parts = _build(chain, Provenance("chain"), None)
            opened = open_export(_in_memory(parts), **{"provider": "cpu", **run})
            found = _check(opened, chain.weights, eager, "chain without pre-processing")
            checks += [replace(entry, name=f"{of_class}, {entry.name}") if names else entry for entry in found]
    return checks


def build_artifact(model: Distribution, provenance: Provenance, settings: ExportSettings) -> Artifact:
    """Return the artifact of an export in memory, its graphs not yet checked.

    Raises:
        BadInputError: as `export` raises for settings.
    """
    return _in_memory(_build(blueprint_of(model, settings), provenance, None)[1])


def _in_memory(parts: Parts) -> Artifact:
    graphs = {name: parts.content[f"{name}.onnx"] for name in parts.document["graphs"]}
    return Artifact(Manifest.from_json(sealed(parts.document)), graphs, parts.content[VECTORS])


def _check(
    flow: ExportedFlow | ExportedClasses, model: Distribution, eager: MakeRunner | None, group: str
) -> list[Check]:
    beside = eager(model) if eager else None
    checks = parity.run(flow, flow.vectors, eager=beside, group=group, predicted=flow.artifact.round_trip)
    return checks + parity.run_optional(flow, flow.vectors, group=group)


def _build(
    blueprint: Blueprint | MixtureBlueprint, provenance: Provenance, examples: Examples | None
) -> tuple[dict[str, onnx.ModelProto], Parts]:
    """Return the graphs by name, and the content of their folder."""
    model, settings = blueprint.weights, blueprint.settings
    names = graph_names(settings.graphs, len(classes_of(model)))
    models = {name: blueprint.build(name, metadata_of(blueprint, provenance, name)) for name in names}
    dtype, products = settings.tensors, settings.products
    golden = vectors.build(model, dtype=dtype, products=products, seed=_VECTOR_SEED, examples=examples)
    content = {f"{name}.onnx": builder.serialize(graph) for name, graph in models.items()}
    content[VECTORS] = (json.dumps(golden.to_json(), allow_nan=False) + "\n").encode()
    flows = flows_of(blueprint)
    certificates = [flow.certificate(rows) for flow, rows in zip(flows, golden.own_rows, strict=True)]
    document = document_of(blueprint, provenance, models, certificates)
    return models, Parts(document, content, readme.of_folder(document))
