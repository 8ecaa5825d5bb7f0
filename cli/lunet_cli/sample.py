"""`lunet-export sample`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lunet_cli import output
from lunet_cli.models import contexts_for, where, where_in_words
from lunet_cli.option_groups import option
from lunet_cli.options import CudaGraph, Folder, Force, Json, RunOptions, Seed, given
from lunet_cli.pipes import source_file
from lunet_cli.streams import FILES, Destination, PartOptions, destination, place, stream
from lunet_export.data import arrays
from lunet_export.errors import BadInputError
from lunet_export.files import whole_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lunet_export.runtime import ExportedClasses, ExportedFlow

_MANY = 100_000  # .npy and .csv files with more samples are written a piece at a time
_SAMPLES = (*FILES, ".csv")  # besides pictures


@dataclass(frozen=True, kw_only=True)
class DrawOptions:
    """Options of what is drawn, and where it goes."""

    n: int = option(64, "Number of samples.", "-n", least=1)
    target: Path = option(
        Path("grid.png"),
        "File to write: .png for a picture; .npy, .csv, .parquet, .arrow; or a folder of parts; - for stdout.",
        "--output",
        "-o",
    )
    seed: Seed = 0
    temperature: float = option(1.0, "Scale of the noise; below 1 gives more typical samples.")
    label: str | None = option(None, "Class to draw, by name or number, if the folder has classes.")
    latent: Path | None = option(
        None, "File of z to decode, or - for stdin; -n, --seed and --temperature then have no effect."
    )
    with_log_prob: bool = option(False, "Also write log p of each sample; not in pictures.")
    context: str | None = option(
        None, "Context of a conditional flow: numbers such as 1.0,2.0, or a file with one row, or one per sample."
    )

    @property
    def is_picture(self) -> bool:
        """Return whether samples become a picture."""
        return self.target.suffix == ".png"

    @property
    def is_streamed(self) -> bool:
        """Return whether samples are written a piece at a time."""
        many = self.target.suffix in (".npy", ".csv") and (self.n > _MANY or self.with_log_prob) and self.latent is None
        return many or self.target.suffix in ("", ".parquet", ".arrow")


def sample(
    folder: Folder,
    *,
    draw: DrawOptions,
    parts: PartOptions,
    run: RunOptions,
    cuda_graph: CudaGraph = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Draw samples with the sampling graph: a picture, or numbers.

    With classes and no --label, numbers come from the mixture, and a picture of images has one row per class. With -o -
    the samples go to stdout, as --format csv or --format npy.

    Example: lunet-export sample runs/digits -n 100 -o grid.png
    Example: lunet-export sample runs/given-age --context 40 -n 1000 -o samples.csv
    """
    target = draw.target
    if target.suffix not in ("", ".png", *_SAMPLES):
        raise BadInputError(f"Expected -o of .png, {', '.join(_SAMPLES)} or a folder; got {target}.")
    parts.validate_ray_options()
    with destination(target, parts, force=force, as_json=as_json) as into:
        _sample(folder, replace(draw, target=into.path), into, parts, run, cuda_graph=cuda_graph, as_json=as_json)


def _sample(
    folder: Path,
    draw: DrawOptions,
    into: Destination,
    parts: PartOptions,
    run: RunOptions,
    *,
    cuda_graph: bool,
    as_json: bool,
) -> None:
    """Draw samples whole, or a piece at a time."""
    from lunet_export.streaming import SampleJob

    target = draw.target
    if draw.is_streamed:
        if wrong := given({"--latent": draw.latent is not None, "--cuda-graph": cuda_graph}):
            raise BadInputError(f"Expected no {wrong} with rows that are streamed to {target}. Leave it out.")
        chosen = (draw.n, draw.seed, draw.temperature, draw.label, draw.with_log_prob)
        stream(SampleJob(str(folder), *chosen, place(run), draw.context), into, parts, as_json=as_json)
        return
    parts.validate_folder_options(f"the file {target}")
    if draw.with_log_prob and draw.latent is not None:
        raise BadInputError("Expected no --latent with --with-log-prob, which draws z itself. Leave it out.")
    if draw.with_log_prob:
        raise BadInputError(f"Expected -o of {', '.join(_SAMPLES)} or a folder for --with-log-prob; got {target}.")
    flow = place(run, cuda_graph=cuda_graph).open(str(folder), given=draw.context is not None)
    _sample_whole(flow, draw, into, as_json=as_json)


def _sample_whole(
    flow: "ExportedFlow | ExportedClasses", draw: DrawOptions, into: Destination, *, as_json: bool
) -> None:
    """Draw all samples at once, write them and report it."""
    from lunet_export.pictures import samples as pictures
    from lunet_export.streaming import jobs, tables

    if draw.is_picture:
        pictures.validate_drawable(flow.manifest)
    z = _latents(draw.latent)
    classes = flow.manifest.classes if flow.context is None else None
    in_rows = draw.is_picture and flow.manifest.image_shape is not None and classes is not None
    seed, temperature = draw.seed, draw.temperature
    count = draw.n if z is None else len(z)
    context = contexts_for(flow.context, draw.context, count)
    table = jobs.draw(
        flow, draw.n, seed=seed, temperature=temperature, label=draw.label, z=z, each=in_rows, context=context
    )
    x, labels = table["x"], table.get("label")
    columns = len(x) // len(classes.names) if classes and in_rows and draw.label is None else None
    if draw.target.suffix == ".csv":
        with tables.writer(draw.target, len(x), flow.columns) as file:
            file.append(table)
    else:
        with whole_file(draw.target) as temporary:
            if draw.is_picture:
                pictures.draw(x, flow.manifest, temporary, columns=columns)
            else:
                np.save(temporary, x)
    if as_json:
        of_class = {} if labels is None else {"labels": labels.tolist()}
        output.dump({"output": str(draw.target), "samples": len(x), "seed": draw.seed, **where(flow), **of_class})
    else:
        more = f" ({draw.n} rounded up to whole rows, one per class)" if columns and len(x) > draw.n else ""
        into.say(f"{len(x)} samples{more}, {where_in_words(flow)}")


def _latents(path: Path | None) -> "NDArray[Any] | None":
    if path is None:
        return None
    with source_file(path) as file:
        return arrays.read(file)
