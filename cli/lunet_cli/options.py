"""Options that several commands share, spelled once."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, TypedDict

from typer import Argument, Option

from lunet_cli.option_groups import one_of, option
from lunet_export.errors import BadInputError
from lunet_export.runtime.cuda import CudaOptions

if TYPE_CHECKING:
    from lunet_export.export import Load
    from lunet_export.runtime import providers

Folder = Annotated[Path, Argument(help="An exported folder.")]
ModelOrFolder = Annotated[Path, Argument(help="A model file, or an exported folder.")]
Json = Annotated[bool, Option("--json", help="Print JSON for machines.")]
Force = Annotated[bool, Option(help="Replace what exists.")]
DataSet = Annotated[
    str,
    Argument(
        help="digits, mnist, fashion-mnist, mixture, eight-gaussians, two-moons, checkerboard, rings, rose, tree, or a "
        ".npy, .npz, .csv, .parquet or .arrow file; - for .npy or CSV on stdin."
    ),
]
DataDir = Annotated[Path, Option(envvar="LUNET_DATA_DIR", help="Where the MNIST files lie.")]
Runtime = Annotated[Path | None, Option(help="An unpacked onnxruntime-web for the browser. Default: from npm.")]
Seed = Annotated[int, Option(help="Seed of the noise.")]
PaperConvention = Annotated[
    bool,
    Option(
        help="Also bits/dim as the released code would print them, to compare with the paper: without the Jacobian of "
        "the pre-processing, pi for 2 pi."
    ),
]
#: What a figure in the paper's convention is called.
IN_PAPER_CONVENTION = "as the released code would print it"
#: The names of `graphs.solvers`, which takes long to import.
SOLVER_WORDS = ("unrolled", "rows", "meeting", "inverse", "fused")
#: Where folders go that no -o names: git ignores it in a clone, whose `exported` holds folders of other models.
DEFAULT_PARENT = Path("runs")
WHERE = "Where it runs"  # the panel of the help
CudaGraph = Annotated[bool, Option(help="On CUDA, capture each batch size once and replay it.", rich_help_panel=WHERE)]
DeviceId = Annotated[
    int, Option(min=0, help="CUDA device, as CUDA_VISIBLE_DEVICES leaves them.", rich_help_panel=WHERE)
]
Dtype = Annotated[
    str,
    Option(
        help="Numbers of the graphs; with float16 the matrix products alone are in it.",
        **one_of("float32", "float64", "float16"),
    ),
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


class TargetName(StrEnum):
    """Where an export is meant to run."""

    CPU = "cpu"
    CUDA = "cuda"


Provider = Annotated[
    ProviderName, Option(help="auto takes CUDA when it runs; cuda takes it or stops.", rich_help_panel=WHERE)
]


class RunSettings(TypedDict):
    """What `RunOptions` are for whatever opens graphs."""

    provider: "providers.Provider"
    threads: int | None
    cuda: CudaOptions


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How ONNX Runtime runs the graphs."""

    PANEL: ClassVar[str] = WHERE

    provider: Provider = ProviderName.AUTO
    threads: int | None = option(None, "CPU threads of ONNX Runtime.", least=1)
    device_id: DeviceId = 0
    memory_limit: int | None = option(None, "MB of the GPU that each graph's arena may take.", least=1)
    arena: ArenaName = option(
        ArenaName.NEXT_POWER_OF_TWO, "How that arena grows; same-as-requested spares a shared GPU."
    )
    tf32: bool = option(False, "Round the inputs of CUDA's matrix products to TF32; judged by its own budget.")

    @property
    def cuda(self) -> CudaOptions:
        """The options of CUDA."""
        limit = None if self.memory_limit is None else self.memory_limit * 10**6
        return CudaOptions(self.device_id, limit, self.arena.value, self.tf32)

    @property
    def settings(self) -> RunSettings:
        """The keywords of whatever opens graphs."""
        return {"provider": self.provider.value, "threads": self.threads, "cuda": self.cuda}


@dataclass(frozen=True, kw_only=True)
class AuthorsOptions:
    """What the authors' own files do not record."""

    PANEL: ClassVar[str] = "For files of the authors' code"

    latent_stats: Path | None = option(
        None, "The authors' best_stats.pth, folded into the last block; it fits last.pth."
    )
    preprocess: PreprocessName = option(
        PreprocessName.NONE, "For the authors' files, which do not record it: paper is 256 levels, 1e-5."
    )

    def validate_without_folder(self, folder: Path) -> None:
        """Raise BadInputError where one of these is given with a folder."""
        if self != NO_AUTHORS_OPTIONS:
            raise BadInputError(
                f"Expected neither --latent-stats nor --preprocess with a folder; {folder} has its own."
            )


NO_AUTHORS_OPTIONS = AuthorsOptions()


COLUMNS: str | None = option(None, "Of a file, by name or by number from one: a,b,c.", shown="all")


def column_list(columns: str | None) -> tuple[str, ...]:
    """Return what `--columns` names, one after another."""
    return tuple(name.strip() for name in columns.split(",")) if columns else ()


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How rows are read for a model, and its noise drawn."""

    data_dir: DataDir = Path("data")
    levels: int | None = option(None, "Grey levels of a file of integers. Default: the model's.")
    columns: str | None = COLUMNS
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """Where, and with how many rows per call, an export is meant to run."""

    target: TargetName = option(TargetName.CPU, "Where predictions and --solver auto assume it runs.")
    batch: int = option(1, "Rows a call that they assume.", least=1)

    @property
    def load(self) -> "Load":
        """The same for an export."""
        from lunet_export.export import Load

        return Load(self.target.value, self.batch)


ONE_ROW_ON_CPU = LoadOptions()
