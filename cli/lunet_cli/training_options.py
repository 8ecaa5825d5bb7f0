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
    """What is trained."""

    LUNET = "lunet"
    REALNVP = "realnvp"
    REALNVP_DENSE = "realnvp-dense"
    JKO = "jko"


InitName = StrEnum("InitName", ["greedy", "bend", "whiten", "identity"])
ActivationName = StrEnum("ActivationName", list(ACTIVATIONS))  # type: ignore[misc]
OptimizerName = StrEnum("OptimizerName", ["adam", "l-bfgs"])
SignsName = StrEnum("SignsName", ["alternating", "random", "positive"])
ScheduleName = StrEnum("ScheduleName", ["schedule-free", "linear", "one-cycle", "constant"])
RegulariserName = StrEnum("RegulariserName", ["log-diagonal", "balance"])


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """What kind of network is trained; each kind has its own usual values."""

    blocks: int | None = option(None, "Default: 4; 13 up to 4-D; at most 8 of JKO-iFlow.", least=1)
    alpha: float | None = option(None, "Smallest slope of the activation. Default: 0.1.")
    activation: ActivationName | None = option(
        None,
        "Of LU-Net; leaky-relu is piecewise linear, leaky-tanh compresses both tails. "
        "Default: leaky-softplus, the paper's.",
    )
    width: int | None = option(
        None, "Planes of a RealNVP on images, hidden numbers of a JKO-iFlow (both: 64) or of a dense RealNVP.", least=1
    )


@dataclass(frozen=True, kw_only=True)
class JKOOptions:
    """What kind of JKO-iFlow is trained."""

    PANEL: ClassVar[str] = "Of JKO-iFlow"

    hidden_layers: int | None = option(None, "Of a velocity field. Default: 2, whose divergence is cheap.", least=1)
    steps: int | None = option(None, "Runge-Kutta steps a block. Default: 3.", least=1)
    step_size: float | None = option(None, "h of the first block. Default: 0.07; 0.1 beyond 4-D.")
    step_growth: float | None = option(None, "Factor from block to block. Default: 1.4.")
    largest_step: float | None = option(None, "Of all h. Default: 5.")
    stop: float | None = option(None, "No block after one that moves rows by less, in squares. Default: 0.003.")
    rounds: int | None = option(None, "In which all blocks are trained again, evened. Default: 1.", least=0)
    refine: bool | None = option(None, "At last cut each block in two and train again.", "--refine/--no-refine")


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How a network is trained; what is None is usual for the kind of flow and the data."""

    batch_size: int | None = option(None, "Default: 256; 64 for small sets.")
    learning_rate: float | None = option(None, "Peak rate. Default: by width.")
    patience: int | None = option(None, "Stop after so many idle epochs. Default: 30.")


@dataclass(frozen=True, kw_only=True)
class FinerOptions:
    """How a network is trained in particular; what is None is usual for the kind of flow and the data."""

    PANEL: ClassVar[str] = "Finer choices"

    optimizer: OptimizerName | None = option(None, "Default: l-bfgs for data of up to 4-D, else adam.")
    init: InitName | None = option(
        None,
        "bend: whitened, activations in reach; whiten: the Gaussian itself; greedy: grown, to 16-D. "
        "Default: bend; greedy up to 4-D.",
    )
    signs: SignsName | None = option(
        None, "Of the diagonals of U, for good. Default: alternating, which bends to both sides."
    )
    whitened: bool | None = option(
        None, "Train in coordinates where layers' inputs are white. Default for LU-Net.", "--whitened/--plain"
    )
    schedule: ScheduleName | None = option(
        None, "How Adam's rate falls. Default: schedule-free of LU-Net, else linear."
    )
    average: float = option(0.0, "Share a step that a moving average of the weights keeps, as 0.999.")
    weight_decay: float | None = option(
        None, "Of the entries off the diagonals; of kernels and matrices. Default: 0; 1 of JKO-iFlow beyond 4-D."
    )
    regulariser: RegulariserName | None = option(None, "A penalty that conditions the map.", "--reg")
    regulariser_weight: float = option(0.0, "Its weight, in nats a row.", "--reg-weight")
    bound: float | None = option(None, "Largest |log u_ii| that training may reach.")


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """Which rows a network is trained on, and the seed of all that is drawn."""

    seed: int = option(0, "Same seed, same model.")
    data_dir: DataDir = Path("data")
    levels: int | None = option(None, "Grey levels of a file of integers. Default: 256.")
    columns: str | None = COLUMNS
    label: str | None = option(None, "Column of a file that holds the classes: for --per-class.")
    dequantize: bool = option(False, "Add noise to columns of vectors that hold counts or rounded numbers.")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """All that is chosen of a training."""

    model: Path = option(Path("model.pt"), "The model file: the best epoch, or the Gaussian.", "--output", "-o")
    flow: FlowName = option(
        FlowName.LUNET,
        "realnvp: convolutions on images, as in the paper; realnvp-dense: of LU-Net's size; jko: continuous, "
        "block by block.",
    )
    epochs: int | None = option(None, "Default: about 9000 steps; 1000 a block of JKO-iFlow.")
    per_class: bool = option(False, "One network a class, all in one file; digits, mnist, fashion-mnist.")
    network: NetworkOptions
    begin: Path | None = option(None, "Start from this model instead of the Gaussian.", "--from")
    fit: FitOptions
    finer: FinerOptions
    jko: JKOOptions
    rows: RowOptions
    fallback: bool = option(
        True,
        "Keep the Gaussian, or the start, unless an epoch is better by more than chance on validation rows.",
        "--fallback/--no-fallback",
    )
    device: str = option("cpu", "PyTorch device: cpu, cuda, mps.")
    resume: bool = option(False, "Go on from MODEL.resume.pt.")

    @property
    def plan(self) -> "Plan":
        """What is chosen of the network, of the fit and of the rows."""
        from lunet_export.api.plan import Plan

        return Plan(
            flow=self.flow.value,
            network=chosen(self.network) | chosen(self.jko),
            fit={"epochs": self.epochs, "fallback": self.fallback, **chosen(self.fit), **chosen(self.finer)},
            per_class=self.per_class,
            begins=self.begin is not None,
            dequantize=self.rows.dequantize,
            seed=self.rows.seed,
        )
