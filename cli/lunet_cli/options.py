"""Options that several commands share, spelled once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Argument(help="An exported folder.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what exists.")]
Seed = Annotated[int, typer.Option(help="Seed of the noise.")]
LatentStats = Annotated[
    Path | None, typer.Option(help="The authors' best_stats.pth, folded into the last block.", show_default=False)
]


class ProviderName(StrEnum):
    """Where ONNX Runtime runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class PreprocessName(StrEnum):
    """Pre-processing for checkpoints that do not record theirs."""

    NONE = "none"
    PAPER = "paper"


Provider = Annotated[ProviderName, typer.Option(help="auto takes CUDA when it runs; cuda takes it or stops.")]
Preprocess = Annotated[
    PreprocessName, typer.Option(help="For the authors' files, which do not record it: paper is 256 levels, 1e-5.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads of ONNX Runtime.", show_default=False)]


class TargetName(StrEnum):
    """Where an export is meant to run."""

    CPU = "cpu"
    CUDA = "cuda"


Target = Annotated[TargetName, typer.Option(help="Where predictions and --solver auto assume it runs.")]
Batch = Annotated[int, typer.Option(min=1, help="Rows a call that they assume.")]
Dtype = Annotated[str, typer.Option(help="float32, float64, or float16: matrix products alone in it.")]
