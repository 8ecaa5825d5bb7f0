"""The options of `lunet-export train`."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lunet_cli.option_groups import chosen, option
from lunet_cli.options import COLUMNS, DataDir
from lunet_export.layers import ACTIVATIONS

if TYPE_CHECKING:
    from lunet_export.api.plan import Plan


class FlowName(StrEnum):
    """Kinds of flows that can be trained."""

    LUNET = "lunet"
    REALNVP = "realnvp"
    REALNVP_DENSE = "realnvp-dense"
    JKO = "jko"


InitName = StrEnum("InitName", ["greedy", "bend", "whiten", "identity"])
ActivationName = StrEnum("ActivationName", [*ACTIVATIONS, "spline"])  # type: ignore[misc]
OptimizerName = StrEnum("OptimizerName", ["adam", "l-bfgs"])
SignsName = StrEnum("SignsName", ["alternating", "random", "positive"])
ScheduleName = StrEnum("ScheduleName", ["schedule-free", "linear", "one-cycle", "constant"])
RegulariserName = StrEnum("RegulariserName", ["log-diagonal", "balance"])


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Options of the network; the defaults depend on the kind of flow."""

    blocks: int | None = option(
        None, "Number of blocks. Default: 4; 13 for data of up to 4 columns; for JKO-iFlow, at most 8.", least=1
    )
    alpha: str | None = option(
        None,
        "Smallest slope of the activation; learned: one per unit, for leaky-squareplus and leaky-relu; layer: learned, "
        "one per activation. Default: 0.1.",
        words=("NUMBER", "learned", "layer"),
    )
    activation: ActivationName | None = option(
        None,
        "Activation of LU-Net; leaky-relu is piecewise linear, leaky-tanh compresses both tails, spline learns a "
        "spline per unit. Default: leaky-softplus, as in the paper.",
    )
    width: int | None = option(
        None,
        "Width of the networks: channels of a RealNVP on images and hidden units of a "
        "JKO-iFlow (default 64), or hidden units of a dense RealNVP.",
        least=1,
    )


