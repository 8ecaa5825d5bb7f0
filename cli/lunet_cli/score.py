"""`lunet-export score`."""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

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
)
from lunet_export.data import arrays, idx
from lunet_export.errors import BadInputError
from lunet_export.files import whole_file
from lunet_export.likelihood import bits_per_dim


def score(
    folder: Folder,
    data: Annotated[Path, typer.Argument(help=".npy, .npz, .csv, or IDX images.", show_default=False)],
    target: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the rows as .csv instead.", show_default=False)
    ] = None,
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

    Integer images get seeded uniform noise; floats are taken as they are. With a network a class, the mixture's, with
    the most probable class and its posterior.

    Example: lunet-export score exported/digits digits.npy
    """
    from lunet_export.runtime import ExportedClasses
    from lunet_export.runtime.scoring import score as score_rows
    from lunet_export.runtime.scoring import score_classes

    if target is not None and target.suffix != ".csv":
        raise BadInputError(f"Expected -o FILE.csv; got {target}.")
    cuda = cuda_options(device_id, memory_limit, arena, tf32=tf32)
    flow = open_export(folder, provider, threads, cuda, cuda_graph=cuda_graph)
    rows = idx.read_images(data) if data.suffix == ".gz" or "ubyte" in data.name else arrays.read(data)
    with output.progress(draws, f"scoring {len(rows)} rows") as bar:
        noise: dict[str, Any] = {"draws": draws, "seed": seed, "on_draw": lambda: bar.advance(bar.task_ids[0])}
        if isinstance(flow, ExportedClasses):
            nats, posterior = score_classes(flow, rows, **noise)
            names = [flow.names[number] for number in posterior.argmax(axis=1)]
            classes = {"class": names, "posterior": posterior.tolist()}
            added = [
                ["class", "posterior"],
                *([n, f"{p:.6f}"] for n, p in zip(names, posterior.max(axis=1), strict=True)),
            ]
        else:
            nats, classes = score_rows(flow, rows, **noise), {}
            added = [[] for _ in range(len(nats) + 1)]
    bits = bits_per_dim(nats, flow.dim)
    mean = {"log_prob": float(nats.mean()), "bits_per_dim": float(bits.mean())}
    if as_json:
        per_row = {"log_prob": nats.tolist(), "bits_per_dim": bits.tolist(), **classes}
        where = {"provider": flow.provider, "provider_reason": flow.provider_reason}
        output.dump({"rows": len(nats), "draws": draws, "seed": seed, **where, "mean": mean, "per_row": per_row})
        return
    figures = [
        [str(row), f"{entry:.6f}", f"{bit:.6f}"] for row, (entry, bit) in enumerate(zip(nats, bits, strict=True))
    ]
    table = [["row", "log_prob_nats", "bits_per_dim"], *figures]
    text = _as_csv([[*line, *more] for line, more in zip(table, added, strict=True)])
    if target is None:
        output.say(text)
    else:
        with whole_file(target) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    spread = float(np.std(bits) / np.sqrt(len(bits)))
    output.say(
        f"mean of {len(nats)} rows: {mean['log_prob']:.4f} nats, {mean['bits_per_dim']:.4f} bits/dim "
        f"(standard error {spread:.4f}), provider {flow.provider} ({flow.provider_reason})"
    )


def _as_csv(lines: Sequence[Sequence[str]]) -> str:
    """Comma-separated lines; a class's name is quoted where it must be."""
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().removesuffix("\n")
