"""`lunet-export score`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lunet_cli import output
from lunet_cli.options import (
    Arena,
    ArenaName,
    CudaGraph,
    DeviceId,
    Folder,
    Json,
    MemoryLimit,
    Provider,
    ProviderName,
    Seed,
    Tf32,
    Threads,
    cuda_options,
    given,
)
from lunet_cli.streams import (
    FILES,
    MANY,
    USUAL_ROWS,
    Address,
    Columns,
    Engine,
    EngineName,
    FormatName,
    Misfits,
    Parts,
    Resume,
    RowsPerPart,
    Workers,
    is_folder,
    place,
    refuse_idle,
    stream,
)
from lunet_export.errors import BadInputError, DataError

if TYPE_CHECKING:
    from lunet_export.streaming import ScoreJob
    from lunet_export.streaming.tables import Table


_UNITS = {"log_prob": "nats", "bits_per_dim": "bits/dim"}


class InvalidName(StrEnum):
    """What becomes of rows that are not finite or outside the domain."""

    STOP = "stop"
    NAN = "nan"


def score(
    folder: Folder,
    data: Annotated[
        Path,
        typer.Argument(
            help=".npy, .npz, .csv, IDX images, .parquet, .arrow, or a folder of .parquet.", show_default=False
        ),
    ],
    target: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help=".csv, .parquet, .arrow, .npy, or a folder of parts for any number of rows.",
            show_default=False,
        ),
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option("--with", help="Another model: p is their mean. Repeatable.", show_default=False),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Of FOLDER and each --with, as 0.5,0.3,0.2.", show_default="equal")
    ] = None,
    columns: Columns = None,
    invalid: Annotated[
        InvalidName, typer.Option(help="Rows not finite, outside or too far out: stop there, or give them nan.")
    ] = InvalidName.STOP,
    engine: Engine = EngineName.LOCAL,
    workers: Workers = None,
    address: Address = None,
    form: Annotated[FormatName, typer.Option("--format", help="Of the parts.")] = FormatName.PARQUET,
    rows_per_part: RowsPerPart = USUAL_ROWS,
    resume: Resume = False,
    draws: Annotated[int, typer.Option(min=1, help="Noise draws for integer images.")] = 1,
    seed: Seed = 0,
    provider: Provider = ProviderName.AUTO,
    threads: Threads = None,
    device_id: DeviceId = 0,
    memory_limit: MemoryLimit = None,
    arena: Arena = ArenaName.NEXT_POWER_OF_TWO,
    tf32: Tf32 = False,
    cuda_graph: CudaGraph = False,
    as_json: Json = False,
) -> None:
    """Score rows: nats and bits/dim a row, and their mean.

    Integer images get seeded uniform noise; floats are taken as they are. Rows that the model was not made for, as
    images scaled to [0, 1] or vectors in other units, are scored with a warning. With a network a class, the mixture's,
    with the most probable class, its probability and the posterior.

    A folder of parts is read, computed and written a piece at a time, goes on after a stop with --resume, and may be
    shared out by --engine ray.

    Example: lunet-export score exported/digits digits.npy
    """
    from lunet_export.streaming import ScoreJob
    from lunet_export.streaming.sources import SUFFIXES

    if target is not None and target.suffix not in ("", ".csv", *FILES):
        raise BadInputError(f"Expected -o of .csv, {', '.join(FILES)} or a folder; got {target}.")
    refuse_idle(engine, workers, address)
    cuda = cuda_options(device_id, memory_limit, arena, tf32=tf32)
    written = is_folder(target) or (target is not None and target.suffix in FILES)
    piecewise = invalid is not InvalidName.STOP or (not (as_json or cuda_graph) and _is_long(data))
    hold = not (written or piecewise or beside or data.is_dir() or data.suffix in SUFFIXES[1:])
    if cuda_graph and not hold:
        raise BadInputError("Expected no --cuda-graph with parts, --with, --invalid, Parquet or Arrow. Leave it out.")
    wrong = given({"--engine ray": engine is not EngineName.LOCAL, "--resume": resume})
    if wrong and not is_folder(target) and (hold or target is None):
        raise BadInputError(f"Expected a folder for -o with {wrong}; got {target or 'none'}.")
    if hold and weights:
        raise BadInputError("Expected --with FOLDER beside --weights, for each model after the first; got none.")
    if hold and columns:
        raise BadInputError(f"Expected Parquet or Arrow for --columns; got {data}. Leave it out.")
    job = ScoreJob(
        tuple(map(str, (folder, *(beside or ())))),
        str(data),
        tuple(columns.split(",")) if columns else (),
        numbers_of(weights),
        draws,
        seed,
        invalid.value,
        place(provider, threads, cuda, cuda_graph=cuda_graph),
        hold,
    )
    if target is not None:
        stream(job, target, Parts(engine, workers, address, form, rows_per_part, resume), as_json=as_json)
    else:
        _show(job, as_json=as_json)


def _show(job: "ScoreJob", *, as_json: bool) -> None:
    """Rows as a table, a piece at a time; as JSON, rows that are few."""
    from lunet_export.streaming import compute
    from lunet_export.streaming.tables import csv_text

    per_row: dict[str, list[Any]] = {}

    def take(first: int, table: "Table") -> None:
        if not as_json:
            output.say_lines(csv_text(table, first))
            return
        for name, values in table.items():
            per_row.setdefault(name, []).extend(values.tolist())

    with output.progress(job.draws, f"scoring {job.rows} rows") as bar:
        work = job.work(lambda: bar.advance(bar.task_ids[0]) if job.hold else None)
        summary, _, error = compute(job, work, take)
    Misfits().tell_all(summary.misfits)
    if as_json:
        where = {"provider": work.provider, "provider_reason": work.provider_reason}
        counts = {"rows": summary.rows, "invalid": summary.invalid, "draws": job.draws, "seed": job.seed}
        figures = {"mean": dict(summary.means), "standard_error": {"bits_per_dim": error}}
        output.dump({**counts, **where, **figures, "per_row": per_row})
        return
    known = {name: mean for name, mean in summary.means.items() if mean is not None}
    means = [f"{known[name]:.4f} {unit}" for name, unit in _UNITS.items() if name in known]
    spread = "one row has no spread" if error is None else f"standard error {error:.4f}"
    output.say(
        f"mean of {summary.rows - summary.invalid} rows: {', '.join(means) or 'none'}"
        f"{f' ({spread})' if means else ''}, provider {work.provider} ({work.provider_reason})"
    )


def _is_long(data: Path) -> bool:
    """A .npy file of more rows than are read as a whole."""
    from lunet_export.streaming.sources import NpySource

    try:
        return data.suffix == ".npy" and NpySource(data).rows > MANY
    except (DataError, OSError):
        return False  # whoever reads it says why


def numbers_of(text: str | None) -> tuple[float, ...] | None:
    """Numbers between commas."""
    try:
        return None if text is None else tuple(float(part) for part in text.split(","))
    except ValueError:
        raise BadInputError(f"Expected numbers between commas for --weights; got {text}.") from None
