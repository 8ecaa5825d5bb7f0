"""How a run is trained, as plain values."""

from dataclasses import dataclass
from typing import Literal, get_args

from lunet_export.errors import BadInputError
from lunet_export.training.schedule import SCHEDULES, Schedule

OptimizerName = Literal["adam", "l-bfgs"]
OPTIMIZERS: tuple[OptimizerName, ...] = get_args(OptimizerName)


@dataclass(frozen=True)
class FitSettings:
    """These settings say how to train; `Architecture.settings` gives sensible ones for a data set."""

    epochs: int
    batch_size: int
    learning_rate: float  # Adam's peak rate
    family: str = "lunet"
    optimizer: OptimizerName = "adam"
    init: str = "bend"  # LU-Net only: one of `initial.INITS`
    signs: str = "alternating"  # LU-Net only: fixed signs of the diagonals of U; a greedy start finds its own
    whitened: bool = True  # LU-Net only: layers in whitened coordinates, renewed before every epoch
    schedule: Schedule = "schedule-free"  # Adam's
    average: float = 0.0  # share that an exponential moving average keeps per step; it is the model; 0: none
    weight_decay: float = 0.0  # decoupled decay of what `Flow.decaying` names
    regulariser: str | None = None  # LU-Net only
    regulariser_weight: float = 0.0  # in nats per row
    bound: float | None = None  # LU-Net only: bound on every |log u_ii|
    clip_norm: float = 1.0  # largest L2 norm of the gradient of the mean loss
    patience: int = 30  # epochs without a better validation figure, from the peak rate on, after which to stop
    seed: int = 0
    fallback: bool = True  # whether the Gaussian or the start is kept if no epoch is better by more than chance

    def validate_ranges(self) -> None:
        """Raise if a setting is out of its range, whatever kind of network is trained.

        Raises:
            BadInputError: if a number is not positive that must be, another is negative, or a name is unknown.
        """
        for name in ("epochs", "batch_size", "learning_rate", "clip_norm", "patience", "bound"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                what = "number of epochs" if name == "epochs" else name.replace("_", " ")
                raise BadInputError(f"Expected a positive {what}; got {value}.")
        for name in ("weight_decay", "regulariser_weight", "seed"):
            if not getattr(self, name) >= 0:
                raise BadInputError(f"Expected a {name.replace('_', ' ')} of 0 or more; got {getattr(self, name)}.")
        if not 0 <= self.average < 1:
            raise BadInputError(f"Expected an average in [0, 1), the share kept per step; got {self.average}.")
        for article, name, known in (("an", "optimizer", OPTIMIZERS), ("a", "schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise BadInputError(f"Expected {article} {name} of {', '.join(known)}; got {getattr(self, name)}.")
        if self.optimizer == "l-bfgs" and (self.average or self.weight_decay):
            raise BadInputError("Expected no average and no weight decay with l-bfgs. Leave them out, or use adam.")
        if self.average and self.schedule == "schedule-free":
            raise BadInputError(
                "Expected no average beside schedule-free, which has its own. Leave it out, or use another schedule."
            )
