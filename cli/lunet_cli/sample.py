"""`lunet-export sample`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lunet_export.runtime import ExportedClasses

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
    from lunet_export.runtime import ExportedClasses
    from lunet_export.streaming import SampleJob

    if target.suffix not in ("", ".png", *FILES):
        raise BadInputError(f"Expected -o of .png, {', '.join(FILES)} or a folder; got {target}.")
    refuse_idle(engine, workers, address)
    cuda = cuda_options(device_id, memory_limit, arena, tf32=tf32)
    many = target.suffix == ".npy" and (n > _MANY or with_log_prob) and latent is None
    if many or target.suffix in ("", ".parquet", ".arrow"):
        if wrong := given({"--latent": latent is not None, "--cuda-graph": cuda_graph}):
            raise BadInputError(f"Expected no {wrong} with rows that are streamed to {target}. Leave it out.")
        stream(
            SampleJob(str(folder), n, seed, temperature, label, with_log_prob, place(provider, threads, cuda)),
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
    flow = open_export(folder, provider, threads, cuda, cuda_graph=cuda_graph)
    if target.suffix == ".png":
        pictures.refuse_unshowable(flow.manifest)
    z = None if latent is None else arrays.read(latent)
    columns, labels = None, None
    if isinstance(flow, ExportedClasses):
        in_rows = target.suffix == ".png" and flow.manifest.image_shape is not None
        x, labels = _of_classes(flow, n, label, z, seed=seed, temperature=temperature, in_rows=in_rows)
        columns = len(x) // len(flow.names) if in_rows and label is None else None
    elif label is None:
        x = flow.decode(flow.latent(n, seed=seed, temperature=temperature) if z is None else z)
    else:
        raise BadInputError(f"Expected no --label; {folder} holds one network, without classes. Leave it out.")
    with whole_file(target) as temporary:
        if target.suffix == ".png":
            pictures.draw(x, flow.manifest, temporary, columns=columns)
        else:
            np.save(temporary, x)
    if as_json:
        where = {"provider": flow.provider, "provider_reason": flow.provider_reason}
        of_class = {} if labels is None else {"labels": labels.tolist()}
        output.dump({"output": str(target), "samples": len(x), "seed": seed, **where, **of_class})
    else:
        more = f" ({n} made whole rows, one a class)" if columns and len(x) > n else ""
        output.say(f"wrote {target}: {len(x)} samples{more}, provider {flow.provider} ({flow.provider_reason})")


def _of_classes(
    flow: "ExportedClasses",
    n: int,
    label: str | None,
    z: "NDArray[np.generic] | None",
    *,
    seed: int,
    temperature: float,
    in_rows: bool,
) -> "tuple[NDArray[np.floating], NDArray[np.int64]]":
    """Rows and the class of each: of one class; or of every class as many, n at least; or of the mixture."""
    if label is None and z is not None:
        raise BadInputError("Expected --label beside --latent: each class decodes by its own network.")
    if label is not None:
        number = flow.number(label)
        x = flow.decode(flow.latent(n, seed=seed, temperature=temperature) if z is None else z, number)
        return x, np.full(len(x), number)
    if not in_rows:
        return flow.sample(n, seed=seed, temperature=temperature), flow.labels(n, seed=seed)
    each = -(-n // len(flow.names))
    parts = [flow.sample(each, seed=seed, label=k, temperature=temperature) for k in range(len(flow.names))]
    return np.concatenate(parts), np.repeat(np.arange(len(flow.names)), each)
