"""The options of `lunet-export train`."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from typer import Option

from lunet_cli.option_groups import chosen
from lunet_cli.options import DataDir
from lunet_export.errors import BadInputError

if TYPE_CHECKING:
    from lunet_export.data import Dataset
    from lunet_export.training import FitSettings


class FlowName(StrEnum):
    """What is trained."""

    LUNET = "lunet"
    REALNVP = "realnvp"
    REALNVP_DENSE = "realnvp-dense"
    JKO = "jko"


InitName = StrEnum("InitName", ["greedy", "bend", "whiten", "identity"])
ActivationName = StrEnum("ActivationName", ["leaky-softplus", "leaky-relu", "leaky-tanh"])
OptimizerName = StrEnum("OptimizerName", ["adam", "l-bfgs"])
SignsName = StrEnum("SignsName", ["alternating", "random", "positive"])
ScheduleName = StrEnum("ScheduleName", ["schedule-free", "linear", "one-cycle", "constant"])
RegulariserName = StrEnum("RegulariserName", ["log-diagonal", "balance"])


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """What kind of network is trained; the family has its own usual values."""

    blocks: Annotated[int | None, Option(min=1, help="Default: 4; 13 up to 4-D; at most 8 of JKO-iFlow.")] = None
    alpha: Annotated[float | None, Option(help="Smallest slope of the activation. Default: 0.1.")] = None
    activation: Annotated[
        ActivationName | None,
        Option(
            help="Of LU-Net; leaky-relu is piecewise linear, leaky-tanh compresses both tails. "
            "Default: leaky-softplus, the paper's."
        ),
    ] = None
    width: Annotated[
        int | None,
        Option(
            min=1, help="Planes of a RealNVP on images, hidden numbers of a JKO-iFlow (both: 64) or of a dense RealNVP."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class JKOOptions:
    """What kind of JKO-iFlow is trained."""

    PANEL: ClassVar[str] = "Of JKO-iFlow"

    hidden_layers: Annotated[
        int | None, Option(min=1, help="Of a velocity field. Default: 2, whose divergence is cheap.")
    ] = None
    steps: Annotated[int | None, Option(min=1, help="Runge-Kutta steps a block. Default: 3.")] = None
    step_size: Annotated[float | None, Option(help="h of the first block. Default: 0.07; 0.1 beyond 4-D.")] = None
    step_growth: Annotated[float | None, Option(help="Factor from block to block. Default: 1.4.")] = None
    largest_step: Annotated[float | None, Option(help="Of all h. Default: 5.")] = None
    stop: Annotated[
        float | None, Option(help="No block after one that moves rows by less, in squares. Default: 0.003.")
    ] = None
    rounds: Annotated[int | None, Option(min=0, help="In which all blocks are trained again, evened. Default: 1.")] = (
        None
    )
    refine: Annotated[
        bool | None, Option("--refine/--no-refine", help="At last cut each block in two and train again.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How a network is trained; what is None is usual for the family and the data."""

    batch_size: Annotated[int | None, Option(help="Default: 256; 64 for small sets.")] = None
    learning_rate: Annotated[float | None, Option(help="Peak rate. Default: by width.")] = None
    patience: Annotated[int | None, Option(help="Stop after so many idle epochs. Default: 30.")] = None


@dataclass(frozen=True, kw_only=True)
class FinerOptions:
    """How a network is trained in particular; what is None is usual for the family and the data."""

    PANEL: ClassVar[str] = "Finer choices"

    optimizer: Annotated[OptimizerName | None, Option(help="Default: l-bfgs for data of up to 4-D, else adam.")] = None
    init: Annotated[
        InitName | None,
        Option(
            help="bend: whitened, activations in reach; whiten: the Gaussian itself; greedy: grown, to 16-D. "
            "Default: bend; greedy up to 4-D."
        ),
    ] = None
    signs: Annotated[
        SignsName | None,
        Option(help="Of the diagonals of U, for good. Default: alternating, which bends to both sides."),
    ] = None
    whitened: Annotated[
        bool | None,
        Option("--whitened/--plain", help="Train in coordinates where layers' inputs are white. Default for LU-Net."),
    ] = None
    schedule: Annotated[
        ScheduleName | None, Option(help="How Adam's rate falls. Default: schedule-free of LU-Net, else linear.")
    ] = None
    average: Annotated[float, Option(help="Share a step that a moving average of the weights keeps, as 0.999.")] = 0.0
    weight_decay: Annotated[
        float | None,
        Option(
            help="Of the entries off the diagonals; of kernels and matrices. Default: 0; 1 of JKO-iFlow beyond 4-D."
        ),
    ] = None
    regulariser: Annotated[RegulariserName | None, Option("--reg", help="A penalty that conditions the map.")] = None
    regulariser_weight: Annotated[float, Option("--reg-weight", help="Its weight, in nats a row.")] = 0.0
    bound: Annotated[float | None, Option(help="Largest |log u_ii| that training may reach.")] = None


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """Which rows a network is trained on, and the seed of all that is drawn."""

    seed: Annotated[int, Option(help="Same seed, same model.")] = 0
    data_dir: DataDir = Path("data")
    levels: Annotated[int | None, Option(help="Grey levels of a file of integers. Default: 256.")] = None
    dequantize: Annotated[
        bool, Option("--dequantize", help="Add noise to columns of vectors that hold counts or rounded numbers.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """All that is chosen of a training."""

    flow: Annotated[
        FlowName,
        Option(
            help="realnvp: convolutions on images, as in the paper; realnvp-dense: of LU-Net's size; jko: continuous, "
            "block by block."
        ),
    ] = FlowName.LUNET
    epochs: Annotated[int | None, Option(help="Default: about 9000 steps; 1000 a block of JKO-iFlow.")] = None
    per_class: Annotated[
        bool, Option("--per-class", help="One network a class, all in one file; digits, mnist, fashion-mnist.")
    ] = False
    network: NetworkOptions
    begin: Annotated[Path | None, Option("--from", help="Start from this model instead of the Gaussian.")] = None
    fit: FitOptions
    finer: FinerOptions
    jko: JKOOptions
    rows: RowOptions
    fallback: Annotated[
        bool,
        Option(
            "--fallback/--no-fallback",
            help="Keep the Gaussian, or the start, unless an epoch is better by more than chance on validation rows.",
        ),
    ] = True
    device: Annotated[str, Option(help="PyTorch device: cpu, cuda, mps.")] = "cpu"
    resume: Annotated[bool, Option("--resume", help="Go on from MODEL.resume.pt.")] = False

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
        return FitSettings.for_data(
            len(part.train), part.dim, family=self.family, **beside, **chosen(self.fit), **chosen(self.finer)
        )

    def refuse_contradictions(self) -> None:
        """Raise BadInputError where one option rules out another."""
        if self.begin and self.structure.keys() & {"blocks", "alpha", "activation", "width"}:
            raise BadInputError(
                "Expected no --blocks, --alpha, --activation or --width with --from, whose model has its own."
            )
        if self.per_class and self.flow is not FlowName.LUNET:
            raise BadInputError(
                f"Expected --flow lunet with --per-class; got {self.flow.value}. Train one network of all classes."
            )
