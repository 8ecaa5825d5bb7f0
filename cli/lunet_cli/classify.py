"""`lunet-export classify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from lunet_cli import against as others
from lunet_cli import output
from lunet_cli.models import load_rows, where
from lunet_cli.options import IN_PAPER_CONVENTION, DataOptions, Json, PaperConvention, RunOptions
from lunet_export.files import whole_file

if TYPE_CHECKING:
    from lunet_export.diagnostics import Classification
    from lunet_export.diagnostics.classify import ClassSource


def classify(
    source: Annotated[
        Path,
        Argument(help="A model file or folder with classes: of --per-class or --context-labels."),
    ],
    dataset: Annotated[str, Argument(help="digits, mnist, fashion-mnist, or a file or stdin (-) with --label.")],
    *,
    data: DataOptions,
    label: Annotated[str | None, Option(help="Column of a file that holds the classes.")] = None,
    against: others.Against = None,
    plot: Annotated[Path | None, Option(help="Also draw the confusion matrix, as PNG.")] = None,
    paper_convention: PaperConvention = False,
    run: RunOptions,
    as_json: Json = False,
) -> None:
    """Classify test rows by Bayes' rule; print the accuracy.

    A row gets the class with the largest posterior pi_c p_c(x) / p(x). A model file is evaluated by the float64
    reference, for which the options of providers have no effect; a folder by its density graph.

    Example: lunet-export classify runs/digits-classes digits --plot confusion.png
    """
    from lunet_export import diagnostics

    output.validate_picture_path("--plot", plot)
    opened, found_where = _open(source, run)
    rows = load_rows(opened, dataset, data, label=label)
    other = others.other_rows(against, opened, lambda name: load_rows(opened, name, data))
    with output.counting(len(rows.test) + (len(other.test) if other else 0), f"classifying {rows.name}") as on_rows:
        found = diagnostics.classify(opened, rows, seed=data.seed, against=other, on_rows=on_rows)
    if plot is not None:
        from lunet_cli.confusion_plot import draw

        with whole_file(plot) as temporary:
            draw(found, temporary, title=f"{source.name} on {found.dataset}: {found.accuracy:.2%}")
    if as_json:
        output.dump({"source": str(source), **found_where, **found.as_json()})
    else:
        _say(found, paper_convention=paper_convention)


def _open(source: Path, run: RunOptions) -> "tuple[ClassSource, dict[str, str]]":
    """Return the opened model, and where it runs."""
    from lunet_export import diagnostics

    if source.is_dir():
        from lunet_export.runtime import ExportedClasses

        flow = ExportedClasses(source, **run.settings)
        return diagnostics.ClassFolderSource(flow), where(flow)
    from lunet_export import checkpoint

    read = checkpoint.read(source)
    opened = diagnostics.MixtureSource(read.model, columns=read.columns)
    return opened, {"provider": "reference", "provider_reason": "a model file"}


def _say(found: "Classification", *, paper_convention: bool) -> None:
    columns = ["class", "rows", "recall", "precision", "bits/dim given its class"]
    output.table(
        columns + ([IN_PAPER_CONVENTION] if paper_convention else []),
        [
            (entry.name, str(entry.rows), f"{entry.recall:.2%}", f"{entry.precision:.2%}", f"{entry.bits_per_dim:.4f}")
            + ((f"{entry.paper_convention:.4f}",) if paper_convention else ())
            for entry in found.classes
        ],
    )
    names = [entry.name for entry in found.classes]
    counts = [(name, *map(str, line)) for name, line in zip(names, found.confusion.tolist(), strict=True)]
    output.table(["true class; predicted as", *names], counts)
    output.say(
        f"accuracy {found.accuracy:.2%} of {found.rows} test rows, log loss {found.log_loss:.4f} nats, "
        f"mixture {found.bits_per_dim:.4f} bits/dim"
        + (f", {IN_PAPER_CONVENTION} {found.paper_convention:.4f}" if paper_convention else "")
    )
    if found.detection:
        output.pairs([others.line(found.detection)])
