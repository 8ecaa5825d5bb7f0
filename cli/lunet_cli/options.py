"""Options that several commands share, each defined once."""

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
        help="A built-in set (digits, mnist, fashion-mnist, mixture, eight-gaussians, two-moons, checkerboard, rings, "
        "rose, tree), or a .npy, .npz, .csv, .parquet or .arrow file; - reads .npy or CSV from stdin."
    ),
]
DataDir = Annotated[Path, Option(envvar="LUNET_DATA_DIR", help="Folder of the MNIST files.")]
Runtime = Annotated[
    Path | None, Option(help="Folder of an unpacked onnxruntime-web, for the browser. Default: fetched from npm.")
]
Seed = Annotated[int, Option(help="Random seed of the noise.")]
PaperConvention = Annotated[
    bool,
    Option(
        help="Also print bits/dim as the code of the paper does: without the Jacobian of the pre-processing, "
        "and with pi in place of 2 pi."
    ),
]
#: Words after a figure in the paper's convention.
IN_PAPER_CONVENTION = "as the released code prints it"
#: The names in `graphs.solvers`, repeated here because that module takes long to import.
SOLVER_WORDS = ("unrolled", "rows", "meeting", "inverse", "fused")
#: Folder of exports without -o. Not `exported`: in a clone that folder holds the committed models.
DEFAULT_PARENT = Path("runs")
WHERE = "Where it runs"  # a panel of the help
CudaGraph = Annotated[
    bool, Option(help="On CUDA: capture a CUDA graph per batch size and replay it.", rich_help_panel=WHERE)
]
DeviceId = Annotated[
    int, Option(min=0, help="Number of the CUDA device, as CUDA_VISIBLE_DEVICES numbers them.", rich_help_panel=WHERE)
]
Dtype = Annotated[
    str,
    Option(
        help="Dtype of the graphs; with float16 only the matrix products are float16.",
        **one_of("float32", "float64", "float16"),
    ),
]


def given(options: Mapping[str, bool]) -> str:
    """Return the names of the options that were given, for a sentence; an empty text if none was."""
    return " and ".join(name for name, is_given in options.items() if is_given)


class ProviderName(StrEnum):
    """Execution providers of ONNX Runtime."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class PreprocessName(StrEnum):
    """Pre-processing of checkpoints that do not record theirs."""

    NONE = "none"
    PAPER = "paper"


class ArenaName(StrEnum):
    """Strategies by which ONNX Runtime's GPU memory arena grows."""

    NEXT_POWER_OF_TWO = "next-power-of-two"
    SAME_AS_REQUESTED = "same-as-requested"


class TargetName(StrEnum):
    """Devices that an export can be meant for."""

    CPU = "cpu"
    CUDA = "cuda"


Provider = Annotated[
    ProviderName,
    Option(help="Execution provider; auto takes CUDA if it runs, cuda stops if it does not.", rich_help_panel=WHERE),
]


class RunSettings(TypedDict):
    """`RunOptions` as keywords of the functions that open graphs."""

    provider: "providers.Provider"
    threads: int | None
    cuda: CudaOptions


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of running the graphs."""

    PANEL: ClassVar[str] = WHERE

    provider: Provider = ProviderName.AUTO
    threads: int | None = option(None, "Number of CPU threads of ONNX Runtime.", least=1)
    device_id: DeviceId = 0
    memory_limit: int | None = option(None, "GPU memory that the arena of each graph may take, in MB.", least=1)
    arena: ArenaName = option(
        ArenaName.NEXT_POWER_OF_TWO, "How the arena grows; same-as-requested takes less of a shared GPU."
    )
    tf32: bool = option(False, "Round the inputs of CUDA's matrix products to TF32; checks then use TF32 tolerances.")

    @property
    def cuda(self) -> CudaOptions:
        """Return the options of CUDA."""
        limit = None if self.memory_limit is None else self.memory_limit * 10**6
        return CudaOptions(self.device_id, limit, self.arena.value, self.tf32)

    @property
    def settings(self) -> RunSettings:
        """Return the keywords of the functions that open graphs."""
        return {"provider": self.provider.value, "threads": self.threads, "cuda": self.cuda}


@dataclass(frozen=True, kw_only=True)
class AuthorsOptions:
    """Options for the authors' files, with what these do not record."""

    PANEL: ClassVar[str] = "For files of the authors' code"

    latent_stats: Path | None = option(
        None, "The authors' best_stats.pth, to fold into the last block; it belongs to last.pth."
    )
    preprocess: PreprocessName = option(
        PreprocessName.NONE, "Pre-processing, which the authors' files do not record; paper: 256 levels, margin 1e-5."
    )

    def validate_without_folder(self, folder: Path) -> None:
        """Raise BadInputError if one of these options is given with a folder."""
        if self != NO_AUTHORS_OPTIONS:
            raise BadInputError(
                f"Expected neither --latent-stats nor --preprocess with a folder; {folder} has its own."
            )


NO_AUTHORS_OPTIONS = AuthorsOptions()


COLUMNS: str | None = option(None, "Columns of a file, by name or by number from one: a,b,c.", shown="all")


def column_list(columns: str | None) -> tuple[str, ...]:
    """Return the columns that `--columns` names, in order."""
    return tuple(name.strip() for name in columns.split(",")) if columns else ()


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Options of reading rows for a model and drawing noise."""

    data_dir: DataDir = Path("data")
    levels: int | None = option(None, "Number of grey levels of a file of integers. Default: the model's.")
    columns: str | None = COLUMNS
    seed: Seed = 0


CONTEXT: str | None = option(
    None,
    "Context of a conditional flow: numbers such as 1.0,2.0, or a file with one row, or one per row of DATA.",
    shown="the columns of DATA with the names of the context",
)


@dataclass(frozen=True, kw_only=True)
class RowsOptions(DataOptions):
    """Options of reading rows for one network, which may take a context."""

    context: str | None = CONTEXT


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """The device and the batch size that an export is meant for."""

    target: TargetName = option(TargetName.CPU, "Device that predictions and --solver auto assume.")
    batch: int = option(1, "Rows per call that predictions and --solver auto assume.", least=1)

    @property
    def load(self) -> "Load":
        """Return the same as settings of an export."""
        from lunet_export.export import Load

        return Load(self.target.value, self.batch)


ONE_ROW_ON_CPU = LoadOptions()
