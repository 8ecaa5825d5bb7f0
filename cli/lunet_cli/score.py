"""`lunet-export score`."""

from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from lunet_cli import output
from lunet_cli.models import where, where_in_words
from lunet_cli.option_groups import option
from lunet_cli.options import (
    CONTEXT,
    IN_PAPER_CONVENTION,
    CudaGraph,
    Folder,
    Force,
    Json,
    PaperConvention,
    RunOptions,
    Seed,
    column_list,
)
from lunet_cli.pipes import source_file
from lunet_cli.streams import (
    FILES,
    MANY,
    Destination,
    Misfits,
    PartOptions,
    destination,
    is_folder,
    place,
    stream,
)
from lunet_export.errors import BadInputError, DataError

if TYPE_CHECKING:
    from lunet_export.streaming import ScoreJob
    from lunet_export.streaming.jobs import Place
    from lunet_export.streaming.tables import Table


_UNITS = {"log_prob": "nats", "bits_per_dim": "bits/dim", "paper_convention": f"bits/dim {IN_PAPER_CONVENTION}"}


class InvalidName(StrEnum):
    """Treatments of rows that are not finite or outside the domain."""

    STOP = "stop"
    NAN = "nan"


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """Options of the models, and of the columns that they score."""

    beside: list[Path] | None = option(
        None, "Another model; p is the mean over models. Repeat it for more models.", "--with"
    )
    weights: str | None = option(None, "Weights of FOLDER and each --with, such as 0.5,0.3,0.2.", shown="equal")
    columns: str | None = option(None, "Columns of a file, by name or by number from one: a,b,c.", shown="all")
    context: str | None = CONTEXT
    invalid: InvalidName = option(
        InvalidName.STOP, "At rows that are not finite, outside the domain or too far out: stop, or write nan."
    )


@dataclass(frozen=True, kw_only=True)
class NoiseOptions:
    """Options of the noise that integer images get."""

    draws: int = option(1, "Number of noise draws per integer image.", least=1)
    seed: Seed = 0


