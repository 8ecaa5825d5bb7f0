"""`lunet-export train`."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from typer import Context

from lunet_cli import hints, output, signals
from lunet_cli.group import ARGUMENTS
from lunet_cli.kept import Kept
from lunet_cli.options import DataSet, Force, Json, PaperConvention, column_list
from lunet_cli.pipes import data_set
from lunet_cli.training_options import FlowName, TrainingOptions
from lunet_cli.training_tables import print_classes, print_result, warn_of_choice
from lunet_export.api.training_bar import TrainingBar
from lunet_export.columns import Columns
from lunet_export.files import exclusive

if TYPE_CHECKING:
    from lunet_export.api.plan import Plan
    from lunet_export.checkpoint import Checkpoint
    from lunet_export.data import Dataset
    from lunet_export.training import ClassesResult, Result

_TITLES = {
    FlowName.LUNET: "LU-Net",
    FlowName.REALNVP: "RealNVP",
    FlowName.REALNVP_DENSE: "dense RealNVP",
    FlowName.JKO: "JKO-iFlow",
}


def train(
    context: Context,
    dataset: DataSet,
    *,
    options: TrainingOptions,
    paper_convention: PaperConvention = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train a flow by exact maximum likelihood.

    The command writes MODEL.pt (the best epoch), MODEL.resume.pt, MODEL.history.json and MODEL.png (the curve). With
    --per-class, MODEL.classes holds these files for every class; MODEL.pt is written when all classes are trained.
    JKO-iFlow is trained one block after another. With --context-columns, the flow is the density of the other columns
    given these; with --context-labels, that of rows given their class.

    Example: lunet-export train mnist --data-dir data -o mnist.pt
    Example: lunet-export train digits --per-class -o digits10.pt
    Example: lunet-export train digits --context-labels -o digits-given.pt
    Example: lunet-export train rows.csv --context-columns age -o given-age.pt
    """
    from lunet_export import checkpoint, training

    model, plan = options.model, options.plan
    plan.validate_target(model, resume=options.resume, force=force)
    plan.validate_choices()
    begin = checkpoint.read(options.begin) if options.begin else None
    rows = _rows(dataset, options, plan, begin)
    paths = training.Paths(model)
    files = [training.ClassPaths(model).of_class(0).resume] if options.per_class else [paths.resume, paths.history]
    with exclusive(model), TrainingBar() as bar:
        plan.validate_target(model, resume=options.resume, force=force)  # another process may have written it
        kept = Kept(model, files, context.meta[ARGUMENTS], resumes=options.resume, bar=bar)
        result = _trained(rows, options, plan, begin, bar, kept)
    if not as_json:
        if isinstance(result, training.ClassesResult):
            print_classes(result, model, paper_convention=paper_convention)
        else:
            print_result(result, model, _TITLES[options.flow], paper_convention=paper_convention)
    for entry in result.classes if isinstance(result, training.ClassesResult) else [result]:
        warn_of_choice(entry)
    if as_json:
        output.dump({"model": str(model), **asdict(result)})
    else:
        hints.say_to_export(model)


def _rows(dataset: str, options: TrainingOptions, plan: "Plan", begin: "Checkpoint | None") -> "Dataset":
    """Return the rows to train on; warn of values that spoil a density."""
    from lunet_export import data as datasets
    from lunet_export.training.degenerate import warnings_of

    loaded = data_set(
        dataset,
        lambda name: datasets.load(
            name,
            data_dir=options.rows.data_dir,
            levels=options.rows.levels,
            columns=column_list(options.rows.columns),
            label=options.rows.label,
            context=column_list(options.rows.context_columns),
            model=None if begin is None else Columns(begin.model.dim, begin.columns),
        ),
    )
    rows, found = plan.prepared(loaded)
    if plan.dequantize:
        widths = ", ".join(f"{entry.step:.6g} in {rows.column(entry.column)}" for entry in found)
        output.note(
            f"dequantized {rows.name}: noise of width {widths}" if found else f"no column of {rows.name} needs noise"
        )
    for warning in warnings_of(rows):
        output.warn(warning)
    return rows


def _trained(
    rows: "Dataset",
    options: TrainingOptions,
    plan: "Plan",
    begin: "Checkpoint | None",
    bar: TrainingBar,
    kept: Kept,
) -> "ClassesResult | Result":
    start = None if begin is None else begin.weights
    with signals.telling(kept.sentence):
        return plan.run(rows, options.model, begin=start, device=options.device, resume=options.resume, watch=bar.watch)
