"""`lunet-export check`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lunet_cli import output
from lunet_cli.check_table import print_checks
from lunet_cli.models import eager_of, read_model
from lunet_cli.options import (
    Folder,
    Json,
    LatentStats,
    Preprocess,
    PreprocessName,
    Provider,
    ProviderName,
    Threads,
)
from lunet_export import parity
from lunet_export.artifact import OPTIONAL_GRAPHS
from lunet_export.errors import BadInputError, CheckFailedError

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
    seed: Annotated[int, typer.Option(help="Of the fresh inputs.")] = 1,
    latent_stats: LatentStats = None,
    preprocess: Preprocess = PreprocessName.NONE,
    as_json: Json = False,
) -> None:
    """Check a folder against its float64 test vectors; exit 1 when an answer is wrong.

    Example: lunet-export check exported/digits --model digits.pt
    """
    from lunet_export.runtime import ExportedFlow

    flow = ExportedFlow(folder, provider=provider.value, threads=threads)
    if model is None:
        recorded = flow.manifest.document.get("checks", [])
        checks = parity.run(flow, flow.artifact.vectors) + parity.run_optional(flow, flow.artifact.vectors)
        checks = parity.with_recorded_eager(checks, recorded)
    else:
        weights = read_model(model, latent_stats, preprocess).weights
        checks = _with_model(flow, weights, model=model, seed=seed)
    passed = parity.all_passed(checks)
    where = f"provider {flow.provider} ({flow.provider_reason})"
    if as_json:
        document = [parity.as_json(entry) for entry in checks]
        output.dump({"folder": str(folder), "provider": flow.provider, "passed": passed, "checks": document})
    else:
        print_checks(checks)
        output.say(f"{sum(entry.passed for entry in checks)} of {len(checks)} checks passed, {where}")
        if flow.manifest.preprocessing and model is None:
            output.say("The chain without its pre-processing was checked at export; --model checks it again.")
    if not passed:
        failed = [entry.name for entry in checks if not entry.passed]
        raise CheckFailedError(
            f"Expected all differences within tolerance; {len(failed)} of {len(checks)} are not: {', '.join(failed)}. "
            "Do not use this export; export again, or --dtype float64."
        )


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
    checks = parity.run(flow, flow.artifact.vectors, eager=eager(weights))
    checks += parity.run_optional(flow, flow.artifact.vectors)
    checks += parity.run(flow, fresh, eager=eager(weights), group="fresh")
    checks += parity.run_optional(flow, fresh, group="fresh")
    if weights.preprocessing:
        checks += check_chain(weights, settings, eager=eager, provider=flow.provider)
    return checks


def _tile(solver: "Mapping[str, Any]") -> int | None:
    """The tile to ask for again; that of `rows` is not a choice."""
    return None if solver["name"] == "rows" else solver["tile"]
