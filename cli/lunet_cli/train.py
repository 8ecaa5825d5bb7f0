"""`lunet-export train`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from typer import Context, Option

from lunet_cli import output, signals
from lunet_cli.group import ARGUMENTS
from lunet_cli.kept import Kept
from lunet_cli.options import DataSet, Force, Json, column_list
from lunet_cli.training_bar import TrainingBar
from lunet_cli.training_options import FlowName, TrainingOptions
from lunet_cli.training_tables import print_classes, print_result, warn_of_choice
from lunet_export.errors import BadInputError
from lunet_export.files import exclusive

if TYPE_CHECKING:
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
    paper_convention: Annotated[bool, Option(help="Also print what the released code would.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train a flow by exact maximum likelihood; JKO-iFlow by blocks.

    Writes MODEL.pt (the best epoch), MODEL.resume.pt, MODEL.history.json and MODEL.png (the curve). With --per-class
    these lie in MODEL.classes, named by the number of the class, and MODEL.pt holds all classes when they are done.

    Example: lunet-export train mnist --data-dir data -o mnist.pt
    Example: lunet-export train digits --per-class -o digits10.pt
    """
    from lunet_export import training

    model = options.model
    _refuse_existing(options, force=force)
    options.refuse_contradictions()
    rows = _rows(dataset, options)
    paths = training.Paths(model)
    files = [training.ClassPaths(model).of_class(0).resume] if options.per_class else [paths.resume, paths.history]
    with exclusive(model), TrainingBar() as bar:
        _refuse_existing(options, force=force)  # someone else may have been faster
        kept = Kept(model, files, context.meta[ARGUMENTS], resumes=options.resume, bar=bar)
        result = _trained(rows, options, bar, kept)
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
        output.hint("lunet-export", str(model))


def _refuse_existing(options: TrainingOptions, *, force: bool) -> None:
    from lunet_export import training

    paths, folder = training.Paths(options.model), training.ClassPaths(options.model).folder
    of_classes = [path for path in sorted(folder.glob("*")) if not path.name.startswith(".")]  # else unfinished
    of_one = (paths.resume, paths.history, paths.curve)
    for path in (options.model, *(of_classes if options.per_class else of_one)):
        if path.exists() and not (options.resume or force):
            raise BadInputError(f"Expected new files; {path} exists already. Give --resume, --force or another -o.")


def _rows(dataset: str, options: TrainingOptions) -> "Dataset":
    """The rows to train on; a warning of what in them will spoil a density."""
    from lunet_export import data as datasets
    from lunet_export.training.degenerate import warnings_of

    rows = datasets.load(
        dataset,
        data_dir=options.rows.data_dir,
        levels=options.rows.levels,
        columns=column_list(options.rows.columns),
        label=options.rows.label,
    )
    if options.rows.dequantize:
        rows = _dequantized(rows, options.rows.seed)
    if options.flow is FlowName.REALNVP and rows.image_shape is None:
        raise BadInputError(f"Expected images for --flow realnvp; {rows.name} holds vectors. Take realnvp-dense.")
    for warning in warnings_of(rows):
        output.warn(warning)
    return rows


def _dequantized(rows: "Dataset", seed: int) -> "Dataset":
    from lunet_export.training.discrete import dequantized

    noisy, found = dequantized(rows, seed)
    widths = ", ".join(f"{entry.step:.6g} in {rows.column(entry.column)}" for entry in found)
    output.note(
        f"dequantized {rows.name}: noise of width {widths}" if found else f"no column of {rows.name} needs noise"
    )
    return noisy


def _trained(rows: "Dataset", options: TrainingOptions, bar: TrainingBar, kept: Kept) -> "ClassesResult | Result":
    from lunet_export import checkpoint, training
    from lunet_export.training.train import device_named

    shape = None if options.flow is FlowName.REALNVP_DENSE else rows.image_shape
    common: dict[str, Any] = {
        "structure": training.KINDS[options.family].choose(rows.dim, shape, options.structure),
        "begin": checkpoint.read(options.begin).weights if options.begin else None,
        "device": device_named(options.device),
        "resume": options.resume,
        "on_growth": bar.on_growth,
        "on_start": bar.on_start,
        "on_step": bar.on_step,
        "on_epoch": bar.on_epoch,
    }
    with signals.telling(kept.sentence):
        if options.per_class:
            return training.train_classes(rows, options.settings_of, options.model, on_class=bar.on_class, **common)
        settings = options.settings_of(rows)
        bar.begin(rows.name, settings.epochs)
        return training.train(rows, settings, options.model, **common)
