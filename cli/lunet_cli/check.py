"""`lunet-export check`."""

import contextlib
import re
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

import lunet_export
from lunet_cli import output
from lunet_cli.check_table import print_checks
from lunet_cli.models import another_model, as_exported, eager_classes, eager_of, read_either, where, where_in_words
from lunet_cli.options import AuthorsOptions, Folder, Json, RunOptions
from lunet_export import parity
from lunet_export.artifact import ClassManifest, Description, read_manifest, sampling_of
from lunet_export.errors import ArtifactError, BadInputError, CheckFailedError, LunetExportError
from lunet_export.files import whole_file
from lunet_export.runtime.cuda import CudaOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from lunet_export.checkpoint import Checkpoint
    from lunet_export.checkpoint.class_checkpoint import ClassCheckpoint
    from lunet_export.export import ExportSettings
    from lunet_export.runtime import ExportedClasses, ExportedFlow


def check(
    folder: Folder,
    *,
    model: Annotated[Path | None, Option(help="The source checkpoint: adds fresh inputs and eager PyTorch.")] = None,
    run: RunOptions,
    seed: Annotated[int, Option(help="Of the fresh inputs.")] = 1,
    authors: AuthorsOptions,
    expect: Annotated[
        str | None, Option(help="SHA-256 of the weights or of the manifest, as --json tells them: is it that export?")
    ] = None,
    report: Annotated[
        Path | None, Option(help="Also write what was found, machine and all, as JSON for a bug report.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a folder against its float64 test vectors.

    Exit code 1 when an answer is wrong.

    On CUDA also against the CPU, replays of CUDA graphs against plain runs, rows that stay on the device, placement,
    TF32 and latency: the self-test of your GPU. Folders with a network a class have the test vectors alone.

    Example: lunet-export check exported/digits --model digits.pt
    Example: lunet-export check exported/digits --provider cuda --report gpu.json
    """
    output.refuse_unwritable("--report", report)
    document: dict[str, Any] = {"folder": str(folder), "provider": run.provider.value, "passed": False}
    with _reported(document, report, run.cuda):
        described = read_manifest(folder)
        document |= _identity(described)
        if expect is not None:
            _refuse_unexpected(folder, expect, document)
        source = None if model is None else _Source(model, read_either(model, authors), seed)
        check_all = _check_classes if isinstance(described, ClassManifest) else _check_flow
        flow, checks = check_all(folder, run, source, document)
        document |= {"passed": parity.all_passed(checks), "checks": [parity.as_json(entry) for entry in checks]}
    if as_json:
        output.dump(document)
    else:
        _say(flow, checks, document, alone=model is None)
    if not document["passed"]:
        raise _failed(checks, on_gpu="gpu" in document)


@dataclass(frozen=True)
class _Source:
    """The model that an export is said to be of, and the seed of fresh inputs for it."""

    path: Path
    checkpoint: "Checkpoint | ClassCheckpoint"
    seed: int


def _check_classes(
    folder: Path, run: RunOptions, source: _Source | None, document: dict[str, Any]
) -> "tuple[ExportedClasses, list[parity.Check]]":
    from lunet_export.runtime import ExportedClasses

    flow = ExportedClasses(folder, **run.settings)
    document |= where(flow)
    return flow, _checks_of_classes(flow, source, threads=run.threads)


def _check_flow(
    folder: Path, run: RunOptions, source: _Source | None, document: dict[str, Any]
) -> "tuple[ExportedFlow, list[parity.Check]]":
    from lunet_export.bench import open_timed

    flow, opening = open_timed(folder, **run.settings)
    document |= where(flow)
    checks = _checks(flow, source, threads=run.threads)
    if flow.provider == "cuda":
        from lunet_export.bench import selftest

        with output.stages() as stage:
            found = selftest.run(flow, threads=run.threads, on_stage=stage)
        checks, document["gpu"] = checks + found.checks, found.as_json() | {"opening": asdict(opening)}
    return flow, checks


def _say(
    flow: "ExportedFlow | ExportedClasses", checks: list[parity.Check], document: dict[str, Any], *, alone: bool
) -> None:
    print_checks(checks)
    if "gpu" in document:
        _say_gpu(document["gpu"])
    output.say(f"{sum(entry.passed for entry in checks)} of {len(checks)} checks passed, {where_in_words(flow)}")
    if flow.manifest.preprocessing and alone:
        output.say("The chain without its pre-processing was checked at export; --model checks it again.")


def _failed(checks: list[parity.Check], *, on_gpu: bool) -> CheckFailedError:
    failed = [entry.name for entry in checks if not entry.passed]
    return CheckFailedError(
        f"Expected all differences within tolerance; {len(failed)} of {len(checks)} are not: {', '.join(failed)}. "
        + (_ON_GPU if on_gpu else "Do not use this export; export again, or --dtype float64.")
    )


_ON_GPU = "Do not use this export on this GPU; lunet-export check --report FILE writes what to attach to a bug report."


def _identity(manifest: Description) -> dict[str, Any]:
    """Which export it is, of which model, and with what it was made."""
    document = manifest.document
    return {
        "name": manifest.name,
        "sha256_weights": document["model"].get("sha256_weights"),
        "sha256_manifest": document["sha256_manifest"],
        "versions": document.get("versions", {}),
    }


def _refuse_unexpected(folder: Path, expect: str, identity: dict[str, Any]) -> None:
    if re.fullmatch("[0-9a-fA-F]{64}", expect) is None:
        raise BadInputError(f"Expected --expect SHA256 of 64 hexadecimal digits; got {expect}.")
    weights, manifest = identity["sha256_weights"], identity["sha256_manifest"]
    if expect.lower() not in (weights, manifest):
        raise ArtifactError(
            f"Expected an export with SHA-256 {expect} in {folder}; it holds {identity['name']} with {weights} of its "
            f"weights and {manifest} of its manifest. Give the folder that was meant."
        )


def _checks_of_classes(flow: "ExportedClasses", source: _Source | None, *, threads: int | None) -> list[parity.Check]:
    """On the test vectors; with the model on fresh ones too, and every class's chain without pre-processing."""
    manifest = flow.manifest
    if source is None:
        checks = parity.run_classes(flow, flow.vectors, flow.names)
        return parity.with_recorded_eager(checks, manifest.document["checks"])
    from lunet_export.checkpoint.class_checkpoint import ClassCheckpoint
    from lunet_export.checks import class_vectors
    from lunet_export.export import blueprints_of, check_class_chains

    checkpoint = source.checkpoint
    mixture = checkpoint.mixture if isinstance(checkpoint, ClassCheckpoint) else None
    if mixture is None or mixture.digest() != manifest.document["model"].get("sha256_weights"):
        raise another_model(manifest, source.path)
    eager = eager_classes(manifest.dtype)
    fresh = class_vectors.build(mixture, dtype=manifest.dtype, seed=source.seed)
    beside = eager.mixture(mixture)
    checks = parity.run_classes(flow, flow.vectors, flow.names, eager=beside)
    checks += parity.run_classes(
        flow, fresh.under_tf32() if flow.tf32 else fresh, flow.names, eager=beside, group="fresh"
    )
    graphs = [manifest.document["graphs"][sampling_of(number)] for number in range(len(flow.names))]
    blueprints = blueprints_of(mixture, [_settings(graph, manifest.dtype) for graph in graphs])
    return checks + check_class_chains(
        flow.names, blueprints, eager=eager.network, provider=flow.provider, threads=threads, cuda=flow.cuda
    )


@contextlib.contextmanager
def _reported(document: dict[str, Any], path: Path | None, cuda: CudaOptions) -> Iterator[None]:
    """Write everything that a maintainer would ask for into one file, also where the check cannot go on."""
    try:
        yield
    except LunetExportError as error:
        _write_report(document | {"error": str(error)}, path, cuda)
        raise
    _write_report(document, path, cuda)


def _write_report(document: dict[str, Any], path: Path | None, cuda: CudaOptions) -> None:
    if path is None:
        return
    from lunet_export.runtime import doctor

    machine = doctor.examine(cuda).as_json()
    whole = {"lunet_export": lunet_export.__version__, **document, "machine": machine}
    with contextlib.suppress(LunetExportError):  # what is wrong with the folder is said by the error
        manifest = read_manifest(Path(document["folder"])).document
        whole["manifest"] = {key: value for key, value in manifest.items() if key != "checks"}
    with whole_file(path) as temporary:
        temporary.write_text(output.json_text(whole), encoding="utf-8")


def _say_gpu(gpu: dict[str, Any]) -> None:
    for graph, nodes in gpu["placement"].items():
        output.say(f"{graph}: " + ", ".join(f"{count} nodes on {name}" for name, count in nodes.items()))
    opening = gpu["opening"]
    output.say(
        f"TF32 {gpu['tf32']}, products {gpu['products']}; sessions opened and run once in {opening['sessions']:.2f} s, "
        f"the next row sampled in {opening['first_run'] * 1e3:.2f} ms"
    )
    ways = list(gpu["latency"][0]["ways"])
    rows = [
        (f"{row['direction']}, batch {row['batch']}", *(f"{row['ways'][way]:.3f}" for way in ways))
        for row in gpu["latency"]
    ]
    output.table(("milliseconds a call, median", *ways), rows)


def _checks(flow: "ExportedFlow", source: _Source | None, *, threads: int | None) -> list[parity.Check]:
    """On the test vectors; with the model on fresh ones too, and the chain without pre-processing."""
    if source is None:
        checks = parity.run(flow, flow.vectors, predicted=_predicted(flow)) + parity.run_optional(flow, flow.vectors)
        return parity.with_recorded_eager(checks, flow.manifest.document.get("checks", []))
    from lunet_export.checkpoint import Checkpoint
    from lunet_export.checks import vectors
    from lunet_export.export import check_chain
    from lunet_export.graphs.blueprint import blueprint_of

    document = flow.manifest.document
    read = source.checkpoint
    weights = as_exported(read.weights, flow.manifest) if isinstance(read, Checkpoint) else None
    if weights is None:
        raise another_model(flow.manifest, source.path)
    products = document.get("products", flow.manifest.dtype)
    settings = _settings(document["graphs"]["sampling"], products, flow.artifact.graphs)
    blueprint = blueprint_of(weights, settings)
    eager = eager_of(settings.tensors)
    fresh = vectors.build(weights, dtype=settings.tensors, products=settings.products, seed=source.seed)
    if flow.tf32:
        fresh = fresh.under_tf32(products)
    checks = parity.run(flow, flow.vectors, eager=eager(weights), predicted=_predicted(flow))
    checks += parity.run_optional(flow, flow.vectors)
    predicted = None if flow.tf32 else blueprint.round_trip(fresh.density.x)
    checks += parity.run(flow, fresh, eager=eager(weights), group="fresh", predicted=predicted)
    checks += parity.run_optional(flow, fresh, group="fresh")
    if weights.preprocessing:
        checks += check_chain(blueprint, eager=eager, provider=flow.provider, threads=threads, cuda=flow.cuda)
    return checks


def _predicted(flow: "ExportedFlow") -> "NDArray[np.float64] | None":
    """What the certificate says about x -> z -> x; it does not speak of TF32."""
    return None if flow.tf32 else flow.artifact.round_trip


def _settings(sampling: "Mapping[str, Any]", dtype: str, graphs: Collection[str] = ()) -> "ExportSettings":
    """What a sampling graph of the manifest was exported with; the tile of `rows` was not a choice."""
    from lunet_export.export import ExportSettings

    optional: dict[str, Any] = {
        "with_log_prob": "sampling_with_log_prob" in graphs,
        "rng": "random_sampling" in graphs,
        "hutchinson": "density_estimate" in graphs,
    }
    if "solver" not in sampling:
        return ExportSettings(dtype=dtype, **optional)
    solver = sampling["solver"]
    tile = None if solver["name"] == "rows" else solver["tile"]
    return ExportSettings(solver["name"], tile, dtype, **optional)
