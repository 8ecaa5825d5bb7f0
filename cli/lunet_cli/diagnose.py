"""`lunet-export diagnose`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from lunet_cli import against as others
from lunet_cli import output
from lunet_cli.models import given_rows, open_source, tell_misfit
from lunet_cli.options import (
    IN_PAPER_CONVENTION,
    AuthorsOptions,
    DataSet,
    Json,
    ModelOrFolder,
    PaperConvention,
    RowsOptions,
)
from lunet_export.files import whole_file

if TYPE_CHECKING:
    from lunet_export.diagnostics import Report


def diagnose(
    source: ModelOrFolder,
    dataset: DataSet,
    *,
    data: RowsOptions,
    against: others.Against = None,
    plot: Annotated[Path | None, Option(help="Also draw NLL over the number of PPCA directions, as PNG.")] = None,
    paper_convention: PaperConvention = False,
    authors: AuthorsOptions,
    as_json: Json = False,
) -> None:
    """Compare a model with the Gaussian and PPCA; name its faults.

    The test NLL is also compared with the entropy of the data, and the latents with N(0, I). Of a conditional flow, the
    Gaussian is the linear one, whose mean is an affine map of the context.

    A model file is evaluated by the float64 reference; a folder by its density graph.

    Example: lunet-export diagnose runs/digits digits
    """
    from lunet_export import diagnostics

    output.validate_picture_path("--plot", plot)
    opened = open_source(source, authors)
    rows = given_rows(opened, dataset, data)
    other = others.other_rows(against, opened, lambda name: given_rows(opened, name, data), opened.context)
    tell_misfit(opened, rows, seed=data.seed)
    total = len(rows.train) + len(rows.test) + (len(other.test) if other else 0)
    with output.counting(total, f"diagnosing on {rows.name}") as on_rows:
        report = diagnostics.diagnose(opened, rows, seed=data.seed, against=other, on_rows=on_rows)
    if plot is not None:
        from lunet_cli.ppca_plot import draw

        with whole_file(plot) as temporary:
            draw(report, temporary, title=f"{source.name} on {report.dataset}")
    if as_json:
        output.dump({"source": str(source), **report.as_json()})
    else:
        _say(report, paper_convention=paper_convention)


_UNITS = ("nats", "nats_per_dim", "bits_per_dim")
_SPLITS = ("train", "test")


def _say(report: "Report", *, paper_convention: bool) -> None:
    columns = [f"{unit}, {split}" for split in _SPLITS for unit in ("nats", "nats/dim", "bits/dim")]
    output.table([f"mean NLL of {report.dataset}", *columns], _likelihoods(report))
    facts = _facts_of_data(report) + _facts_of_latents(report)
    if paper_convention:
        found = report.paper_convention
        figures = f"train {found.train:.4f}, test {found.test:.4f} bits/dim"
        facts.insert(0, (f"model {IN_PAPER_CONVENTION}", figures))
    if report.detection:
        facts.append(others.line(report.detection))
    output.pairs(facts + [(name, f"not available: {why}") for name, why in report.not_available.items()])
    for flag in report.flags:
        output.say(f"{flag.name}: {flag.sentence}")
    if not report.flags:
        output.say("no flags")


def _likelihoods(report: "Report") -> list[tuple[str, ...]]:
    """Return a line of the table for the model and for each Gaussian that it is compared with."""
    from lunet_export.diagnostics import Figure

    def line(name: str, nats: tuple[float, float]) -> tuple[str, ...]:
        figures = [Figure.of(value, report.dim) for value in nats]
        return (name, *(f"{getattr(figure, unit):.4f}" for figure in figures for unit in _UNITS))

    model, gaussian = report.model, report.gaussian
    baseline = "Gaussian" if report.dependence is None else "linear Gaussian"
    gains = gaussian.train.nats - model.train.nats, gaussian.test.nats - model.test.nats
    table = [
        line("model", (model.train.nats, model.test.nats)),
        line(baseline, (gaussian.train.nats, gaussian.test.nats)),
        line(f"gain over the {baseline}", gains),
    ]
    for q in report.shown_q()[:-1]:
        best = ", best on the test rows" if q == report.best_q else ""
        table.append(line(f"PPCA, q = {q}{best}", (float(report.ppca_train[q]), float(report.ppca_test[q]))))
    return table


def _facts_of_data(report: "Report") -> list[tuple[str, str]]:
    """Return facts of the data: covariance, entropy, and how the map changes volumes there."""
    least, log_det = report.entropy, report.log_det
    given = "" if report.dependence is None else " given the context"
    told = f"condition {report.condition:.3g}, {report.raised_eigenvalues} eigenvalues raised"
    facts = [(f"covariance{given}", told)]
    if least:
        bias = f"; {least.bias}" if least.bias else ""
        facts.append(("entropy", f"{least.nats:.4f} nats by {least.method} of {least.rows} rows{bias}"))
        facts.append(
            ("above the entropy, test", f"{least.kl_nats:.4f} nats, standard error {least.standard_error:.2g}")
        )
    text = f"mean {log_det.mean:.4f} nats"
    if log_det.at_optimum is not None:
        text += f"; {log_det.at_optimum:.4f} at the optimum"
    if log_det.identity is not None:
        text += f"; h(Z) - h(X) = {log_det.identity:.4f} by nearest neighbours"
    return [*facts, ("log|det dz/dx|, test", text)]


def _facts_of_latents(report: "Report") -> list[tuple[str, str]]:
    """Return facts of the latents: how far they are from N(0, I), and what each activation contributes."""
    latents = report.latents_train
    text = (
        f"Gaussian gap G = {latents.gap_nats:.4g} nats (up to {latents.gap_by_chance:.2g} by chance), largest mean "
        f"{latents.largest_mean:.3g}, std {latents.smallest_std:.3g} to {latents.largest_std:.3g}, skewness "
        f"{latents.skewness:.3g}, excess kurtosis {latents.excess_kurtosis:.3g}"
    )
    activations = [
        (
            f"activation {entry.number}",
            f"{entry.active:.1%} active, {entry.in_bend:.1%} in the curved part, log f' {entry.log_slope:.3f} nats/dim "
            f"of {entry.log_slope_floor:.3f} to 0",
        )
        for entry in report.activations or ()
    ]
    facts = [("latents, train", text)]
    if (given := report.dependence) is not None:
        told = f"an affine map of it tells {given.nats:.4g} nats of the latents"
        facts.append(("context, train", f"{told} (up to {given.by_chance:.2g} by chance)"))
    return [*facts, *activations]
