"""The options of `lunet-export train`."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lunet_cli.option_groups import chosen
from lunet_cli.options import DataDir
from lunet_export.errors import BadInputError

if TYPE_CHECKING:
    from lunet_export.data import Dataset
    from lunet_export.training import FitSettings

_FINER: dict[str, Any] = {"rich_help_panel": "Finer choices"}
_JKO: dict[str, Any] = {"rich_help_panel": "Of JKO-iFlow"}


class FlowName(StrEnum):
    """What is trained."""

    LUNET = "lunet"
    REALNVP = "realnvp"
    REALNVP_DENSE = "realnvp-dense"
    JKO = "jko"


class InitName(StrEnum):
    """Where training starts."""

    GREEDY = "greedy"
    BEND = "bend"
    WHITEN = "whiten"
    IDENTITY = "identity"


class ActivationName(StrEnum):
    """What lies between the blocks of an LU-Net."""

    LEAKY_SOFTPLUS = "leaky-softplus"
    LEAKY_RELU = "leaky-relu"
    LEAKY_TANH = "leaky-tanh"


class OptimizerName(StrEnum):
    """How steps are taken."""

    ADAM = "adam"
    L_BFGS = "l-bfgs"


class SignsName(StrEnum):
    """Signs of the diagonals of U."""

    ALTERNATING = "alternating"
    RANDOM = "random"
    POSITIVE = "positive"


class ScheduleName(StrEnum):
    """What becomes of the learning rate."""

    SCHEDULE_FREE = "schedule-free"
    LINEAR = "linear"
    ONE_CYCLE = "one-cycle"
    CONSTANT = "constant"


class RegulariserName(StrEnum):
    """What may be added to the likelihood."""

    LOG_DIAGONAL = "log-diagonal"
    BALANCE = "balance"


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """What kind of network is trained; the family has its own usual values."""

    blocks: Annotated[int | None, typer.Option(min=1, help="Default: 4; 13 up to 4-D; at most 8 of JKO-iFlow.")] = None
    alpha: Annotated[float | None, typer.Option(help="Smallest slope of the activation. Default: 0.1.")] = None
    activation: Annotated[
        ActivationName | None,
        typer.Option(
            help="Of LU-Net; leaky-relu is piecewise linear, leaky-tanh compresses both tails. "
            "Default: leaky-softplus, the paper's."
        ),
    ] = None
    width: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Planes of a RealNVP on images, hidden numbers of a JKO-iFlow (both: 64) or of a dense RealNVP.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class JKOOptions:
    """What kind of JKO-iFlow is trained."""

    hidden_layers: Annotated[
        int | None, typer.Option(min=1, help="Of a velocity field. Default: 2, whose divergence is cheap.", **_JKO)
    ] = None
    steps: Annotated[int | None, typer.Option(min=1, help="Runge-Kutta steps a block. Default: 3.", **_JKO)] = None
    step_size: Annotated[
        float | None, typer.Option(help="h of the first block. Default: 0.07; 0.1 beyond 4-D.", **_JKO)
    ] = None
    step_growth: Annotated[float | None, typer.Option(help="Factor from block to block. Default: 1.4.", **_JKO)] = None
    largest_step: Annotated[float | None, typer.Option(help="Of all h. Default: 5.", **_JKO)] = None
    stop: Annotated[
        float | None,
        typer.Option(help="No block after one that moves rows by less, in squares. Default: 0.003.", **_JKO),
    ] = None
    rounds: Annotated[
        int | None, typer.Option(min=0, help="In which all blocks are trained again, evened. Default: 1.", **_JKO)
    ] = None
    refine: Annotated[
        bool | None, typer.Option("--refine/--no-refine", help="At last cut each block in two and train again.", **_JKO)
    ] = None


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How a network is trained; what is None is usual for the data."""

    batch_size: Annotated[int | None, typer.Option(help="Default: 256; 64 for small sets.")] = None
    learning_rate: Annotated[float | None, typer.Option(help="Peak rate. Default: by width.")] = None
    patience: Annotated[int | None, typer.Option(help="Stop after so many idle epochs. Default: 30.")] = None
    optimizer: Annotated[
        OptimizerName | None, typer.Option(help="Default: l-bfgs for data of up to 4-D, else adam.", **_FINER)
    ] = None
    init: Annotated[
        InitName | None,
        typer.Option(
            help="bend: whitened, activations in reach; whiten: the Gaussian itself; greedy: grown, to 16-D. "
            "Default: bend; greedy up to 4-D.",
            **_FINER,
        ),
    ] = None
    signs: Annotated[
        SignsName | None,
        typer.Option(
            help="Of the diagonals of U, for good. Default: alternating, which bends to both sides.", **_FINER
        ),
    ] = None
    whitened: Annotated[
        bool | None,
        typer.Option(
            "--whitened/--plain",
            help="Train in coordinates where layers' inputs are white. Default for LU-Net.",
            **_FINER,
        ),
    ] = None
    schedule: Annotated[
        ScheduleName | None,
        typer.Option(help="How Adam's rate falls. Default: schedule-free of LU-Net, else linear.", **_FINER),
    ] = None
    average: Annotated[
        float, typer.Option(help="Share a step that a moving average of the weights keeps, as 0.999.", **_FINER)
    ] = 0.0
    weight_decay: Annotated[
        float | None,
        typer.Option(
            help="Of the entries off the diagonals; of kernels and matrices. Default: 0; 1 of JKO-iFlow beyond 4-D.",
            **_FINER,
        ),
    ] = None
    regulariser: Annotated[
        RegulariserName | None, typer.Option("--reg", help="A penalty that conditions the map.", **_FINER)
    ] = None
    regulariser_weight: Annotated[float, typer.Option("--reg-weight", help="Its weight, in nats a row.", **_FINER)] = (
        0.0
    )
    bound: Annotated[float | None, typer.Option(help="Largest |log u_ii| that training may reach.", **_FINER)] = None


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """Which rows a network is trained on, and the seed of all that is drawn."""

    seed: Annotated[int, typer.Option(help="Same seed, same model.")] = 0
    data_dir: DataDir = Path("data")
    levels: Annotated[int | None, typer.Option(help="Grey levels of a file of integers. Default: 256.")] = None
    dequantize: Annotated[
        bool, typer.Option("--dequantize", help="Add noise to columns of vectors that hold counts or rounded numbers.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """All that is chosen of a training."""

    flow: Annotated[
        FlowName,
        typer.Option(
            help="realnvp: convolutions on images, as in the paper; realnvp-dense: of LU-Net's size; jko: continuous, "
            "block by block."
        ),
    ] = FlowName.LUNET
    epochs: Annotated[int | None, typer.Option(help="Default: about 9000 steps; 1000 a block of JKO-iFlow.")] = None
    per_class: Annotated[
        bool, typer.Option("--per-class", help="One network a class, all in one file; digits, mnist, fashion-mnist.")
    ] = False
    network: NetworkOptions
    begin: Annotated[Path | None, typer.Option("--from", help="Start from this model instead of the Gaussian.")] = None
    fit: FitOptions
    jko: JKOOptions
    rows: RowOptions
    fallback: Annotated[
        bool,
        typer.Option(
            "--fallback/--no-fallback",
            help="Keep the Gaussian, or the start, unless an epoch is better by more than chance on validation rows.",
        ),
    ] = True
    device: Annotated[str, typer.Option(help="PyTorch device: cpu, cuda, mps.")] = "cpu"
    resume: Annotated[bool, typer.Option("--resume", help="Go on from MODEL.resume.pt.")] = False

    @property
    def family(self) -> str:
        """The family of the flow."""
        return "realnvp" if self.flow is FlowName.REALNVP_DENSE else self.flow.value

    @property
    def structure(self) -> dict[str, Any]:
        """What is chosen of the network, by name."""
        return chosen(self.network) | chosen(self.jko)

    def settings_of(self, part: "Dataset") -> "FitSettings":
        """How to train on these rows."""
        from lunet_export.training import FitSettings

        beside = {"epochs": self.epochs, "seed": self.rows.seed, "fallback": self.fallback}
        return FitSettings.for_data(len(part.train), part.dim, family=self.family, **beside, **chosen(self.fit))

    def refuse_contradictions(self) -> None:
        """Raise where one option rules out another.

        Raises:
            BadInputError: It does.
        """
        if self.begin and self.structure.keys() & {"blocks", "alpha", "activation", "width"}:
            raise BadInputError(
                "Expected no --blocks, --alpha, --activation or --width with --from, whose model has its own."
            )
        if self.per_class and self.flow is not FlowName.LUNET:
            raise BadInputError(
                f"Expected --flow lunet with --per-class; got {self.flow.value}. Train one network of all classes."
            )
