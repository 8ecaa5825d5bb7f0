"""`export_classes`: the folder of one network a class, built, checked, and only then let appear."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export import parity
from lunet_export.artifact import VECTORS, ClassManifest, sampling_of, sealed
from lunet_export.checks import class_vectors
from lunet_export.errors import BadInputError
from lunet_export.export.document import class_document, class_metadata, metadata_of
from lunet_export.export.parts import Parts, publish, refuse_existing
from lunet_export.export.provenance import Provenance
from lunet_export.export.write import MakeRunner, check_chain
from lunet_export.graphs import builder, class_density
from lunet_export.graphs.blueprint import Blueprint
from lunet_export.graphs.census import census
from lunet_export.graphs.settings import ExportSettings
from lunet_export.graphs.sizes import refuse_large
from lunet_export.layers import Chain
from lunet_export.parity import Check, ClassRunner
from lunet_export.runtime import ExportedClasses
from lunet_export.weights import Mixture

_VECTOR_SEED = 0


@dataclass(frozen=True)
class ExportedClassFolder:
    """A folder that was written and the checks that it passed."""

    folder: Path
    manifest: ClassManifest
    checks: list[Check]
    blueprints: list[Blueprint]  # of each class


@dataclass(frozen=True)
class Eager:
    """Makes other implementations to compare with, usually eager PyTorch: of the mixture, and of one network."""

    mixture: Callable[[Mixture[Chain]], ClassRunner]
    network: MakeRunner


def export_classes(
    mixture: Mixture[Chain],
    folder: Path,
    provenance: Provenance,
    settings: ExportSettings | None = None,
    *,
    examples: Sequence[NDArray[np.floating] | None] | None = None,
    training: Sequence[Mapping[str, Any]] | None = None,
    eager: Eager | None = None,
    force: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> ExportedClassFolder:
    """Write the folder of one network a class. It appears checked and whole, or not at all.

    Args:
        mixture: The model.
        folder: Where to write; an existing exported folder is replaced only with `force`.
        provenance: Name of the model and what was recorded of all classes together.
        settings: Solver and dtype.
        examples: Rows of data of each class for the test vectors; rows of its network where there are none.
        training: What was recorded of each class, for the manifest.
        eager: Other implementations; their own errors are recorded.
        force: Replace an existing exported folder.
        on_stage: Called with a few words before each stage.

    Raises:
        BadInputError: The folder exists, a setting does not fit, there are more than 32 classes, or a graph would pass
            2 GB.
        ExportCheckError: A check failed; nothing is left behind.
    """
    settings = settings or ExportSettings()
    _refuse_settings(settings)
    refuse_existing(folder, force=force)
    _refuse_large_density(mixture, settings)
    on_stage("choosing the solvers")
    blueprints = blueprints_of(mixture, [settings] * len(mixture.networks))
    parts = _build(mixture, provenance, settings, blueprints, examples, training, on_stage)

    def check(fresh: Path) -> list[Check]:
        on_stage("checking the graphs")
        flow = ExportedClasses(fresh, provider="cpu")
        beside = eager.mixture(mixture) if eager else None
        checks = parity.run_classes(flow, flow.vectors, mixture.names, eager=beside)
        return checks + check_class_chains(
            mixture.names, blueprints, eager=eager.network if eager else None, on_stage=on_stage
        )

    checks = publish(folder, parts, check, refuse=lambda: refuse_existing(folder, force=force))
    return ExportedClassFolder(folder, ClassManifest.from_json(sealed(parts.document)), checks, blueprints)


def blueprints_of(mixture: Mixture[Chain], settings: Sequence[ExportSettings]) -> list[Blueprint]:
    """The blueprint of each class's network, by the settings of each.

    Raises:
        BadInputError: As `Blueprint.choose` does.
    """
    return [Blueprint.choose(network, own) for network, own in zip(mixture.networks, settings, strict=True)]


def check_class_chains(
    names: Sequence[str],
    blueprints: Sequence[Blueprint],
    *,
    eager: MakeRunner | None,
    on_stage: Callable[[str], None] = lambda stage: None,
    **run: Any,  # noqa: ANN401
) -> list[Check]:
    """`check_chain` of every class, for images alone: vectors have no clamp that hides anything.

    `run` is its provider, threads and cuda.
    """
    checks: list[Check] = []
    for name, blueprint in zip(names, blueprints, strict=True):
        if blueprint.weights.preprocessing:
            on_stage(f"checking the chain of class {name} without pre-processing")
            found = check_chain(blueprint, eager=eager, **run)
            checks += [replace(entry, name=f"class {name}, {entry.name}") for entry in found]
    return checks


def _refuse_settings(settings: ExportSettings) -> None:
    if settings.products:
        raise BadInputError("Expected a dtype of float32 or float64 for one network a class; got float16.")
    if settings.graphs != ("density", "sampling"):
        raise BadInputError(
            "Expected neither --with-log-prob nor --rng for one network a class; export a class's own file for these."
        )


def _refuse_large_density(mixture: Mixture[Chain], settings: ExportSettings) -> None:
    layers = [layer for network in mixture.networks for layer in network.layers]
    numbers = sum(layer.free if layer.solves else layer.stored for layer in layers)  # L and U are one product
    cure = "Use --dtype float32, or fewer classes or blocks."
    refuse_large(numbers, settings.tensors, cure, "a density graph")


def _build(
    mixture: Mixture[Chain],
    provenance: Provenance,
    settings: ExportSettings,
    blueprints: Sequence[Blueprint],
    examples: Sequence[NDArray[np.floating] | None] | None,
    training: Sequence[Mapping[str, Any]] | None,
    on_stage: Callable[[str], None],
) -> Parts:
    dtype = settings.tensors
    on_stage("making the test vectors")
    given = None if examples is None else [None if rows is None else rows.astype(np.float64) for rows in examples]
    golden = class_vectors.build(mixture, dtype=dtype, seed=_VECTOR_SEED, examples=given)
    content, counted, certificates = {}, {}, []
    on_stage("building the density graph")
    graph = class_density.build(mixture, dtype=dtype, metadata=class_metadata(mixture, provenance, settings))
    content["density.onnx"], counted["density"] = builder.serialize(graph), census(graph)
    for number, blueprint in enumerate(blueprints):
        name = sampling_of(number)
        on_stage(f"building {name}")
        graph = blueprint.build("sampling", metadata_of(blueprint, provenance, name))
        content[f"{name}.onnx"], counted[name] = builder.serialize(graph), census(graph)
        certificates.append(blueprint.certificate(golden.density.x[golden.density.label == number]))
    content[VECTORS] = (json.dumps(golden.to_json(), allow_nan=False) + "\n").encode()
    records = training or [{} for _ in mixture.networks]
    return Parts(class_document(mixture, provenance, settings, blueprints, counted, certificates, records), content)
