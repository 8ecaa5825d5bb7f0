"""How a run is trained, as plain values."""

from dataclasses import dataclass
from typing import Literal, get_args

from lunet_export.errors import BadInputError
from lunet_export.training.schedule import SCHEDULES, Schedule

Optimizer = Literal["adam", "l-bfgs"]
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)


@dataclass(frozen=True)
class FitSettings:
    """How to train. `Structure.settings` of a kind of network gives sensible values for a data set."""

    epochs: int
    batch_size: int
    learning_rate: float  # the peak, of Adam
    family: str = "lunet"
    optimizer: Optimizer = "adam"
    init: str = "bend"  # of LU-Net, a name of `initial.INITS`; so are
    signs: str = "alternating"  # the signs of the diagonals of U, for good; a greedy start finds its own
    whitened: bool = True  # and layers in whitened coordinates, renewed before every epoch
    schedule: Schedule = "schedule-free"  # of Adam
    average: float = 0.0  # decay of an exponential moving average of the weights, which is then the model; 0: none
    weight_decay: float = 0.0  # decoupled, of what `Flow.decaying` names
    regulariser: str | None = None  # of LU-Net
    regulariser_weight: float = 0.0  # in nats per row
    bound: float | None = None  # of LU-Net, on every |log u_ii|
    clip_norm: float = 1.0  # gradients of the mean loss are cut to this L2 norm
    patience: int = 30  # stop after so many epochs without a better validation figure, counted from the peak rate
    seed: int = 0
    fallback: bool = True  # keep the Gaussian, or the start, where no epoch is better than it by more than chance

    def refuse_nonsense(self) -> None:
        """Raise where a setting is out of its range, whatever kind of network is trained.

        Raises:
            BadInputError: A number that must be positive is not, another is negative, a name is unknown.
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
            raise BadInputError(f"Expected an average in [0, 1), the share kept at a step; got {self.average}.")
        for article, name, known in (("an", "optimizer", OPTIMIZERS), ("a", "schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise BadInputError(f"Expected {article} {name} of {', '.join(known)}; got {getattr(self, name)}.")
        if self.optimizer == "l-bfgs" and (self.average or self.weight_decay):
            raise BadInputError("Expected no average and no weight decay with l-bfgs. Leave them out, or name adam.")
        if self.average and self.schedule == "schedule-free":
            raise BadInputError(
                "Expected no average beside schedule-free, which has its own. Leave it out, or name another schedule."
            )
