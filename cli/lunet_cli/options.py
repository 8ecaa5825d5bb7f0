"""Options that several commands share, spelled once."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lunet_export.runtime.cuda import CudaOptions

Folder = Annotated[Path, typer.Argument(help="An exported folder.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what exists.")]
DataSet = Annotated[
    str,
    typer.Argument(
        help="digits, mnist, fashion-mnist, mixture, eight-gaussians, two-moons, checkerboard, rings, rose, tree, or a "
        ".npy, .npz or .csv file.",
        show_default=False,
    ),
]
DataDir = Annotated[Path, typer.Option(envvar="LUNET_DATA_DIR", help="Where the MNIST files lie.")]
Against = Annotated[
    str | None,
    typer.Option(help="Other data of the same kind: can log p tell them apart? AUROC.", show_default=False),
]
Levels = Annotated[
    int | None, typer.Option(help="Grey levels of a file of integers. Default: the model's.", show_default=False)
]
Runtime = Annotated[
    Path | None,
    typer.Option(help="An unpacked onnxruntime-web for the browser. Default: from npm.", show_default=False),
]
Seed = Annotated[int, typer.Option(help="Seed of the noise.")]
LatentStats = Annotated[
    Path | None,
    typer.Option(help="The authors' best_stats.pth, folded into the last block; it fits last.pth.", show_default=False),
]


def given(options: Mapping[str, bool]) -> str:
    """The names of those that were given, for a sentence; empty where none was."""
    return " and ".join(name for name, is_given in options.items() if is_given)


class ProviderName(StrEnum):
    """Where ONNX Runtime runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class PreprocessName(StrEnum):
    """Pre-processing for checkpoints that do not record theirs."""

    NONE = "none"
    PAPER = "paper"


class ArenaName(StrEnum):
    """How ONNX Runtime's memory on the GPU grows."""

    NEXT_POWER_OF_TWO = "next-power-of-two"
    SAME_AS_REQUESTED = "same-as-requested"


DeviceId = Annotated[int, typer.Option(min=0, help="CUDA device, as CUDA_VISIBLE_DEVICES leaves them.")]
MemoryLimit = Annotated[
    int | None, typer.Option(min=1, help="MB of the GPU that each graph's arena may take.", show_default=False)
]
Arena = Annotated[ArenaName, typer.Option(help="How that arena grows; same-as-requested spares a shared GPU.")]
Tf32 = Annotated[
    bool, typer.Option("--tf32", help="Round the inputs of CUDA's matrix products to TF32; judged by its own budget.")
]
CudaGraph = Annotated[bool, typer.Option("--cuda-graph", help="On CUDA, capture each batch size once and replay it.")]


def cuda_options(device_id: int, memory_limit: int | None, arena: ArenaName, *, tf32: bool) -> CudaOptions:
    """The options of a command line, typed."""
    return CudaOptions(device_id, None if memory_limit is None else memory_limit * 10**6, arena.value, tf32)


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
