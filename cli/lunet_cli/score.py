"""`lunet-export score`."""

from dataclasses import dataclass
from enum import StrEnum
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from typer import Argument, Option

from lunet_cli import output
from lunet_cli.models import open_export, where, where_in_words
from lunet_cli.option_groups import option
from lunet_cli.options import CudaGraph, Folder, Json, RunOptions, Seed
from lunet_cli.streams import FILES, MANY, Misfits, PartOptions, is_folder, place, stream
from lunet_export.data import arrays, idx
from lunet_export.errors import BadInputError, DataError
from lunet_export.files import whole_file
from lunet_export.likelihood import bits_per_dim

if TYPE_CHECKING:
    from lunet_export.runtime import ExportedClasses, ExportedFlow
    from lunet_export.runtime.misfit import Misfit
    from lunet_export.streaming import ScoreJob
    from lunet_export.streaming.tables import Table


_UNITS = {"log_prob": "nats", "bits_per_dim": "bits/dim"}


class InvalidName(StrEnum):
    """What becomes of rows that are not finite or outside the domain."""

    STOP = "stop"
    NAN = "nan"


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """Which models score which numbers of a row."""

    beside: list[Path] | None = option(None, "Another model: p is their mean. Repeatable.", "--with")
    weights: str | None = option(None, "Of FOLDER and each --with, as 0.5,0.3,0.2.", shown="equal")
    columns: str | None = option(None, "Of Parquet and Arrow: a,b,c or one list of numbers.", shown="all")
    invalid: InvalidName = option(
        InvalidName.STOP, "Rows not finite, outside or too far out: stop there, or give them nan."
    )


@dataclass(frozen=True, kw_only=True)
class NoiseOptions:
    """The noise that integer images get."""

    draws: int = option(1, "Noise draws for integer images.", least=1)
    seed: Seed = 0


