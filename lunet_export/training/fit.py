"""Exact maximum likelihood, one epoch at a time."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from math import inf
from typing import Any, Literal, Self, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lunet_export import noise
from lunet_export.data import Dataset
from lunet_export.errors import BadInputError, CheckFailedError
from lunet_export.flows import Flow, of_weights
from lunet_export.likelihood import bits_per_dim
from lunet_export.training.descent import Descent, descent_of
from lunet_export.training.history import EpochRecord, best_of, refuse_gaps
from lunet_export.training.schedule import SCHEDULES, Schedule, peak
from lunet_export.training.structure import LikelihoodPart, TrainingPart, part_of
from lunet_export.weights import Weights

Optimizer = Literal["adam", "l-bfgs"]
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)

_EVALUATION_BATCH = 1000
_WHITENING_ROWS = 8_000  # whose moments set the coordinates of an epoch
VALIDATION_SEED = 1  # the validation noise is the same in every epoch, so that epochs compare


@dataclass(frozen=True)
class FitSettings:
    """How to train. `for_data` gives sensible values for a data set."""

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
    regulariser_weight: float = 0.0  # in nats a row
    bound: float | None = None  # of LU-Net, on every |log u_ii|
    clip_norm: float = 1.0  # gradients of the mean loss are cut to this L2 norm
    patience: int = 30  # stop after so many epochs without a better validation figure, counted from the peak rate
    seed: int = 0
    fallback: bool = True  # keep the Gaussian, or the start, where no epoch is better than it by more than chance

    @classmethod
    def for_data(cls, rows: int, dim: int, **given: Any) -> Self:  # noqa: ANN401
        """What suits so many rows of so many dimensions by the family's `usual`; `given` values other than None win."""
        given = {name: value for name, value in given.items() if value is not None}
        settings = cls(**part_of(given.get("family", "lunet")).usual(rows, dim, given) | given)
        settings.refuse_nonsense()
        return settings

    def refuse_nonsense(self) -> None:
        """Raise where a setting is out of its range.

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
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
        ):
            if getattr(self, name) not in known:
                article = "an" if name == "optimizer" else "a"
                raise BadInputError(f"Expected {article} {name} of {', '.join(known)}; got {getattr(self, name)}.")
        if self.optimizer == "l-bfgs" and (self.average or self.weight_decay):
            raise BadInputError("Expected no average and no weight decay with l-bfgs. Leave them out, or name adam.")
        if self.average and self.schedule == "schedule-free":
            raise BadInputError(
                "Expected no average beside schedule-free, which has its own. Leave it out, or name another schedule."
            )
        self.part.refuse(self)

    @property
    def part(self) -> TrainingPart:
        """What the family knows of training."""
        return part_of(self.family)


class Trainer:
    """A flow, its optimiser, its schedule and its random state; `run_epoch` advances all of them by one epoch.

    The loss is the mean over the batch of -log p(x), with every log-determinant in the gradient, plus the regulariser.
    Images get fresh dequantisation noise at every access. All randomness comes from one NumPy generator, so a run
    repeats on the same machine, and `state` / `restore` continue it bit by bit. As `structure.Training`.
    """

    unit = "epoch"

    def __init__(self, weights: Weights, data: Dataset, settings: FitSettings, *, device: torch.device) -> None:
        self.data, self.settings, self.device = data, settings, device
        self.dtype = torch.float64 if settings.optimizer == "l-bfgs" else torch.float32
        if self.dtype is torch.float64 and device.type == "mps":
            raise BadInputError("Expected a device with float64 for l-bfgs; got mps. Train on the cpu, or name adam.")
        self._part = cast(LikelihoodPart, settings.part)
        self.flow = self._part.trainable(weights, settings, self.dtype).to(device)
        self.history: list[EpochRecord] = []
        self.start_flow = self.best_flow = self._plain(weights)
        self.rng = np.random.default_rng(settings.seed)
        self.steps_per_epoch = max(1, len(data.train) // settings.batch_size)
        self.descent = self.new_descent()
        self.start = self.validate()  # before the first step

    def new_descent(self) -> Descent:
        """The descent of `flow` from where it is, by the settings."""
        return descent_of(self.settings, self.flow, self.settings.epochs * self.steps_per_epoch)

    @property
    def best(self) -> EpochRecord:
        """The epoch with the lowest validation figure; 0 is the start."""
        return best_of(self.start, self.history)

    @property
    def length(self) -> int:
        """All epochs, unless validation stops to improve."""
        return self.settings.epochs

    @property
    def finished(self) -> bool:
        """All epochs are done, or validation has not improved for `patience` epochs since the rate's peak.

        Around its peak the rate often costs likelihood that the descent wins back, so those epochs do not count. Nor
        does the start, which a descent may leave far behind before it is better.
        """
        done, rising = len(self.history), peak(self.settings.schedule) * self.settings.epochs
        idle = done - max(best_of(inf, self.history).epoch, rising)
        return done >= self.settings.epochs or idle >= self.settings.patience

    def validate(self) -> float:
        """Mean bits/dim of the validation rows under the model, with the same noise at every call."""
        return mean_bits_per_dim(self.descent.model(), self.data, self.data.valid, seed=VALIDATION_SEED)

    def run_epoch(self, on_step: Callable[[int, float], None]) -> EpochRecord:
        """Train one epoch and validate; `on_step(step, bits_per_dim)` is called after every optimisation step.

        Raises:
            CheckFailedError: The loss stopped being a finite number.
        """
        scale, losses = float(bits_per_dim(np.array(-1.0), self.data.dim)), []
        learning_rate = self.descent.rate
        if self.settings.whitened:
            self.descent.whiten(self._some_rows(), self._part.whiten)
        self.flow.train()
        for step, x in enumerate(self._batches()):
            values: list[float] = []
            self.descent.step(self._objective(x, values, f"epoch {len(self.history) + 1}, step {step + 1}"))
            losses.append(scale * values[-1])
            on_step(step + 1, losses[-1])
        epoch = len(self.history) + 1
        valid = self.validate()
        refuse_infinite(valid, f"epoch {epoch}, validation")
        self.history.append(EpochRecord(epoch, float(np.mean(losses)), valid, learning_rate))
        if self.best.epoch == epoch:
            self.best_flow = self._plain(self.descent.model().to_weights())
        return self.history[-1]

    def _plain(self, weights: Weights) -> Flow:
        """What is kept of an epoch: the flow as its file holds it, in the dtype of training."""
        return of_weights(weights, dtype=self.dtype)

    def _objective(self, x: Tensor, values: list[float], where: str) -> Callable[[], Tensor]:
        """The loss of a batch; each evaluation adds the mean -log p(x) to `values`, and the first must be finite."""

        def evaluate() -> Tensor:
            loss = -self.flow.log_prob(x).mean()
            values.append(loss.item())
            if len(values) == 1:
                refuse_infinite(values[0], where)
            penalty = self._part.penalty(self.flow, self.settings)
            return loss if penalty is None else loss + penalty

        return evaluate

    def _some_rows(self) -> Iterator[Tensor]:
        rows = self.data.train[self.rng.permutation(len(self.data.train))[:_WHITENING_ROWS]]
        return map(self._continuous, np.array_split(rows, -(-len(rows) // _EVALUATION_BATCH)))

    def _batches(self) -> Iterator[Tensor]:
        order = self.rng.permutation(len(self.data.train))
        size = min(self.settings.batch_size, len(order))
        for start in range(0, self.steps_per_epoch * size, size):
            yield self._continuous(self.data.train[order[start : start + size]])

    def _continuous(self, rows: NDArray[np.generic]) -> Tensor:
        uniform = self.rng.random(rows.shape, dtype=np.float32)
        return torch.from_numpy(self.data.continuous(rows, uniform)).to(self.device, self.dtype)

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, as tensors and plain values."""
        return {
            "settings": asdict(self.settings),
            "flow": self.flow.state_dict(),
            "best_flow": self.best_flow.state_dict(),
            "descent": self.descent.state_dict(),
            "random": self.rng.bit_generator.state,
            "history": [asdict(record) for record in self.history],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state` as if there had been no interruption."""
        self.flow.load_state_dict(state["flow"])
        self.best_flow = deepcopy(self.start_flow)
        self.best_flow.load_state_dict(state["best_flow"])
        self.descent.load_state_dict(state["descent"])
        self.rng.bit_generator.state = state["random"]
        self.history = [*map(EpochRecord.of, state["history"])]
        refuse_gaps(self.history)


@torch.no_grad()
def log_probs(flow: Flow, x: NDArray[np.floating]) -> NDArray[np.float64]:
    """log p of rows in data space, in batches, on the flow's device: (N, D) -> (N,) nats."""
    flow.eval()
    parameter = next(flow.parameters())
    batches = np.array_split(x, max(1, -(-len(x) // _EVALUATION_BATCH)))
    results = [flow.log_prob(torch.from_numpy(batch).to(parameter)).cpu().double().numpy() for batch in batches]
    return np.concatenate(results)


def mean_bits_per_dim(flow: Flow, data: Dataset, rows: NDArray[np.generic], *, seed: int) -> float:
    """Mean bits/dim of rows of `data`, dequantised once with the noise of `seed`."""
    x = data.continuous(rows, noise.uniform(seed, range(len(rows)), data.dim).astype(np.float32))
    return float(bits_per_dim(log_probs(flow, x), data.dim).mean())


def refuse_infinite(value: float, where: str) -> None:
    """Raise where a loss is no finite number.

    Raises:
        CheckFailedError: It is not; `where` says in which epoch or block, and step.
    """
    if not np.isfinite(value):
        raise CheckFailedError(
            f"Expected a finite loss; got {value} in {where}. "
            "Give a smaller --learning-rate, or look for extreme values in the data."
        )
