"""`lunet-export train`."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lunet_cli import output, start
from lunet_cli.group import ARGUMENTS
from lunet_cli.kept import Kept
from lunet_cli.options import DataDir, DataSet, Force, Json
from lunet_cli.training_bar import TrainingBar
from lunet_cli.training_tables import print_classes, print_result, warn_of_choice
from lunet_export.errors import BadInputError
from lunet_export.files import exclusive

if TYPE_CHECKING:
    from lunet_export.data import Dataset
    from lunet_export.training import FitSettings

_FINER: dict[str, Any] = {"rich_help_panel": "Finer choices"}


class FlowName(StrEnum):
    """What is trained."""

    LUNET = "lunet"
    REALNVP = "realnvp"
    REALNVP_DENSE = "realnvp-dense"
    JKO = "jko"


class InitName(StrEnum):
    """Where training starts."""

    GREEDY = "greedy"
    BEND = "bend"
    WHITEN = "whiten"
    IDENTITY = "identity"


class ActivationName(StrEnum):
    """What lies between the blocks of an LU-Net."""

    LEAKY_SOFTPLUS = "leaky-softplus"
    LEAKY_RELU = "leaky-relu"
    LEAKY_TANH = "leaky-tanh"


class OptimizerName(StrEnum):
    """How steps are taken."""

    ADAM = "adam"
    L_BFGS = "l-bfgs"


class SignsName(StrEnum):
    """Signs of the diagonals of U."""

    ALTERNATING = "alternating"
    RANDOM = "random"
    POSITIVE = "positive"


class ScheduleName(StrEnum):
    """What becomes of the learning rate."""

    SCHEDULE_FREE = "schedule-free"
    LINEAR = "linear"
    ONE_CYCLE = "one-cycle"
    CONSTANT = "constant"


class RegulariserName(StrEnum):
    """What may be added to the likelihood."""

    LOG_DIAGONAL = "log-diagonal"
    BALANCE = "balance"


_TITLES = {
    FlowName.LUNET: "LU-Net",
    FlowName.REALNVP: "RealNVP",
    FlowName.REALNVP_DENSE: "dense RealNVP",
    FlowName.JKO: "JKO-iFlow",
}
#: Where the name of a flow is not that of its family.
_FAMILIES = {FlowName.REALNVP_DENSE: "realnvp"}
_JKO: dict[str, Any] = {"rich_help_panel": "Of JKO-iFlow", "show_default": False}


def train(
    context: typer.Context,
    dataset: DataSet,
    model: Annotated[
        Path, typer.Option("--output", "-o", help="The model file: the best epoch, or the Gaussian.")
    ] = Path("model.pt"),
    flow: Annotated[
        FlowName,
        typer.Option(
            help="realnvp: convolutions on images, as in the paper; realnvp-dense: of LU-Net's size; jko: continuous, "
            "block by block."
        ),
    ] = FlowName.LUNET,
    epochs: Annotated[
        int | None, typer.Option(help="Default: about 9000 steps; 1000 a block of JKO-iFlow.", show_default=False)
    ] = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="One network a class, all in one file; digits, mnist, fashion-mnist.")
    ] = False,
    blocks: Annotated[
        int | None, typer.Option(min=1, help="Default: 4; 13 up to 4-D; at most 8 of JKO-iFlow.", show_default=False)
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Smallest slope of the activation. Default: 0.1.", show_default=False)
    ] = None,
    activation: Annotated[
        ActivationName | None,
        typer.Option(
            help="Of LU-Net; leaky-relu is piecewise linear, leaky-tanh compresses both tails. "
            "Default: leaky-softplus, the paper's.",
            show_default=False,
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Planes of a RealNVP on images, hidden numbers of a JKO-iFlow (both: 64) or of a dense RealNVP.",
            show_default=False,
        ),
    ] = None,
    begin: Annotated[
        Path | None, typer.Option("--from", help="Start from this model instead of the Gaussian.", show_default=False)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Default: 256; 64 for small sets.", show_default=False)] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak rate. Default: by width.", show_default=False)
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many idle epochs. Default: 30.", show_default=False)
    ] = None,
    optimizer: Annotated[
        OptimizerName | None,
        typer.Option(help="Default: l-bfgs for data of up to 4-D, else adam.", show_default=False, **_FINER),
    ] = None,
    init: Annotated[
        InitName | None,
        typer.Option(
            help="bend: whitened, activations in reach; whiten: the Gaussian itself; greedy: grown, to 16-D. "
            "Default: bend; greedy up to 4-D.",
            show_default=False,
            **_FINER,
        ),
    ] = None,
    signs: Annotated[
        SignsName | None,
        typer.Option(
            help="Of the diagonals of U, for good. Default: alternating, which bends to both sides.",
            show_default=False,
            **_FINER,
        ),
    ] = None,
    whitened: Annotated[
        bool | None,
        typer.Option(
            "--whitened/--plain",
            help="Train in coordinates where layers' inputs are white. Default for LU-Net.",
            show_default=False,
            **_FINER,
        ),
    ] = None,
    schedule: Annotated[
        ScheduleName | None,
        typer.Option(
            help="How Adam's rate falls. Default: schedule-free of LU-Net, else linear.", show_default=False, **_FINER
        ),
    ] = None,
    average: Annotated[
        float, typer.Option(help="Share a step that a moving average of the weights keeps, as 0.999.", **_FINER)
    ] = 0.0,
    weight_decay: Annotated[
        float | None,
        typer.Option(
            help="Of the entries off the diagonals; of kernels and matrices. Default: 0; 1 of JKO-iFlow beyond 4-D.",
            show_default=False,
            **_FINER,
        ),
    ] = None,
    regulariser: Annotated[
        RegulariserName | None, typer.Option("--reg", help="A penalty that conditions the map.", **_FINER)
    ] = None,
    regulariser_weight: Annotated[
        float, typer.Option("--reg-weight", help="Its weight, in nats a row.", **_FINER)
    ] = 0.0,
    bound: Annotated[
        float | None, typer.Option(help="Largest |log u_ii| that training may reach.", show_default=False, **_FINER)
    ] = None,
    hidden_layers: Annotated[
        int | None, typer.Option(min=1, help="Of a velocity field. Default: 2, whose divergence is cheap.", **_JKO)
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Runge-Kutta steps a block. Default: 3.", **_JKO)] = None,
    step_size: Annotated[
        float | None, typer.Option(help="h of the first block. Default: 0.07; 0.1 beyond 4-D.", **_JKO)
    ] = None,
    step_growth: Annotated[float | None, typer.Option(help="Factor from block to block. Default: 1.4.", **_JKO)] = None,
    largest_step: Annotated[float | None, typer.Option(help="Of all h. Default: 5.", **_JKO)] = None,
    stop: Annotated[
        float | None,
        typer.Option(help="No block after one that moves rows by less, in squares. Default: 0.003.", **_JKO),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=0, help="In which all blocks are trained again, evened. Default: 1.", **_JKO)
    ] = None,
    refine: Annotated[
        bool | None, typer.Option("--refine/--no-refine", help="At last cut each block in two and train again.", **_JKO)
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same model.")] = 0,
    data_dir: DataDir = Path("data"),
    levels: Annotated[
        int | None, typer.Option(help="Grey levels of a file of integers. Default: 256.", show_default=False)
    ] = None,
    dequantize: Annotated[
        bool, typer.Option("--dequantize", help="Add noise to columns of vectors that hold counts or rounded numbers.")
    ] = False,
    fallback: Annotated[
        bool,
        typer.Option(
            "--fallback/--no-fallback",
            help="Keep the Gaussian, or the start, unless an epoch is better by more than chance on validation rows.",
        ),
    ] = True,
    device: Annotated[str, typer.Option(help="PyTorch device: cpu, cuda, mps.")] = "cpu",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from MODEL.resume.pt.")] = False,
    paper_convention: Annotated[
        bool, typer.Option("--paper-convention", help="Also print what the released code would.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train a flow by exact maximum likelihood; JKO-iFlow by blocks.

    Writes MODEL.pt (the best epoch), MODEL.resume.pt, MODEL.history.json and MODEL.png (the curve). With --per-class
    these lie in MODEL.classes, named by the number of the class, and MODEL.pt holds all classes when they are done.

    Example: lunet-export train mnist --data-dir data -o mnist.pt
    Example: lunet-export train digits --per-class -o digits10.pt
    """
    from lunet_export import checkpoint, training
    from lunet_export import data as datasets
    from lunet_export.training.degenerate import warnings_of
    from lunet_export.training.train import device_named

    def refuse_existing() -> None:
        paths, folder = training.Paths(model), training.ClassPaths(model).folder
        of_classes = [path for path in sorted(folder.glob("*")) if not path.name.startswith(".")]  # else unfinished
        of_one = (paths.resume, paths.history, paths.curve)
        for path in (model, *(of_classes if per_class else of_one)):
            if path.exists() and not (resume or force):
                raise BadInputError(f"Expected new files; {path} exists already. Give --resume, --force or another -o.")

    refuse_existing()
    chosen = {
        "blocks": blocks,
        "alpha": alpha,
        "activation": activation.value if activation else None,
        "width": width,
        "hidden_layers": hidden_layers,
        "steps": steps,
        "step_size": step_size,
        "step_growth": step_growth,
        "largest_step": largest_step,
        "stop": stop,
        "rounds": rounds,
        "refine": refine,
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    if begin and given.keys() & {"blocks", "alpha", "activation", "width"}:
        raise BadInputError(
            "Expected no --blocks, --alpha, --activation or --width with --from, whose model has its own."
        )
    if per_class and flow is not FlowName.LUNET:
        raise BadInputError(
            f"Expected --flow lunet with --per-class; got {flow.value}. Train one network of all classes."
        )
    kind = training.KINDS[_FAMILIES.get(flow, flow.value)]
    rows = datasets.load(dataset, data_dir=data_dir, levels=levels)
    if dequantize:
        rows = _dequantized(rows, seed)
    if flow is FlowName.REALNVP and rows.image_shape is None:
        raise BadInputError(f"Expected images for --flow realnvp; {rows.name} holds vectors. Take realnvp-dense.")

    def settings_of(part: "Dataset") -> "FitSettings":
        return kind.settings(
            len(part.train),
            part.dim,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            patience=patience,
            optimizer=optimizer.value if optimizer else None,
            init=init.value if init else None,
            signs=signs.value if signs else None,
            whitened=whitened,
            schedule=schedule.value if schedule else None,
            average=average,
            weight_decay=weight_decay,
            regulariser=regulariser.value if regulariser else None,
            regulariser_weight=regulariser_weight,
            bound=bound,
            seed=seed,
            fallback=fallback,
        )

    for warning in warnings_of(rows):
        output.warn(warning)
    paths = training.Paths(model)
    files = [training.ClassPaths(model).of_class(0).resume] if per_class else [paths.resume, paths.history]
    with exclusive(model), TrainingBar() as bar:
        refuse_existing()  # someone else may have been faster
        kept = Kept(model, files, context.meta[ARGUMENTS], resumes=resume, bar=bar)
        common: dict[str, Any] = {
            "structure": kind.choose(rows.dim, None if flow is FlowName.REALNVP_DENSE else rows.image_shape, given),
            "begin": checkpoint.read(begin).weights if begin else None,
            "device": device_named(device),
            "resume": resume,
            "on_growth": bar.on_growth,
            "on_start": bar.on_start,
            "on_step": bar.on_step,
            "on_epoch": bar.on_epoch,
        }
        with start.telling(kept.sentence):
            if per_class:
                of_classes = training.train_classes(rows, settings_of, model, on_class=bar.on_class, **common)
            else:
                settings = settings_of(rows)
                bar.begin(rows.name, settings.epochs)
                result = training.train(rows, settings, model, **common)
    if not as_json and per_class:
        print_classes(of_classes, model, paper_convention=paper_convention)
    elif not as_json:
        print_result(result, model, _TITLES[flow], paper_convention=paper_convention)
    for entry in of_classes.classes if per_class else [result]:
        warn_of_choice(entry)
    if as_json:
        output.dump({"model": str(model), **asdict(of_classes if per_class else result)})
    else:
        output.hint("lunet-export", str(model))


def _dequantized(rows: "Dataset", seed: int) -> "Dataset":
    from lunet_export.training.discrete import dequantized

    noisy, found = dequantized(rows, seed)
    widths = ", ".join(f"{entry.step:.6g} in {rows.column(entry.column)}" for entry in found)
    output.note(
        f"dequantized {rows.name}: noise of width {widths}" if found else f"no column of {rows.name} needs noise"
    )
    return noisy
