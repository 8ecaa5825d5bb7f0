"""`lunet-export check`."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import lunet_export
from lunet_cli import output
from lunet_cli.check_table import print_checks
from lunet_cli.models import eager_of, read_model
from lunet_cli.options import (
    Arena,
    ArenaName,
    DeviceId,
    Folder,
    Json,
    LatentStats,
    MemoryLimit,
    Preprocess,
    PreprocessName,
    Provider,
    ProviderName,
    Tf32,
    Threads,
    cuda_options,
)
from lunet_export import parity
from lunet_export.artifact import Manifest, read_manifest
from lunet_export.errors import ArtifactError, BadInputError, CheckFailedError, LunetExportError
from lunet_export.files import whole_file
from lunet_export.runtime.cuda import CudaOptions

if TYPE_CHECKING:
    from lunet_export.bench import Opening
    from lunet_export.checkpoint import Checkpoint
    from lunet_export.runtime import ExportedClasses, ExportedFlow


def check(
    folder: Folder,
    model: Annotated[
        Path | None,
        typer.Option(help="The source checkpoint: adds fresh inputs and eager PyTorch.", show_default=False),
    ] = None,
    provider: Provider = ProviderName.AUTO,
    threads: Threads = None,
    device_id: DeviceId = 0,
    memory_limit: MemoryLimit = None,
    arena: Arena = ArenaName.NEXT_POWER_OF_TWO,
    tf32: Tf32 = False,
    seed: Annotated[int, typer.Option(help="Of the fresh inputs.")] = 1,
    latent_stats: LatentStats = None,
    preprocess: Preprocess = PreprocessName.NONE,
    expect: Annotated[
        str | None,
        typer.Option(
            help="SHA-256 of the weights or of the manifest, as --json tells them: is it that export?",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Also write what was found, machine and all, as JSON for a bug report.", show_default=False),
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
    cuda = cuda_options(device_id, memory_limit, arena, tf32=tf32)
    document: dict[str, Any] = {"folder": str(folder), "provider": provider.value, "passed": False}
    with _reported(document, report, cuda):
        described = read_manifest(folder)
        document |= _identity(described)
        if expect is not None:
            _refuse_unexpected(folder, expect, document)
        checkpoint = None if model is None else read_model(model, latent_stats, preprocess)
        flow, opening = _opened(folder, provider, threads, cuda, document)
        checks = _checks(flow, checkpoint, model=model, seed=seed, threads=threads)
        if opening is not None and flow.provider == "cuda":
            from lunet_export.bench import selftest

            with output.stages() as stage:
                found = selftest.run(flow, threads=threads, on_stage=stage)
            checks, document["gpu"] = checks + found.checks, found.as_json() | {"opening": asdict(opening)}
        document |= {"passed": parity.all_passed(checks), "checks": [parity.as_json(entry) for entry in checks]}
    if as_json:
        output.dump(document)
    else:
        print_checks(checks)
        if "gpu" in document:
            _say_gpu(document["gpu"])
        where = f"provider {flow.provider} ({flow.provider_reason})"
        output.say(f"{sum(entry.passed for entry in checks)} of {len(checks)} checks passed, {where}")
        if flow.manifest.preprocessing and model is None:
            output.say("The chain without its pre-processing was checked at export; --model checks it again.")
    if not document["passed"]:
        failed = [entry.name for entry in checks if not entry.passed]
        raise CheckFailedError(
            f"Expected all differences within tolerance; {len(failed)} of {len(checks)} are not: {', '.join(failed)}. "
            + (_ON_GPU if "gpu" in document else "Do not use this export; export again, or --dtype float64.")
        )


_ON_GPU = "Do not use this export on this GPU; lunet-export check --report FILE writes what to attach to a bug report."


def _identity(manifest: Manifest) -> dict[str, Any]:
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


def _another_model(manifest: Manifest, model: Path | None) -> BadInputError:
    return BadInputError(f"Expected the model that {manifest.name} was exported from; {model} is another one.")


def _opened(
    folder: Path, provider: ProviderName, threads: int | None, cuda: CudaOptions, document: dict[str, Any]
) -> "tuple[Any, Opening | None]":
    """The flow of a folder and how long it took to open; of a mixture, which has no test of the GPU, no time."""
    from lunet_export.bench import open_timed
    from lunet_export.runtime import ExportedClasses

    flow: ExportedFlow | ExportedClasses
    opening = None
    if read_manifest(folder).names:
        flow = ExportedClasses(folder, provider=provider.value, threads=threads, cuda=cuda)
    else:
        flow, opening = open_timed(folder, provider=provider.value, threads=threads, cuda=cuda)
    document |= {"provider": flow.provider, "provider_reason": flow.provider_reason}
    return flow, opening


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


def _checks(
    flow: "ExportedFlow | ExportedClasses",
    checkpoint: "Checkpoint | None",
    *,
    model: Path | None,
    seed: int,
    threads: int | None,
) -> list[parity.Check]:
    """On the test vectors; with the model on fresh ones too, and the chains without pre-processing."""
    known, predicted = flow.vectors, None if flow.tf32 else flow.artifact.round_trip  # which does not speak of TF32
    if checkpoint is None:
        checks = parity.run(flow, known, predicted=predicted) + parity.run_optional(flow, known)
        return parity.with_recorded_eager(checks, flow.manifest.document.get("checks", []))
    from lunet_export.checks import vectors
    from lunet_export.export import check_chains, rebuilt

    blueprint = rebuilt(checkpoint.model, flow.manifest)
    if blueprint is None:
        raise _another_model(flow.manifest, model)
    settings, eager = blueprint.settings, eager_of(blueprint.settings.tensors)
    fresh = vectors.build(blueprint.weights, dtype=settings.tensors, products=settings.products, seed=seed)
    if flow.tf32:
        fresh = fresh.under_tf32(flow.manifest.products)
    beside = eager(blueprint.weights)
    checks = parity.run(flow, known, eager=beside, predicted=predicted) + parity.run_optional(flow, known)
    predicted = None if flow.tf32 else blueprint.round_trip(fresh.density.x)
    checks += parity.run(flow, fresh, eager=beside, group="fresh", predicted=predicted)
    checks += parity.run_optional(flow, fresh, group="fresh")
    return checks + check_chains(blueprint, eager=eager, provider=flow.provider, threads=threads, cuda=flow.cuda)
