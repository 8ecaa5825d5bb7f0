"""Exact maximum likelihood, one epoch at a time."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lunet_export import noise
from lunet_export.data import Dataset
from lunet_export.errors import BadInputError, CheckFailedError
from lunet_export.flows import LUNet
from lunet_export.likelihood import bits_per_dim
from lunet_export.training.history import EpochRecord

_WARMUP = 0.3  # share of the steps in which the one-cycle rate rises
_EVALUATION_BATCH = 1000
_VALIDATION_SEED = 1  # the validation noise is the same in every epoch, so that epochs compare


@dataclass(frozen=True)
class FitSettings:
    """How to train. `for_data` gives sensible values for a data set."""

    epochs: int
    batch_size: int
    learning_rate: float  # peak of the one-cycle schedule
    clip_norm: float = 1.0  # gradients of the mean loss are cut to this L2 norm
    patience: int = 30  # stop after so many epochs without a better validation figure, counted from the peak rate
    seed: int = 0

    @classmethod
    def for_data(cls, rows: int, dim: int, **given: Any) -> Self:  # noqa: ANN401
        """About 6000 steps in 15 to 200 epochs, a rate that falls with sqrt(D); `given` values other than None win."""
        batch_size = given.get("batch_size") or (256 if rows >= 5000 else 64)
        steps_per_epoch = max(1, rows // batch_size)
        usual: dict[str, Any] = {
            "epochs": min(max(round(6000 / steps_per_epoch), 15), 200),
            "batch_size": batch_size,
            "learning_rate": min(1e-2, 0.03 / sqrt(dim)),
        }
        settings = cls(**usual | {name: value for name, value in given.items() if value is not None})
        settings.refuse_nonsense()
        return settings

    def refuse_nonsense(self) -> None:
        """Raise unless every number is positive (the seed: not negative).

        Raises:
            BadInputError: One is not.
        """
        for name in ("epochs", "batch_size", "learning_rate", "clip_norm", "patience"):
            if not getattr(self, name) > 0:
                raise BadInputError(f"Expected a positive {name.replace('_', ' ')}; got {getattr(self, name)}.")
        if self.seed < 0:
            raise BadInputError(f"Expected a seed of 0 or more; got {self.seed}.")


class Trainer:
    """A flow, its optimiser, its schedule and its random state; `run_epoch` advances all of them by one epoch.

    The loss is the mean over the batch of -log p(x), with every log-determinant in the gradient. Images get fresh
    dequantisation noise at every access. All randomness comes from one NumPy generator, so a run repeats on the
    same machine, and `state` / `restore` continue it bit by bit.
    """

    def __init__(self, flow: LUNet, data: Dataset, settings: FitSettings, *, device: torch.device) -> None:
        self.flow, self.data, self.settings, self.device = flow.to(device), data, settings, device
        self.history: list[EpochRecord] = []
        self.best_flow: dict[str, Any] = {}  # the state of `flow` after the best epoch
        self.rng = np.random.default_rng(settings.seed)
        self.steps_per_epoch = max(1, len(data.train) // settings.batch_size)
        self.optimiser = torch.optim.Adam(flow.parameters(), lr=settings.learning_rate)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            settings.learning_rate,
            total_steps=settings.epochs * self.steps_per_epoch,
            pct_start=_WARMUP,
        )

    @property
    def best(self) -> EpochRecord:
        """The epoch with the lowest validation figure."""
        return min(self.history, key=lambda record: record.valid)

    @property
    def finished(self) -> bool:
        """All epochs are done, or validation has not improved for `patience` epochs since the rate's peak.

        Around its peak the rate often costs likelihood that the descent wins back, so those epochs do not count.
        """
        done, peak = len(self.history), _WARMUP * self.settings.epochs
        idle = done - max(self.best.epoch, peak) if done else 0
        return done >= self.settings.epochs or idle >= self.settings.patience

    def run_epoch(self, on_step: Callable[[int, float], None]) -> EpochRecord:
        """Train one epoch and validate; `on_step(step, bits_per_dim)` is called after every optimisation step.

        Raises:
            CheckFailedError: The loss stopped being a finite number.
        """
        scale, losses = float(bits_per_dim(np.array(-1.0), self.data.dim)), []
        rate = float(self.schedule.get_last_lr()[0])
        self.flow.train()
        for step, x in enumerate(self._batches()):
            loss = -self.flow.log_prob(x).mean()
            value = loss.item()
            self._refuse_infinite(value, f"epoch {len(self.history) + 1}, step {step + 1}")
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.flow.parameters(), self.settings.clip_norm)
            self.optimiser.step()
            self.schedule.step()
            losses.append(scale * value)
            on_step(step + 1, losses[-1])
        epoch = len(self.history) + 1
        valid = mean_bits_per_dim(self.flow, self.data, self.data.valid, seed=_VALIDATION_SEED)
        self._refuse_infinite(valid, f"epoch {epoch}, validation")
        self.history.append(EpochRecord(epoch, float(np.mean(losses)), valid, rate))
        if self.best.epoch == epoch:
            self.best_flow = {name: value.clone() for name, value in self.flow.state_dict().items()}
        return self.history[-1]

    @staticmethod
    def _refuse_infinite(value: float, where: str) -> None:
        if not np.isfinite(value):
            raise CheckFailedError(
                f"Expected a finite loss; got {value} in {where}. "
                "Give a smaller --learning-rate, or look for extreme values in the data."
            )

    def _batches(self) -> Iterator[Tensor]:
        order = self.rng.permutation(len(self.data.train))
        size = min(self.settings.batch_size, len(order))
        for start in range(0, self.steps_per_epoch * size, size):
            rows = self.data.train[order[start : start + size]]
            uniform = self.rng.random(rows.shape, dtype=np.float32)
            yield torch.from_numpy(self.data.continuous(rows, uniform)).to(self.device)

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, as tensors and plain values."""
        return {
            "settings": asdict(self.settings),
            "flow": self.flow.state_dict(),
            "best_flow": self.best_flow,
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": self.rng.bit_generator.state,
            "history": [asdict(record) for record in self.history],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state` as if there had been no interruption."""
        self.flow.load_state_dict(state["flow"])
        self.best_flow = {name: value.to(self.device) for name, value in state["best_flow"].items()}
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.rng.bit_generator.state = state["random"]
        self.history = [EpochRecord(**record) for record in state["history"]]


@torch.no_grad()
def log_probs(flow: LUNet, x: NDArray[np.floating]) -> NDArray[np.float64]:
    """log p of rows in data space, in batches, on the flow's device: (N, D) -> (N,) nats."""
    flow.eval()
    parameter = next(flow.parameters())
    batches = np.array_split(x, max(1, -(-len(x) // _EVALUATION_BATCH)))
    results = [flow.log_prob(torch.from_numpy(batch).to(parameter)).cpu().double().numpy() for batch in batches]
    return np.concatenate(results)


def mean_bits_per_dim(flow: LUNet, data: Dataset, rows: NDArray[np.generic], *, seed: int) -> float:
    """Mean bits/dim of rows of `data`, dequantised once with the noise of `seed`."""
    x = data.continuous(rows, noise.uniform(seed, range(len(rows)), data.dim).astype(np.float32))
    return float(bits_per_dim(log_probs(flow, x), data.dim).mean())
