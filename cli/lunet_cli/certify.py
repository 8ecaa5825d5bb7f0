"""`lunet-export certify`."""

from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from lunet_cli import output
from lunet_cli.models import contexts_for, read_model, rows_for, source_of
from lunet_cli.options import AuthorsOptions, Json, ModelOrFolder, RowsOptions
from lunet_export.errors import CheckFailedError

if TYPE_CHECKING:
    from lunet_export.certificate import Bounds
    from lunet_export.diagnostics import Certified
    from lunet_export.diagnostics.certify import Local


def certify(
    source: ModelOrFolder,
    dataset: Annotated[
        str | None, Argument(metavar="[DATA]", help="A data set, as for `diagnose`. Default: samples.")
    ] = None,
    *,
    rows: Annotated[int, Option(min=1, help="Number of rows to evaluate: the first test rows, or samples.")] = 32,
    data: RowsOptions,
    authors: AuthorsOptions,
    as_json: Json = False,
) -> None:
    """Bound how much a model stretches; predict the float32 error.

    The bounds are certified: they hold for any two rows, and the exit code is 1 if rows violate one. Local figures are
    those at the given rows. For a folder, the certificate that export wrote is compared with the answers of its graphs.
    Bounds of a conditional flow are for rows of one context, any of those that are given; its folder holds none.

    Example: lunet-export certify runs/digits digits
    """
    from lunet_export import diagnostics

    if source.is_dir():
        authors.validate_without_folder(source)
        from lunet_export.runtime import ExportedFlow

        flow = ExportedFlow(source, provider="cpu")
        given = rows_for(diagnostics.FolderSource(flow), dataset, data) if dataset else None
        contexts = None if dataset else contexts_for(flow.context, data.context, rows)
        found = diagnostics.certify_folder(flow, given, rows=rows, seed=data.seed, context=contexts)
    else:
        read = read_model(source, authors)
        weights = read.weights
        given = rows_for(source_of(read), dataset, data) if dataset else None
        contexts = None if dataset else contexts_for(weights.context, data.context, rows)
        with output.counting(rows, "certifying") as on_rows:
            found = diagnostics.certify_model(
                weights, given, rows=rows, seed=data.seed, context=contexts, on_rows=on_rows
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
    output.table(["|f(x) - f(y)| / |x - y| and log|det|, nats", "least", "largest", "least", "largest"], _bounds(found))
    if found.local:
        output.table(
            [f"{found.local.rows} {found.local_of}", "smallest", "median", "largest"], _spreads(found, found.local)
        )
    output.pairs(_facts(found))
    for sentence in found.violations:
        output.say(f"VIOLATED {sentence}")
    if not found.violations and found.network:
        output.say("all pairs and rows within the certified bounds")


def _bounds(found: "Certified") -> list[tuple[str, ...]]:
    """Return the certified bounds, each above the values seen on rows."""
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
    return table


def _spreads(found: "Certified", local: "Local") -> list[tuple[str, ...]]:
    """Return the spread of the local figures over the rows."""
    shown = {
        "stretch s_max(J), data": local.stretch,
        "squeeze s_min(J), data": local.squeeze,
        "stretch, network": local.network_stretch,
        "squeeze, network": local.network_squeeze,
        f"{found.dtype} round trip, predicted": local.round_trip,
        f"{found.dtype} round trip, measured": local.measured,
    }
    return [
        (name, *(f"{value:.4g}" for value in (spread.smallest, spread.median, spread.largest)))
        for name, spread in shown.items()
        if spread and not (found.data == found.network and "network" in name)
    ]


def _facts(found: "Certified") -> list[tuple[str, str]]:
    local, spread = found.local, found.round_trip
    facts = [("rows", f"{found.rows} {found.rows_of}, seed {found.seed}")]
    if found.contexts is not None:
        facts.append(("contexts", f"{found.contexts}; the bounds are for two rows of one of them"))
    if local and local.share is not None:
        facts.append(("measured / predicted", f"at most {local.share:.2g}"))
    if local and not local.converged:
        facts.append(("Lanczos", "not converged on every row: stretch is too small and squeeze too large there"))
    if spread:
        text = f"median {spread.median:.4g}, largest {spread.largest:.4g}, measured"
        facts.append((f"{found.dtype} round trip", text))
    return facts + [(name, f"not available: {why}") for name, why in found.not_available.items()]


def _written(bounds: "Bounds") -> tuple[str, ...]:
    from lunet_export.certificate import outwards

    ends = [(1 / bounds.lip_inverse, False), (bounds.lip_forward, True)]
    ends += [(bounds.log_det_min, False), (bounds.log_det_max, True)]
    return tuple(f"{outwards(value, upper=upper):.6g}" for value, upper in ends)
