"""`lunet-export score`."""

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
    """Score rows with the density graph: nats and bits/dim a row, and their mean.

    Integer images get seeded uniform noise; floats are taken as they are.

    Example: lunet-export score exported/digits digits.npy
    """
    from lunet_export.runtime import ExportedFlow
    from lunet_export.runtime.scoring import score as score_rows

    if target is not None and target.suffix != ".csv":
        raise BadInputError(f"Expected -o FILE.csv; got {target}.")
    cuda = cuda_options(device_id, memory_limit, arena, tf32=tf32)
    flow = ExportedFlow(folder, provider=provider.value, threads=threads, cuda=cuda, cuda_graph=cuda_graph)
    rows = idx.read_images(data) if data.suffix == ".gz" or "ubyte" in data.name else arrays.read(data)
    with output.progress(draws, f"scoring {len(rows)} rows") as bar:
        nats = score_rows(flow, rows, draws=draws, seed=seed, on_draw=lambda: bar.advance(bar.task_ids[0]))
    bits = bits_per_dim(nats, flow.dim)
    mean = {"log_prob": float(nats.mean()), "bits_per_dim": float(bits.mean())}
    if as_json:
        per_row = {"log_prob": nats.tolist(), "bits_per_dim": bits.tolist()}
        where = {"provider": flow.provider, "provider_reason": flow.provider_reason}
        output.dump({"rows": len(nats), "draws": draws, "seed": seed, **where, "mean": mean, "per_row": per_row})
        return
    lines = [f"{row},{log_prob:.6f},{bit:.6f}" for row, (log_prob, bit) in enumerate(zip(nats, bits, strict=True))]
    text = "\n".join(["row,log_prob_nats,bits_per_dim", *lines])
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
