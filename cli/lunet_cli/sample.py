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
)
from lunet_export.data import arrays
from lunet_export.errors import BadInputError
from lunet_export.files import whole_file


def sample(
    folder: Folder,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of samples.")] = 64,
    target: Annotated[Path, typer.Option("--output", "-o", help=".png for a picture, .npy for numbers.")] = Path(
        "grid.png"
    ),
    seed: Seed = 0,
    temperature: Annotated[float, typer.Option(help="Scale of the noise; below 1 is tamer.")] = 1.0,
    latent: Annotated[
        Path | None,
        typer.Option(help="Decode the z of this file; -n, --seed and --temperature do not apply.", show_default=False),
    ] = None,
    provider: Provider = ProviderName.AUTO,
    threads: Threads = None,
    device_id: DeviceId = 0,
    memory_limit: MemoryLimit = None,
    arena: Arena = ArenaName.NEXT_POWER_OF_TWO,
    tf32: Tf32 = False,
    cuda_graph: CudaGraph = False,
    as_json: Json = False,
) -> None:
    """Draw samples with the sampling graph: a picture, or raw numbers.

    Example: lunet-export sample exported/digits -n 100 -o grid.png
    """
    from lunet_export import pictures
    from lunet_export.runtime import ExportedFlow

    if target.suffix not in (".png", ".npy"):
        raise BadInputError(f"Expected -o FILE.png or FILE.npy; got {target}.")
    cuda = cuda_options(device_id, memory_limit, arena, tf32=tf32)
    flow = ExportedFlow(folder, provider=provider.value, threads=threads, cuda=cuda, cuda_graph=cuda_graph)
    if target.suffix == ".png":
        pictures.refuse_unshowable(flow.manifest)
    z = flow.latent(n, seed=seed, temperature=temperature) if latent is None else arrays.read(latent)
    x = flow.decode(z)
    with whole_file(target) as temporary:
        if target.suffix == ".png":
            pictures.draw(x, flow.manifest, temporary)
        else:
            np.save(temporary, x)
    if as_json:
        where = {"provider": flow.provider, "provider_reason": flow.provider_reason}
        output.dump({"output": str(target), "samples": len(x), "seed": seed, **where})
    else:
        output.say(f"wrote {target}: {len(x)} samples, provider {flow.provider} ({flow.provider_reason})")
