"""`lunet-export sample`."""

from pathlib import Path
from typing import Annotated

import numpy as np
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
    USUAL_ROWS,
    Address,
    Engine,
    EngineName,
    FormatName,
    Parts,
    Resume,
    RowsPerPart,
    Workers,
    place,
    refuse_idle,
    stream,
)
from lunet_export.data import arrays
from lunet_export.errors import BadInputError
from lunet_export.files import whole_file

_MANY = 100_000  # .npy files of more samples are written a piece at a time


def sample(
    folder: Folder,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of samples.")] = 64,
    target: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help=".png for a picture; .npy, .parquet, .arrow, or a folder of parts for any number."
        ),
    ] = Path("grid.png"),
    seed: Seed = 0,
    temperature: Annotated[float, typer.Option(help="Scale of the noise; below 1 is tamer.")] = 1.0,
    label: Annotated[
        str | None,
        typer.Option(help="Class to draw, by name or number, where the folder has classes.", show_default=False),
    ] = None,
    latent: Annotated[
        Path | None,
        typer.Option(help="Decode the z of this file; -n, --seed and --temperature do not apply.", show_default=False),
    ] = None,
    with_log_prob: Annotated[
        bool, typer.Option("--with-log-prob", help="Also log p of each, in .parquet, .arrow, .npy and parts.")
    ] = False,
    engine: Engine = EngineName.LOCAL,
    workers: Workers = None,
    address: Address = None,
    form: Annotated[FormatName, typer.Option("--format", help="Of the parts.")] = FormatName.PARQUET,
    rows_per_part: RowsPerPart = USUAL_ROWS,
    resume: Resume = False,
    provider: Provider = ProviderName.AUTO,
    threads: Threads = None,
    device_id: DeviceId = 0,
    memory_limit: MemoryLimit = None,
    arena: Arena = ArenaName.NEXT_POWER_OF_TWO,
    tf32: Tf32 = False,
    cuda_graph: CudaGraph = False,
    as_json: Json = False,
) -> None:
    """Draw samples with the sampling graph: a picture, or numbers.

    With a network a class and no --label, numbers are those of the mixture, and a picture of images has a row a class.

    Example: lunet-export sample exported/digits -n 100 -o grid.png
    """
    from lunet_export.figures import pictures
    from lunet_export.streaming import SampleJob
    from lunet_export.streaming.jobs import draw

    if target.suffix not in ("", ".png", *FILES):
        raise BadInputError(f"Expected -o of .png, {', '.join(FILES)} or a folder; got {target}.")
    refuse_idle(engine, workers, address)
    cuda = cuda_options(device_id, memory_limit, arena, tf32=tf32)
    where = place(provider, threads, cuda, cuda_graph=cuda_graph)
    many = target.suffix == ".npy" and (n > _MANY or with_log_prob) and latent is None
    if many or target.suffix in ("", ".parquet", ".arrow"):
        if wrong := given({"--latent": latent is not None, "--cuda-graph": cuda_graph}):
            raise BadInputError(f"Expected no {wrong} with rows that are streamed to {target}. Leave it out.")
        stream(
            SampleJob(str(folder), n, seed, temperature, label, with_log_prob, where),
            target,
            Parts(engine, workers, address, form, rows_per_part, resume),
            as_json=as_json,
        )
        return
    if wrong := given({"--engine": engine is not EngineName.LOCAL, "--resume": resume}):
        raise BadInputError(f"Expected a folder for -o with {wrong}; got the file {target}.")
    if with_log_prob and latent is not None:
        raise BadInputError("Expected no --latent with --with-log-prob, whose z is drawn. Leave it out.")
    if with_log_prob:
        raise BadInputError(f"Expected -o of {', '.join(FILES)} or a folder for --with-log-prob; got {target}.")
    job = SampleJob(str(folder), n, seed, temperature, label, place=where)
    flow = job.place.open(job.folder)
    if target.suffix == ".png":
        pictures.refuse_unshowable(flow.manifest)
    z = None if latent is None else arrays.read(latent)
    in_rows = target.suffix == ".png" and flow.manifest.image_shape is not None and bool(flow.manifest.names)
    table = draw(flow, n, seed=seed, temperature=temperature, label=label, z=z, each=in_rows)
    x, labels = table["x"], table.get("label")
    columns = len(x) // len(flow.manifest.names) if in_rows and label is None else None
    with whole_file(target) as temporary:
        if target.suffix == ".png":
            pictures.draw(x, flow.manifest, temporary, columns=columns)
        else:
            np.save(temporary, x)
    if as_json:
        by = {"provider": flow.provider, "provider_reason": flow.provider_reason}
        of_class = {} if labels is None else {"labels": labels.tolist()}
        output.dump({"output": str(target), "samples": len(x), "seed": seed, **by, **of_class})
    else:
        more = f" ({n} made whole rows, one a class)" if columns and len(x) > n else ""
        output.say(f"wrote {target}: {len(x)} samples{more}, provider {flow.provider} ({flow.provider_reason})")
