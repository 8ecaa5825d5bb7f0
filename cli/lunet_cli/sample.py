"""`lunet-export sample`."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from lunet_cli import output
from lunet_cli.options import Folder, Json, Provider, ProviderName, Seed, Threads
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
    as_json: Json = False,
) -> None:
    """Draw samples with the sampling graph: a picture, or raw numbers.

    Example: lunet-export sample exported/digits -n 100 -o grid.png
    """
    from lunet_export import pictures
    from lunet_export.runtime import ExportedFlow

    if target.suffix not in (".png", ".npy"):
        raise BadInputError(f"Expected -o FILE.png or FILE.npy; got {target}.")
    flow = ExportedFlow(folder, provider=provider.value, threads=threads)
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
        output.dump({"output": str(target), "samples": len(x), "seed": seed, "provider": flow.provider})
    else:
        output.say(f"wrote {target}: {len(x)} samples, provider {flow.provider} ({flow.provider_reason})")