def score(
    folder: Folder,
    data: Annotated[
        Path,
        Argument(help="Rows as .npy, .npz, .csv, IDX images, .parquet, .arrow or a folder of .parquet; - for stdin."),
    ],
    *,
    target: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            help="File to write: .csv, .parquet, .arrow, .npy, or a folder of parts; - for stdout.",
        ),
    ] = None,
    pooling: PoolOptions,
    parts: PartOptions,
    noise: NoiseOptions,
    paper_convention: PaperConvention = False,
    run: RunOptions,
    cuda_graph: CudaGraph = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Score rows: nats and bits/dim per row, and their mean.

    Integer images get seeded uniform noise; floats are taken as they are. Rows that the model was not made for, such as
    images scaled to [0, 1] or vectors in other units, are scored with a warning. With classes the scores are those of
    the mixture, with the most probable class, its probability and the posterior.

    A folder of parts is read, computed and written a piece at a time, can be continued with --resume, and can be
    computed on many machines with --engine ray. Stdin takes .npy and CSV; with -o - the scores go to stdout, as
    --format csv or --format npy.

    Example: lunet-export score runs/digits digits.npy
    """
    if target is not None and target.suffix not in ("", ".csv", *FILES):
        raise BadInputError(f"Expected -o of .csv, {', '.join(FILES)} or a folder; got {target}.")
    parts.validate_ray_options()
    with ExitStack() as stack:
        opened = destination(target, parts, force=force, as_json=as_json) if target is not None else nullcontext()
        into, rows = stack.enter_context(opened), stack.enter_context(source_file(data))
        wanted = {"paper": paper_convention, "cuda_graph": cuda_graph, "as_json": as_json}
        _score(folder, rows, into, pooling, parts, noise, run, **wanted)


def _score(
    folder: Path,
    data: Path,
    into: Destination | None,
    pooling: PoolOptions,
    parts: PartOptions,
    noise: NoiseOptions,
    run: RunOptions,
    *,
    paper: bool,
    cuda_graph: bool,
    as_json: bool,
) -> None:
    """Score the rows of a file whole, or a piece at a time."""
    from lunet_export.data.sources import SUFFIXES

    target = None if into is None else into.path
    written = is_folder(target) or (target is not None and target.suffix in FILES)
    piecewise = pooling.invalid is not InvalidName.STOP or (not (as_json or cuda_graph) and _is_long(data))
    hold = not (written or piecewise or pooling.beside or data.is_dir() or data.suffix in SUFFIXES[1:])
    if cuda_graph and not hold:
        raise BadInputError("Expected no --cuda-graph with parts, --with, --invalid, Parquet or Arrow. Leave it out.")
    if hold or target is None:
        parts.validate_folder_options(target or "none", engine="--engine ray")
    if hold:
        _validate_pooling(pooling)
    job = _job(folder, data, pooling, noise, place(run, cuda_graph=cuda_graph), hold=hold, paper=paper)
    if into is not None:
        stream(job, into, parts, as_json=as_json)
    else:
        _show(job, as_json=as_json)


def _validate_pooling(pooling: PoolOptions) -> None:
    """Raise BadInputError if an option is given that needs several models."""
    if pooling.weights:
        raise BadInputError(
            "Expected --with FOLDER beside --weights, for each model after the first; got none. Add it."
        )


def _job(
    folder: Path,
    data: Path,
    pooling: PoolOptions,
    noise: NoiseOptions,
    where_to_run: "Place",
    *,
    hold: bool,
    paper: bool,
) -> "ScoreJob":
    from lunet_export.streaming import ScoreJob

    return ScoreJob(
        tuple(map(str, (folder, *(pooling.beside or ())))),
        str(data),
        column_list(pooling.columns),
        numbers_of(pooling.weights),
        noise.draws,
        noise.seed,
        pooling.invalid.value,
        where_to_run,
        hold,
        paper,
        pooling.context,
    )


def _show(job: "ScoreJob", *, as_json: bool) -> None:
    """Print the scores: as a table, a piece at a time, or all of them as JSON."""
    from lunet_export.streaming import compute
    from lunet_export.streaming.tables import csv_text

    per_row: dict[str, list[Any]] = {}

    def take(first: int, table: "Table") -> None:
        if not as_json:
            output.say_lines(csv_text(table, first))
            return
        for name, values in table.items():
            per_row.setdefault(name, []).extend(values.tolist())

    with output.counting(job.draws, f"scoring {job.rows} rows") as more:
        work = job.work(lambda: more(1) if job.hold else None)
        summary, _, error = compute(job, work, take)
    Misfits().tell_all(summary.misfits)
    if as_json:
        counts = {"rows": summary.rows, "invalid": summary.invalid, "draws": job.draws, "seed": job.seed}
        figures = {"mean": dict(summary.means), "standard_error": {"bits_per_dim": error}}
        output.dump({**counts, **where(work), **figures, "per_row": per_row})
        return
    known = {name: mean for name, mean in summary.means.items() if mean is not None}
    means = [f"{known[name]:.4f} {unit}" for name, unit in _UNITS.items() if name in known]
    spread = "one row has no spread" if error is None else f"standard error {error:.4f}"
    counted = summary.rows - summary.invalid
    told = f"{', '.join(means)} ({spread})" if means else "none"
    output.say(f"mean of {counted} rows: {told}, {where_in_words(work)}")


def _is_long(data: Path) -> bool:
    """Return whether a .npy file has more rows than are read as a whole."""
    from lunet_export.data.sources import NpySource

    try:
        return data.suffix == ".npy" and NpySource(data).rows > MANY
    except (DataError, OSError):
        return False  # the error is raised when the file is read


def numbers_of(text: str | None) -> tuple[float, ...] | None:
    """Return numbers that are separated by commas."""
    try:
        return None if text is None else tuple(float(part) for part in text.split(","))
    except ValueError:
        raise BadInputError(
            f"Expected numbers separated by commas for --weights; got {text}. Example: 0.5,0.3,0.2."
        ) from None
