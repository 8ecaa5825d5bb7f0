"""`lunet-export diagnose`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli import output
from lunet_cli.models import open_source, tell_misfit
from lunet_cli.options import Against, DataDir, DataSet, Json, LatentStats, Levels, Preprocess, PreprocessName, Seed
from lunet_export.errors import BadInputError
from lunet_export.files import whole_file

if TYPE_CHECKING:
    from lunet_export.diagnostics import Report


def diagnose(
    source: Annotated[Path, typer.Argument(help="A model file, or an exported folder.", show_default=False)],
    dataset: DataSet,
    data_dir: DataDir = Path("data"),
    levels: Levels = None,
    seed: Seed = 0,
    against: Against = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw NLL over the number of directions, as PNG.", show_default=False)
    ] = None,
    latent_stats: LatentStats = None,
    preprocess: Preprocess = PreprocessName.NONE,
    as_json: Json = False,
) -> None:
    """Compare a model with the Gaussian, PPCA, the entropy and N(0, I); say what is wrong with it.

    A model file is judged whole, by the float64 reference; a folder by what its density graph returns.

    Example: lunet-export diagnose exported/digits digits
    """
    from lunet_export import diagnostics

    if plot is not None and plot.suffix != ".png":
        raise BadInputError(f"Expected --plot FILE.png; got {plot}.")
    output.refuse_unwritable("--plot", plot)
    judged = open_source(source, latent_stats, preprocess)
    rows = diagnostics.load(dataset, judged.preprocessing, data_dir=data_dir, levels=levels)
    other = None
    if against is not None:
        other = diagnostics.load(against, judged.preprocessing, data_dir=data_dir, levels=levels)
        if found := diagnostics.misfit_of(other, judged.preprocessing, judged.dim):
            output.warn(found.sentence)
    tell_misfit(judged, rows, seed=seed)
    total = len(rows.train) + len(rows.test) + (len(other.test) if other else 0)
    with output.progress(total, f"diagnosing on {rows.name}") as bar:
        report = diagnostics.diagnose(
            judged, rows, seed=seed, against=other, on_rows=lambda n: bar.advance(bar.task_ids[0], n)
        )
    if plot is not None:
        from lunet_cli.ppca_plot import draw

        with whole_file(plot) as temporary:
            draw(report, temporary, title=f"{source.name} on {report.dataset}")
    if as_json:
        output.dump({"source": str(source), **report.as_json()})
    else:
        _say(report)


def _say(report: "Report") -> None:
    dim = report.dim

    def line(name: str, nats: tuple[float, float]) -> tuple[str, ...]:
        from lunet_export.diagnostics import Figure

        figures = [Figure.of(value, dim) for value in nats]
        return (name, *(f"{getattr(figure, unit):.4f}" for figure in figures for unit in _UNITS))

    model, gaussian = report.model, report.gaussian
    table = [
        line("model", (model.train.nats, model.test.nats)),
        line("Gaussian", (gaussian.train.nats, gaussian.test.nats)),
        line("gain over the Gaussian", tuple(getattr(gaussian, s).nats - getattr(model, s).nats for s in _SPLITS)),
    ]
    for q in report.shown_q()[:-1]:
        best = ", best on the test rows" if q == report.best_q else ""
        table.append(line(f"PPCA, q = {q}{best}", (float(report.ppca_train[q]), float(report.ppca_test[q]))))
    columns = [f"{unit}, {split}" for split in _SPLITS for unit in ("nats", "nats/dim", "bits/dim")]
    output.table([f"mean NLL of {report.dataset}", *columns], table)

    least, log_det = report.entropy, report.log_det
    latents = report.latents_train
    facts = [("covariance", f"condition {report.condition:.3g}, {report.raised_eigenvalues} eigenvalues raised")]
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
    facts.append(("log|det dz/dx|, test", text))
    facts.append(
        (
            "latents, train",
            f"Gaussian gap G = {latents.gap_nats:.4g} nats (up to {latents.gap_by_chance:.2g} by chance), largest mean "
            f"{latents.largest_mean:.3g}, std {latents.smallest_std:.3g} to {latents.largest_std:.3g}, skewness "
            f"{latents.skewness:.3g}, excess kurtosis {latents.excess_kurtosis:.3g}",
        )
    )
    facts += [
        (
            f"activation {entry.number}",
            f"{entry.active:.1%} active, {entry.in_bend:.1%} in the bend, log f' {entry.log_slope:.3f} nats/dim "
            f"of {entry.log_slope_floor:.3f} to 0",
        )
        for entry in report.activations or ()
    ]
    if report.detection:
        from lunet_cli import detection

        facts.append(detection.line(report.detection))
    facts += [(name, f"not available: {why}") for name, why in report.not_available.items()]
    output.pairs(facts)
    for flag in report.flags:
        output.say(f"{flag.name}: {flag.sentence}")
    if not report.flags:
        output.say("no flags")


_UNITS = ("nats", "nats_per_dim", "bits_per_dim")
_SPLITS = ("train", "test")
