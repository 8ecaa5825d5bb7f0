"""`lunet-export certify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli import output
from lunet_cli.models import read_model, tell_misfit
from lunet_cli.options import DataDir, Json, LatentStats, Levels, Preprocess, PreprocessName, Seed
from lunet_export.errors import BadInputError, CheckFailedError

if TYPE_CHECKING:
    from lunet_export.certificate import Bounds
    from lunet_export.diagnostics import Certified


def certify(
    source: Annotated[Path, typer.Argument(help="A model file, or an exported folder.", show_default=False)],
    dataset: Annotated[
        str | None,
        typer.Argument(metavar="[DATA]", help="As `diagnose` takes it. Default: samples.", show_default=False),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows to look at: the first test rows, or samples.")] = 32,
    data_dir: DataDir = Path("data"),
    levels: Levels = None,
    seed: Seed = 0,
    latent_stats: LatentStats = None,
    preprocess: Preprocess = PreprocessName.NONE,
    as_json: Json = False,
) -> None:
    """Bound how far a model stretches; predict what float32 loses.

    Bounds are certified: they hold for any two rows, and one that rows break is exit 1. Local figures are those of the
    rows. Of a folder, the certificate that export wrote is compared with what its graphs do.

    Example: lunet-export certify exported/digits digits
    """
    from lunet_export import diagnostics
    from lunet_export.families.lunet.weights import only_lunet

    if source.is_dir():
        if latent_stats is not None or preprocess is not PreprocessName.NONE:
            raise BadInputError(
                f"Expected neither --latent-stats nor --preprocess with a folder; {source} has its own."
            )
        from lunet_export.runtime import ExportedFlow

        flow = ExportedFlow(source, provider="cpu")
        p = flow.manifest.preprocessing
        data = diagnostics.load(dataset, p, data_dir=data_dir, levels=levels) if dataset else None
        if data:
            tell_misfit(diagnostics.FolderSource(flow), data, seed=seed)
        found = diagnostics.certify_folder(flow, data, rows=rows, seed=seed)
    else:
        weights = only_lunet(read_model(source, latent_stats, preprocess).weights, "certify")
        p = weights.preprocessing
        data = diagnostics.load(dataset, p, data_dir=data_dir, levels=levels) if dataset else None
        if data:
            tell_misfit(diagnostics.WeightsSource(weights), data, seed=seed)
        with output.progress(rows, "certifying") as bar:
            found = diagnostics.certify_model(
                weights, data, rows=rows, seed=seed, on_rows=lambda n: bar.advance(bar.task_ids[0], n)
            )
    if as_json:
        output.dump({"source": str(source), **found.as_json()})
    else:
        _say(found)
    if found.violations:
        raise CheckFailedError(
            f"Expected all rows within the certified bounds; {'; '.join(found.violations)}. "
            "Do not use this model; report it."
        )


def _say(found: "Certified") -> None:
    maps = [("data", found.data, found.observed_data), ("network", found.network, found.observed_network)]
    if found.data == found.network:
        maps = maps[:1]
    table = []
    for name, bounds, seen in maps:
        certified = ("-",) * 4 if bounds is None else _written(bounds)
        ends = (f"{seen.least_log_det:.4f}", f"{seen.largest_log_det:.4f}")
        table.append((f"certified, {name}", *certified))
        ratios = (f"{seen.least_ratio:.4g}", f"{seen.largest_ratio:.4g}") if seen.pairs else ("-", "-")
        table.append((f"seen on {seen.pairs} pairs", *ratios, *ends))
    output.table(["|f(x) - f(y)| / |x - y| and log|det|, nats", "least", "largest", "least", "largest"], table)
    local = found.local
    if local:
        shown = {
            "stretch s_max(J), data": local.stretch,
            "squeeze s_min(J), data": local.squeeze,
            "stretch, network": local.network_stretch,
            "squeeze, network": local.network_squeeze,
            f"{found.dtype} round trip, predicted": local.round_trip,
            f"{found.dtype} round trip, measured": local.measured,
        }
        if found.data == found.network:
            shown = {name: value for name, value in shown.items() if "network" not in name}
        output.table(
            [f"{local.rows} {found.local_of}", "smallest", "median", "largest"],
            [
                (name, *(f"{value:.4g}" for value in (spread.smallest, spread.median, spread.largest)))
                for name, spread in shown.items()
                if spread
            ],
        )
    facts = [("rows", f"{found.rows} {found.rows_of}, seed {found.seed}")]
    if local and local.share is not None:
        facts.append(("measured / predicted", f"at most {local.share:.2g}"))
    if local and not local.converged:
        facts.append(("Lanczos", "not at rest on every row: stretch is too small and squeeze too large there"))
    if found.round_trip:
        spread = found.round_trip
        facts.append(
            (f"{found.dtype} round trip", f"median {spread.median:.4g}, largest {spread.largest:.4g}, measured")
        )
    facts += [(name, f"not available: {why}") for name, why in found.not_available.items()]
    output.pairs(facts)
    for sentence in found.violations:
        output.say(f"VIOLATED {sentence}")
    if not found.violations and found.network:
        output.say("all pairs and rows within the certified bounds")


def _written(bounds: "Bounds") -> tuple[str, ...]:
    from lunet_export.certificate import outwards

    ends = [(1 / bounds.lip_inverse, False), (bounds.lip_forward, True)]
    ends += [(bounds.log_det_min, False), (bounds.log_det_max, True)]
    return tuple(f"{outwards(value, upper=upper):.6g}" for value, upper in ends)