def score(
    folder: Folder,
    data: Annotated[Path, Argument(help=".npy, .npz, .csv, IDX images, .parquet, .arrow, or a folder of .parquet.")],
    *,
    target: Annotated[
        Path | None,
        Option("--output", "-o", help=".csv, .parquet, .arrow, .npy, or a folder of parts for any number of rows."),
    ] = None,
    pooling: PoolOptions,
    parts: PartOptions,
    noise: NoiseOptions,
    run: RunOptions,
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
    from lunet_export.streaming.sources import SUFFIXES

    if target is not None and target.suffix not in ("", ".csv", *FILES):
        raise BadInputError(f"Expected -o of .csv, {', '.join(FILES)} or a folder; got {target}.")
    parts.refuse_idle()
    written = is_folder(target) or (target is not None and target.suffix in FILES)
    piecewise = pooling.invalid is not InvalidName.STOP or (not (as_json or cuda_graph) and _is_long(data))
    if not (written or piecewise or pooling.beside or data.is_dir() or data.suffix in SUFFIXES[1:]):
        parts.refuse_without_folder(target or "none")
        _refuse_alone(pooling, data)
        flow = open_export(folder, run, cuda_graph=cuda_graph)
        _tell(*_score(flow, data, noise), flow, noise, target, as_json=as_json)
        return
    if cuda_graph:
        raise BadInputError("Expected no --cuda-graph with parts, --with, --invalid, Parquet or Arrow. Leave it out.")
    job = _job(folder, data, pooling, noise, run)
    if target is not None:
        stream(job, target, parts, as_json=as_json)
    else:
        parts.refuse_without_folder("none", engine="--engine ray")
        _show(job, as_json=as_json)


def _refuse_alone(pooling: PoolOptions, data: Path) -> None:
    """Raise where something is chosen that only several models, or only tables, have."""
    if pooling.weights:
        raise BadInputError("Expected --with FOLDER beside --weights, for each model after the first; got none.")
    if pooling.columns:
        raise BadInputError(f"Expected Parquet or Arrow for --columns; got {data}. Leave it out.")


def _job(folder: Path, data: Path, pooling: PoolOptions, noise: NoiseOptions, run: RunOptions) -> "ScoreJob":
    from lunet_export.streaming import ScoreJob

    return ScoreJob(
        tuple(map(str, (folder, *(pooling.beside or ())))),
        str(data),
        tuple(pooling.columns.split(",")) if pooling.columns else (),
        numbers_of(pooling.weights),
        noise.draws,
        noise.seed,
        pooling.invalid.value,
        place(run),
    )


def _score(flow: "ExportedFlow | ExportedClasses", data: Path, noise: NoiseOptions) -> "tuple[Table, Table]":
    """Both units of each row as columns, with the most probable class where there are classes; and for a document."""
    from lunet_export.runtime import ExportedClasses
    from lunet_export.runtime.scoring import score, score_classes
    from lunet_export.streaming.jobs import refuse_draws

    rows = idx.read_images(data) if data.suffix == ".gz" or "ubyte" in data.name else arrays.read(data)
    if rows.ndim == 1 and flow.dim != 1:
        raise DataError(f"Expected rows of {flow.dim} numbers in {data}; it has shape {rows.shape}. Save a row a line.")
    if noise.draws > 1:
        refuse_draws(flow.manifest, rows)
    misfits: list[Misfit] = []
    classes: Table = {}
    with output.counting(noise.draws, f"scoring {len(rows)} rows") as more:
        how: dict[str, Any] = {"draws": noise.draws, "seed": noise.seed, "on_misfit": misfits.append}
        how["on_draw"] = lambda: more(1)
        if isinstance(flow, ExportedClasses):
            nats, posterior = score_classes(flow, rows, **how)
            classes = {"class": np.array(flow.names)[posterior.argmax(axis=1)], "posterior": posterior}
        else:
            nats = score(flow, rows, **how)
    for misfit in misfits:
        output.warn(misfit.sentence)
    per_row = {"log_prob": nats, "bits_per_dim": bits_per_dim(nats, flow.dim), **classes}
    return per_row | ({"posterior": posterior.max(axis=1)} if classes else {}), per_row


def _tell(
    columns: "Table",
    per_row: "Table",
    flow: "ExportedFlow | ExportedClasses",
    noise: NoiseOptions,
    target: Path | None,
    *,
    as_json: bool,
) -> None:
    from lunet_export.streaming.tables import csv_text

    count, bits = len(columns["log_prob"]), columns["bits_per_dim"]
    mean = {name: fsum(columns[name]) / count for name in _UNITS}  # OverflowError, never infinity
    if as_json:
        counts = {"rows": count, "draws": noise.draws, "seed": noise.seed}
        lists = {name: values.tolist() for name, values in per_row.items()}
        output.dump({**counts, **where(flow), "mean": mean, "per_row": lists})
        return
    text = csv_text(columns, 0)
    if target is None:
        output.say_lines(text)
    else:
        with whole_file(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
        output.say(f"wrote {target}")
    scale = float(np.abs(bits).max()) or 1.0  # their squares may be no doubles
    error = scale * float(np.std(bits / scale) / np.sqrt(count))
    spread = f"standard error {error:.4f}" if count > 1 else "one row has no spread"
    means = ", ".join(f"{mean[name]:.4f} {unit}" for name, unit in _UNITS.items())
    output.say(f"mean of {count} rows: {means} ({spread}), {where_in_words(flow)}")


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
        counts = {"rows": summary.rows, "invalid": summary.invalid, "draws": job.draws, "seed": job.seed}
        output.dump({**counts, **where(work), "mean": dict(summary.means), "per_row": per_row})
        return
    known = {name: mean for name, mean in summary.means.items() if mean is not None}
    means = [f"{known[name]:.4f} {unit}" for name, unit in _UNITS.items() if name in known]
    counted = summary.rows - summary.invalid
    output.say(f"mean of {counted} rows: {', '.join(means) or 'none'}, {where_in_words(work)}")


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
