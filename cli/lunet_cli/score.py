"""`lunet-export score`."""

from enum import StrEnum
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from lunet_cli import output
from lunet_cli.models import open_export
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
from lunet_export.data import arrays, idx
from lunet_export.errors import BadInputError, DataError
from lunet_export.files import whole_file
from lunet_export.likelihood import bits_per_dim

if TYPE_CHECKING:
    from lunet_export.runtime.misfit import Misfit
    from lunet_export.streaming import ScoreJob


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
    with the most probable class and its posterior. A folder of parts is read, computed and written a piece at a time,
    goes on after a stop with --resume, and may be shared out by --engine ray.

    Example: lunet-export score exported/digits digits.npy
    """
    from lunet_export.runtime import ExportedClasses
    from lunet_export.runtime.scoring import score as score_rows
    from lunet_export.runtime.scoring import score_classes
    from lunet_export.streaming import ScoreJob
    from lunet_export.streaming.jobs import refuse_draws
    from lunet_export.streaming.sources import SUFFIXES
    from lunet_export.streaming.tables import csv_text

    if target is not None and target.suffix not in ("", ".csv", *FILES):
        raise BadInputError(f"Expected -o of .csv, {', '.join(FILES)} or a folder; got {target}.")
    refuse_idle(engine, workers, address)
    cuda = cuda_options(device_id, memory_limit, arena, tf32=tf32)
    written = is_folder(target) or (target is not None and target.suffix in FILES)
    piecewise = invalid is not InvalidName.STOP or (not (as_json or cuda_graph) and _is_long(data))
    if written or piecewise or beside or data.is_dir() or data.suffix in SUFFIXES[1:]:
        if cuda_graph:
            raise BadInputError(
                "Expected no --cuda-graph with parts, --with, --invalid, Parquet or Arrow. Leave it out."
            )
        job = ScoreJob(
            tuple(map(str, (folder, *(beside or ())))),
            str(data),
            tuple(columns.split(",")) if columns else (),
            numbers_of(weights),
            draws,
            seed,
            invalid.value,
            place(provider, threads, cuda),
        )
        if target is not None:
            stream(job, target, Parts(engine, workers, address, form, rows_per_part, resume), as_json=as_json)
        elif engine is not EngineName.LOCAL or resume:
            wrong = given({"--engine ray": engine is not EngineName.LOCAL, "--resume": resume})
            raise BadInputError(f"Expected a folder for -o with {wrong}; got none.")
        else:
            _show(job, as_json=as_json)
        return
    if wrong := given({"--engine": engine is not EngineName.LOCAL, "--resume": resume}):
        raise BadInputError(f"Expected a folder for -o with {wrong}; got {target or 'none'}.")
    if weights:
        raise BadInputError("Expected --with FOLDER beside --weights, for each model after the first; got none.")
    if columns:
        raise BadInputError(f"Expected Parquet or Arrow for --columns; got {data}. Leave it out.")
    flow = open_export(folder, provider, threads, cuda, cuda_graph=cuda_graph)
    rows = idx.read_images(data) if data.suffix == ".gz" or "ubyte" in data.name else arrays.read(data)
    if rows.ndim == 1 and flow.dim != 1:
        raise DataError(f"Expected rows of {flow.dim} numbers in {data}; it has shape {rows.shape}. Save a row a line.")
    if draws > 1:
        refuse_draws(flow.manifest, rows)
    misfits: list[Misfit] = []
    with output.progress(draws, f"scoring {len(rows)} rows") as bar:
        noise: dict[str, Any] = {"draws": draws, "seed": seed, "on_misfit": misfits.append}
        noise["on_draw"] = lambda: bar.advance(bar.task_ids[0])
        classes: dict[str, Any] = {}
        per_row: dict[str, Any] = {}
        if isinstance(flow, ExportedClasses):
            nats, posterior = score_classes(flow, rows, **noise)
            names = np.array(flow.names)[posterior.argmax(axis=1)]
            classes = {"class": names, "posterior": posterior.max(axis=1)}
            per_row = {"class": names.tolist(), "posterior": posterior.tolist()}
        else:
            nats = score_rows(flow, rows, **noise)
    for misfit in misfits:
        output.warn(misfit.sentence)
    bits = bits_per_dim(nats, flow.dim)
    mean = {"log_prob": fsum(nats) / len(nats), "bits_per_dim": fsum(bits) / len(bits)}  # OverflowError, never infinity
    if as_json:
        per_row = {"log_prob": nats.tolist(), "bits_per_dim": bits.tolist(), **per_row}
        where = {"provider": flow.provider, "provider_reason": flow.provider_reason}
        output.dump({"rows": len(nats), "draws": draws, "seed": seed, **where, "mean": mean, "per_row": per_row})
        return
    text = csv_text({"log_prob": nats, "bits_per_dim": bits, **classes}, 0)
    if target is None:
        output.say_lines(text)
    else:
        with whole_file(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
        output.say(f"wrote {target}")
    scale = float(np.abs(bits).max()) or 1.0  # their squares may be no doubles
    error = scale * float(np.std(bits / scale) / np.sqrt(len(bits)))
    spread = f"standard error {error:.4f}" if len(bits) > 1 else "one row has no spread"
    output.say(
        f"mean of {len(nats)} rows: {mean['log_prob']:.4f} nats, {mean['bits_per_dim']:.4f} bits/dim "
        f"({spread}), provider {flow.provider} ({flow.provider_reason})"
    )


def _show(job: "ScoreJob", *, as_json: bool) -> None:
    """Rows as a table, a piece at a time; as JSON, rows that are few."""
    from lunet_export.streaming.run import Summary, Tally
    from lunet_export.streaming.tables import csv_text

    work, tally = job.work(), Tally()
    per_row: dict[str, list[Any]] = {}
    for first in range(0, job.rows, job.chunk):
        table = work(first, min(job.chunk, job.rows - first))
        tally.add(table)
        if not as_json:
            output.say_lines(csv_text(table, first))
            continue
        for name, values in table.items():
            per_row.setdefault(name, []).extend(values.tolist())
    summary = Summary.of(job.rows, tally.invalid, tally.sums, [work.provider], [work.misfits])
    Misfits().tell_all(summary.misfits)
    if as_json:
        where = {"provider": work.provider, "provider_reason": work.provider_reason}
        counts = {"rows": summary.rows, "invalid": summary.invalid, "draws": job.draws, "seed": job.seed}
        output.dump({**counts, **where, "mean": dict(summary.means), "per_row": per_row})
        return
    known = {name: mean for name, mean in summary.means.items() if mean is not None}
    means = [f"{known[name]:.4f} {unit}" for name, unit in _UNITS.items() if name in known]
    output.say(
        f"mean of {summary.rows - summary.invalid} rows: {', '.join(means) or 'none'}, provider {work.provider} "
        f"({work.provider_reason})"
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
