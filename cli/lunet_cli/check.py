"""`lunet-export check`."""

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
from lunet_export.artifact import OPTIONAL_GRAPHS
from lunet_export.errors import BadInputError, CheckFailedError
from lunet_export.files import whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lunet_export.runtime import ExportedFlow
    from lunet_export.weights import LUNetWeights


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
    report: Annotated[
        Path | None,
        typer.Option(help="Also write what was found, machine and all, as JSON for a bug report.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a folder against its float64 test vectors; exit 1 when an answer is wrong.

    On CUDA also against the CPU, replays of CUDA graphs against plain runs, rows that stay on the device, placement,
    TF32 and latency: the self-test of your GPU.

    Example: lunet-export check exported/digits --model digits.pt
    Example: lunet-export check exported/digits --provider cuda --report gpu.json
    """
    from lunet_export.bench import open_timed

    cuda = cuda_options(device_id, memory_limit, arena, tf32=tf32)
    flow, opening = open_timed(folder, provider=provider.value, threads=threads, cuda=cuda)
    if model is None:
        recorded = flow.manifest.document.get("checks", [])
        checks = parity.run(flow, flow.vectors) + parity.run_optional(flow, flow.vectors)
        checks = parity.with_recorded_eager(checks, recorded)
    else:
        weights = read_model(model, latent_stats, preprocess).weights
        checks = _with_model(flow, weights, model=model, seed=seed)
    on_gpu: dict[str, Any] = {}
    if flow.provider == "cuda":
        from lunet_export.bench import selftest

        with output.stages() as stage:
            found = selftest.run(flow, threads=threads, on_stage=stage)
        checks, on_gpu = checks + found.checks, found.as_json() | {"opening": asdict(opening)}
    passed = parity.all_passed(checks)
    document = {
        "folder": str(folder),
        "provider": flow.provider,
        "provider_reason": flow.provider_reason,
        "passed": passed,
        "checks": [parity.as_json(entry) for entry in checks],
        **({"gpu": on_gpu} if on_gpu else {}),
    }
    if report is not None:
        _write_report(report, flow, document)
    if as_json:
        output.dump(document)
    else:
        print_checks(checks)
        if on_gpu:
            _say_gpu(on_gpu)
        where = f"provider {flow.provider} ({flow.provider_reason})"
        output.say(f"{sum(entry.passed for entry in checks)} of {len(checks)} checks passed, {where}")
        if flow.manifest.preprocessing and model is None:
            output.say("The chain without its pre-processing was checked at export; --model checks it again.")
    if not passed:
        failed = [entry.name for entry in checks if not entry.passed]
        raise CheckFailedError(
            f"Expected all differences within tolerance; {len(failed)} of {len(checks)} are not: {', '.join(failed)}. "
            + (_ON_GPU if on_gpu else "Do not use this export; export again, or --dtype float64.")
        )


_ON_GPU = "Do not use this export on this GPU; lunet-export check --report FILE writes what to attach to a bug report."


def _write_report(path: Path, flow: "ExportedFlow", document: dict[str, Any]) -> None:
    """Everything that a maintainer would ask for, in one file."""
    from lunet_export.runtime import doctor

    kept = {key: value for key, value in flow.manifest.document.items() if key != "checks"}
    whole = {"lunet_export": lunet_export.__version__, "machine": doctor.examine(flow.cuda).as_json(), **document}
    with whole_file(path) as temporary:
        temporary.write_text(output.json_text(whole | {"manifest": kept}), encoding="utf-8")


def _say_gpu(gpu: dict[str, Any]) -> None:
    for graph, nodes in gpu["placement"].items():
        output.say(f"{graph}: " + ", ".join(f"{count} nodes on {name}" for name, count in nodes.items()))
    opening = gpu["opening"]
    output.say(
        f"TF32 {gpu['tf32']}; sessions opened and run once in {opening['sessions']:.2f} s, the next row sampled in "
        f"{opening['first_run'] * 1e3:.2f} ms"
    )
    ways = list(gpu["latency"][0]["ways"])
    rows = [
        (f"{row['direction']}, batch {row['batch']}", *(f"{row['ways'][way]:.3f}" for way in ways))
        for row in gpu["latency"]
    ]
    output.table(("milliseconds a call, median", *ways), rows)


def _with_model(flow: "ExportedFlow", weights: "LUNetWeights", *, model: Path, seed: int) -> list[parity.Check]:
    from lunet_export import vectors
    from lunet_export.export import ExportSettings, check_chain

    document = flow.manifest.document
    if weights.digest() != document["model"].get("sha256_weights"):
        raise BadInputError(f"Expected the model that {flow.manifest.name} was exported from; {model} is another one.")
    products = document.get("products", flow.manifest.dtype)
    solver = document["graphs"]["sampling"]["solver"]
    with_log_prob, rng = (name in flow.artifact.graphs for name in OPTIONAL_GRAPHS)
    settings = ExportSettings(solver["name"], _tile(solver), products, with_log_prob, rng)
    eager = eager_of(settings.tensors)
    fresh = vectors.build(weights, dtype=settings.tensors, products=settings.products, seed=seed)
    if flow.tf32:
        fresh = fresh.under_tf32(products)
    checks = parity.run(flow, flow.vectors, eager=eager(weights))
    checks += parity.run_optional(flow, flow.vectors)
    checks += parity.run(flow, fresh, eager=eager(weights), group="fresh")
    checks += parity.run_optional(flow, fresh, group="fresh")
    if weights.preprocessing:
        checks += check_chain(weights, settings, eager=eager, provider=flow.provider, cuda=flow.cuda)
    return checks


def _tile(solver: "Mapping[str, Any]") -> int | None:
    """The tile to ask for again; that of `rows` is not a choice."""
    return None if solver["name"] == "rows" else solver["tile"]