@dataclass(frozen=True, kw_only=True)
class JKOOptions:
    """Options of a JKO-iFlow."""

    PANEL: ClassVar[str] = "For JKO-iFlow"

    hidden_layers: int | None = option(
        None, "Number of hidden layers of a velocity field. Default: 2, for which the divergence is cheap.", least=1
    )
    steps: int | None = option(None, "Number of Runge-Kutta steps per block. Default: 3.", least=1)
    step_size: float | None = option(None, "Step size h of the first block. Default: 0.07; 0.1 above 4-D.")
    step_growth: float | None = option(None, "Factor by which h grows from block to block. Default: 1.4.")
    largest_step: float | None = option(None, "Largest h of any block. Default: 5.")
    stop: float | None = option(
        None, "Stop adding blocks when a block moves the rows by less than this (relative mean square). Default: 0.003."
    )
    rounds: int | None = option(
        None,
        "Number of times that all blocks are trained again, with step sizes that are made more equal. Default: 1.",
        least=0,
    )
    refine: bool | None = option(
        None, "At the end, split each block into two blocks and train again.", "--refine/--no-refine"
    )


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Options of the fit; None takes the default for the kind of flow and the data."""

    batch_size: int | None = option(None, "Rows per step. Default: 256; 64 for small sets.")
    learning_rate: float | None = option(
        None, "Peak learning rate. The default depends on the number of columns and on the kind of flow."
    )
    patience: int | None = option(None, "Number of epochs without improvement after which to stop. Default: 30.")


@dataclass(frozen=True, kw_only=True)
class FinerOptions:
    """Finer options of the fit; None takes the default for the kind of flow and the data."""

    PANEL: ClassVar[str] = "Finer choices"

    optimizer: OptimizerName | None = option(
        None, "Optimizer. Default: l-bfgs for data of up to 4-D without contexts, else adam."
    )
    init: InitName | None = option(
        None,
        "Start of the training. bend: whitened rows that reach the curved part of every activation; whiten: exactly "
        "the Gaussian; identity: scaled columns; greedy: pairs of blocks added one after another, up to 16-D. "
        "Default: bend; greedy up to 4-D without contexts.",
    )
    signs: SignsName | None = option(
        None,
        "Signs of the diagonals of U; training does not change them. Default: alternating, "
        "so that units can compress both tails.",
    )
    whitened: bool | None = option(
        None,
        "Train in coordinates that whiten the inputs of every layer. Default: --whitened for LU-Net.",
        "--whitened/--plain",
    )
    schedule: ScheduleName | None = option(
        None, "Schedule of Adam's learning rate. Default: schedule-free for LU-Net, else linear."
    )
    average: float = option(
        0.0, "Decay per step of a moving average of the weights, such as 0.999; 0 takes the weights themselves."
    )
    weight_decay: float | None = option(
        None, "Weight decay of off-diagonal entries, kernels and matrices. Default: 0; 1 for JKO-iFlow above 4-D."
    )
    regulariser: RegulariserName | None = option(None, "Penalty that improves the conditioning of the map.", "--reg")
    regulariser_weight: float = option(0.0, "Weight of the penalty, in nats per row.", "--reg-weight")
    bound: float | None = option(None, "Upper bound on every |log u_ii| (u_ii: the diagonal of U) during training.")


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """Options of the training rows, and the seed of all random numbers."""

    seed: int = option(0, "Random seed; the same seed gives the same model.")
    data_dir: DataDir = Path("data")
    levels: int | None = option(None, "Number of grey levels of a file of integers. Default: 256.")
    columns: str | None = COLUMNS
    context_columns: str | None = option(
        None,
        "Columns of a file that are the context c of p(x | c), for lunet and realnvp-dense: a,b. The others are the "
        "rows.",
    )
    label: str | None = option(None, "Column of a file that holds the classes, for --per-class and --context-labels.")
    dequantize: bool = option(False, "Add noise to columns of vectors that hold counts or rounded numbers.")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """All options of a training."""

    model: Path = option(
        Path("model.pt"),
        "Model file to write. It holds the best epoch, or a Gaussian if no epoch is better.",
        "--output",
        "-o",
    )
    flow: FlowName = option(
        FlowName.LUNET,
        "Kind of flow. lunet: LU-Net; realnvp: convolutions on images, as in the paper; realnvp-dense: RealNVP of "
        "LU-Net's size; jko: JKO-iFlow, continuous and trained block by block.",
    )
    epochs: int | None = option(
        None, "Number of epochs. Default: as many as make about 9000 steps; for JKO-iFlow, 1000 steps per block."
    )
    per_class: bool = option(
        False, "One network per class, all in one file; for digits, mnist, fashion-mnist, or a file with --label."
    )
    context_labels: bool = option(
        False, "One lunet of all classes, given the class: the label of a row is its context. For the same data."
    )
    network: NetworkOptions
    begin: Path | None = option(None, "Start from this model file instead of a new network.", "--from")
    fit: FitOptions
    finer: FinerOptions
    jko: JKOOptions
    rows: RowOptions
    fallback: bool = option(
        True,
        "Keep the Gaussian, or the network at its start, unless an epoch is better by more "
        "than chance on the validation rows.",
        "--fallback/--no-fallback",
    )
    device: str = option("cpu", "PyTorch device: cpu, cuda or mps.")
    resume: bool = option(False, "Continue from MODEL.resume.pt.")

    @property
    def plan(self) -> "Plan":
        """Return the choices of the network, of the fit and of the rows."""
        from lunet_export.api.plan import Plan

        return Plan(
            flow=self.flow.value,
            network={**chosen(self.network), **parse_alpha(self.network.alpha), **chosen(self.jko)},
            fit={"epochs": self.epochs, "fallback": self.fallback, **chosen(self.fit), **chosen(self.finer)},
            per_class=self.per_class,
            context_labels=self.context_labels,
            begins=self.begin is not None,
            dequantize=self.rows.dequantize,
            seed=self.rows.seed,
        )


def parse_alpha(text: str | None) -> dict[str, float | str]:
    """Return the choice of alpha: a number, or the word for one that is learned; nothing if it is not given."""
    if text is None:
        return {}
    try:
        return {"alpha": float(text)}
    except ValueError:
        return {"alpha": text}
