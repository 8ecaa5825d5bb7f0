"""`export`: builds the graphs, writes the folder, checks what was written, and only then lets it appear."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from lunet_export import parity, vectors
from lunet_export.artifact import VECTORS, Artifact, Manifest, sealed
from lunet_export.certificate import Certificate, chain_bounds, data_bounds
from lunet_export.errors import BadInputError
from lunet_export.export import half
from lunet_export.export.document import document_of, metadata_of
from lunet_export.export.estimate import Estimate, estimates, fastest
from lunet_export.export.parts import Parts, publish, refuse_existing
from lunet_export.export.settings import ExportSettings, Provenance
from lunet_export.graphs import builder, density, sampling, solvers
from lunet_export.graphs.emulation import EmulatedFlow
from lunet_export.graphs.solvers import Solver
from lunet_export.parity import Check, Runner
from lunet_export.runtime import ExportedFlow
from lunet_export.runtime.cuda import CudaOptions
from lunet_export.runtime.providers import Provider
from lunet_export.weights import LUNetWeights

_VECTOR_SEED = 0
MakeRunner = Callable[[LUNetWeights], Runner]


@dataclass(frozen=True)
class Exported:
    """A folder that was written, the checks that it passed, and what the solvers would have cost."""

    folder: Path
    manifest: Manifest
    checks: list[Check]
    solver: Solver
    estimates: list[Estimate]  # of every solver that can be built, with `compare` or `auto`; else none

    @property
    def estimate(self) -> Estimate | None:
        """That of the solver that was taken; None where they were not compared."""
        return next((estimate for estimate in self.estimates if estimate.solver == self.solver), None)


def export(
    weights: LUNetWeights,
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
    smallest = Solver("fused", None)  # of what `auto` may choose
    refuse_large(weights, smallest if settings.solver == "auto" else choose_solver(weights, settings), settings)
    found: list[Estimate] = []
    if compare or settings.solver == "auto":
        on_stage("comparing the solvers")
        found = _estimates(weights, settings)
    solver = choose_solver(weights, settings, found)
    refuse_large(weights, solver, settings)

    on_stage("building the graphs")
    models, parts = _build(weights, provenance, settings, solver, examples)

    def check(fresh: Path) -> list[Check]:
        on_stage("checking the graphs")
        flow = ExportedFlow(fresh, provider="cpu")
        checks = _check(flow, weights, eager, "golden")
        if weights.preprocessing:
            on_stage("checking the chain without pre-processing")
            checks += check_chain(weights, settings, eager=eager, solver=solver)
        if settings.products:
            on_stage("emulating the float16 products of a GPU")
            emulated = EmulatedFlow(models, "float32")
            images = weights.preprocessing is not None
            parts.document["float16"] = half.measure(emulated, flow.vectors, images=images)
            checks += parity.run(emulated, flow.vectors, group="emulated GPU")
        return checks

    checks = publish(folder, parts, check, force=force)
    return Exported(folder, Manifest.from_json(sealed(parts.document)), checks, solver, found)


def check_chain(
    weights: LUNetWeights,
    settings: ExportSettings,
    *,
    eager: MakeRunner | None,
    solver: Solver | None = None,
    provider: Provider = "cpu",
    threads: int | None = None,
    cuda: CudaOptions | None = None,
) -> list[Check]:
    """Checks of the network without its pre-processing, whose clamps hide what happens in the tails.

    The graphs are built as for export and run from memory.
    """
    chain = weights.without_preprocessing()
    _, parts = _build(chain, Provenance("chain"), settings, solver or choose_solver(weights, settings), None)
    flow = ExportedFlow(_in_memory(parts), provider=provider, threads=threads, cuda=cuda)
    return _check(flow, chain, eager, "chain without pre-processing")


def build_artifact(weights: LUNetWeights, provenance: Provenance, settings: ExportSettings) -> Artifact:
    """The artifact of an export, in memory, its graphs not yet checked.

    Raises:
        BadInputError: As `export` does for its settings.
    """
    solver = choose_solver(weights, settings)
    refuse_large(weights, solver, settings)
    return _in_memory(_build(weights, provenance, settings, solver, None)[1])


def _in_memory(parts: Parts) -> Artifact:
    graphs = {name: parts.content[f"{name}.onnx"] for name in parts.document["graphs"]}
    return Artifact(Manifest.from_json(sealed(parts.document)), graphs, parts.content[VECTORS])


def _estimates(weights: LUNetWeights, settings: ExportSettings) -> list[Estimate]:
    others = solvers.available(weights.dim)
    asked = [] if settings.solver == "auto" else [solvers.choose(settings.solver, settings.tile, weights.dim)]
    among = [*others, *(solver for solver in asked if solver not in others)]
    return estimates(weights, dtype=settings.tensors, products=settings.products, load=settings.load, among=among)


def choose_solver(weights: LUNetWeights, settings: ExportSettings, found: Sequence[Estimate] = ()) -> Solver:
    """The solver that the settings ask for; `auto` by the estimates found, or by its own.

    Raises:
        BadInputError: It does not fit the model.
    """
    if settings.solver != "auto":
        return solvers.choose(settings.solver, settings.tile, weights.dim)
    if settings.tile is not None:
        raise BadInputError("Expected no --tile with --solver auto, which chooses it. Leave it out.")
    return fastest(found or _estimates(weights, settings)).solver


def _check(flow: ExportedFlow, weights: LUNetWeights, eager: MakeRunner | None, group: str) -> list[Check]:
    beside = eager(weights) if eager else None
    checks = parity.run(flow, flow.vectors, eager=beside, group=group, predicted=flow.artifact.round_trip)
    return checks + parity.run_optional(flow, flow.vectors, group=group)


def _build(
    weights: LUNetWeights,
    provenance: Provenance,
    settings: ExportSettings,
    solver: Solver,
    examples: NDArray[np.floating] | None,
) -> tuple[dict[str, onnx.ModelProto], Parts]:
    """The graphs by name, and what they become."""
    dtype, products = settings.tensors, settings.products
    chain = chain_bounds(weights)
    bounds = data_bounds(weights, chain)

    def build(name: str) -> Any:  # noqa: ANN401
        metadata = metadata_of(weights, provenance, solver, settings, name, bounds)
        if name == "density":
            return density.build(weights, dtype=dtype, products=products, metadata=metadata)
        return sampling.build(
            weights,
            solver=solver,
            dtype=dtype,
            products=products,
            with_log_prob=name == "sampling_with_log_prob",
            draws_noise=name == "random_sampling",
            metadata=metadata,
        )

    models = {name: build(name) for name in settings.graphs}
    given = None if examples is None else examples.astype(np.float64)
    golden = vectors.build(weights, dtype=dtype, products=products, seed=_VECTOR_SEED, examples=given)
    content = {f"{name}.onnx": builder.serialize(model) for name, model in models.items()}
    content[VECTORS] = (json.dumps(golden.to_json(), allow_nan=False) + "\n").encode()
    certificate = Certificate.of(weights, chain, golden.density.x, dtype=dtype, products=products)
    document = document_of(weights, provenance, solver, settings, models, certificate)
    return models, Parts(document, content)


def refuse_large(weights: LUNetWeights, solver: Solver, settings: ExportSettings) -> None:
    """Raise where a graph would be larger than one file may be.

    Raises:
        BadInputError: It would.
    """
    itemsize = np.dtype(settings.products or settings.tensors).itemsize
    size = len(weights.blocks) * solvers.stored(solver, weights.dim) * itemsize  # of the larger of the two graphs
    if size > builder.LARGEST_BYTES:
        raise BadInputError(
            f"Expected graphs of at most 2 GB, the limit of one ONNX file; this one needs {size / 1e9:.1f} GB. "
            "Use --dtype float32, a smaller --tile or fewer blocks."
        )
