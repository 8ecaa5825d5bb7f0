"""Exact maximum likelihood, one epoch at a time."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from math import inf
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lunet_export import noise
from lunet_export.data import Dataset
from lunet_export.errors import BadInputError, CheckFailedError
from lunet_export.layers import Chain
from lunet_export.likelihood import bits_per_dim
from lunet_export.torch_layers import Flow
from lunet_export.training.architecture import Training
from lunet_export.training.history import EpochRecord, best_of
from lunet_export.training.optimizer import Optimizer, optimizer_of
from lunet_export.training.rows import VALIDATION_SEED
from lunet_export.training.schedule import peak
from lunet_export.training.settings import FitSettings

_EVALUATION_BATCH = 1000
_WHITENING_ROWS = 8_000  # rows whose moments set the coordinates of an epoch


class Batch(NamedTuple):
    """This is a batch of rows (N, D) and their contexts (N, C), which are None if they have none."""

    x: Tensor
    context: Tensor | None = None


class Trainer(Training):
    """This run trains all layers of a flow at once, by one optimizer and its schedule: one class per kind of network.

    The loss is the mean over the batch of -log p(x), with every log-determinant in the gradient, plus `penalty`. Images
    get fresh dequantization noise at every access.

    Args:
        weights: Weights to begin with.
        data: The rows.
        settings: Settings of the run.
        device: Device on which the flow is trained.

    Raises:
        BadInputError: if the weights are of another kind, or the device has no float64 and the optimizer is L-BFGS.
    """

    def __init__(self, weights: Chain, data: Dataset, settings: FitSettings, *, device: torch.device) -> None:
        super().__init__(data, settings, device)
        self.dtype = torch.float64 if settings.optimizer == "l-bfgs" else torch.float32
        if self.dtype is torch.float64 and device.type == "mps":
            raise BadInputError("Expected a device with float64 for l-bfgs; got mps. Train on the cpu, or use adam.")
        self.flow = self.trainable(weights, settings, self.dtype).to(device)
        self.start_flow = self.best_flow = self._plain(weights)
        self.steps_per_epoch = max(1, len(data.train) // settings.batch_size)
        self.optimizer = self.new_optimizer()
        self.start = self.validate()  # before the first step

    @classmethod
    @abstractmethod
    def trainable(cls, weights: Chain, settings: FitSettings, dtype: torch.dtype) -> Flow:
        """Return the flow that is trained, as the settings ask for.

        Raises:
            BadInputError: if the weights are of another kind.
        """

    def whiten(self, flows: Sequence[Flow], batches: Iterable[Batch]) -> None:
        """Move flows into coordinates in which the inputs of the first one's layers are white over `batches`.

        A kind without such coordinates stays where it is.
        """
        del flows, batches

    @abstractmethod
    def penalty(self) -> Tensor | None:
        """Return what is added to the mean of -log p(x), in nats; None if there is nothing."""

    def new_optimizer(self) -> Optimizer[Flow]:
        """Return the optimizer of `flow` from where it is, by the settings."""
        return optimizer_of(self.settings, self.flow, self.settings.epochs * self.steps_per_epoch)

    @property
    def length(self) -> int:
        """Return the number of epochs; the run ends earlier when validation stops improving."""
        return self.settings.epochs

    @property
    def finished(self) -> bool:
        """Return whether all epochs are done, or validation has not improved for `patience` epochs since the peak rate.

        At its peak the rate often costs likelihood that the optimizer wins back later, so those epochs do not count.
        Nor does the start, which an optimizer may leave far behind before it is better.
        """
        done, rising = len(self.history), peak(self.settings.schedule) * self.settings.epochs
        idle = done - max(best_of(inf, self.history).epoch, rising)
        return done >= self.settings.epochs or idle >= self.settings.patience

    def validate(self) -> float:
        """Return the mean bits/dim of the validation rows under the model, with the same noise at every call."""
        model, contexts = self.optimizer.model(), self.data.context("valid")
        return mean_bits_per_dim(model, self.data, self.data.valid, seed=VALIDATION_SEED, contexts=contexts)

    def run_epoch(self, on_step: Callable[[int, float], None]) -> EpochRecord:
        scale, losses = float(bits_per_dim(np.array(-1.0), self.data.dim)), []
        learning_rate = self.optimizer.rate
        if self.settings.whitened:
            self.optimizer.whiten(self._some_rows(), self.whiten)
        self.flow.train()
        for step, batch in enumerate(self._batches()):
            values: list[float] = []
            self.optimizer.step(self._objective(batch, values, f"epoch {len(self.history) + 1}, step {step + 1}"))
            losses.append(scale * values[-1])
            on_step(step + 1, losses[-1])
        epoch = len(self.history) + 1
        valid = self.validate()
        validate_finite(valid, f"epoch {epoch}, validation")
        self.history.append(EpochRecord(epoch, float(np.mean(losses)), valid, learning_rate))
        if self.best.epoch == epoch:
            self.best_flow = self._plain(self.optimizer.model().to_chain())
        return self.history[-1]

    def _plain(self, weights: Chain) -> Flow:
        """Return what is kept of an epoch: the flow as its file holds it, in the dtype of training."""
        return Flow.of(weights, dtype=self.dtype)

    def _objective(self, batch: Batch, values: list[float], where: str) -> Callable[[], Tensor]:
        """Return the loss of a batch; each evaluation adds the mean -log p(x) to `values`; the first must be finite."""

        def evaluate() -> Tensor:
            loss = -self.flow.given(batch.context).log_prob(batch.x).mean()
            values.append(loss.item())
            if len(values) == 1:
                validate_finite(values[0], where)
            penalty = self.penalty()
            return loss if penalty is None else loss + penalty

        return evaluate

    def _some_rows(self) -> Iterator[Batch]:
        some = self.rng.permutation(len(self.data.train))[:_WHITENING_ROWS]
        return map(self._batch, np.array_split(some, -(-len(some) // _EVALUATION_BATCH)))

    def _batches(self) -> Iterator[Batch]:
        order = self.rng.permutation(len(self.data.train))
        size = min(self.settings.batch_size, len(order))
        for start in range(0, self.steps_per_epoch * size, size):
            yield self._batch(order[start : start + size])

    def _batch(self, numbers: NDArray[np.int64]) -> Batch:
        """Return the training rows of these numbers."""
        rows = self.data.train[numbers]
        uniform = self.rng.random(rows.shape, dtype=np.float32)
        x = torch.from_numpy(self.data.continuous(rows, uniform)).to(self.device, self.dtype)
        if self.data.contexts is None:
            return Batch(x)
        return Batch(x, torch.from_numpy(self.data.contexts.train[numbers]).to(self.device, self.dtype))

    def state(self) -> dict[str, Any]:
        flows = {"flow": self.flow.state_dict(), "best_flow": self.best_flow.state_dict()}
        return {**super().state(), **flows, "descent": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.flow.load_state_dict(state["flow"])
        self.best_flow = deepcopy(self.start_flow)
        self.best_flow.load_state_dict(state["best_flow"])
        self.optimizer.load_state_dict(state["descent"])
        super().restore(state)


@torch.no_grad()
def log_probs(flow: Flow, x: NDArray[np.floating], contexts: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
    """Return log p of rows in data space, computed in batches on the flow's device: (N, D), (N, C) -> (N,) nats."""
    flow.eval()
    results = []
    for some in np.array_split(np.arange(len(x)), max(1, -(-len(x) // _EVALUATION_BATCH))):
        given = flow.given(None if contexts is None else torch.from_numpy(contexts[some]).to(flow.like))
        results.append(given.log_prob(torch.from_numpy(x[some]).to(flow.like)).cpu().double().numpy())
    return np.concatenate(results)


def mean_bits_per_dim(
    flow: Flow,
    data: Dataset,
    rows: NDArray[np.generic],
    *,
    seed: int,
    contexts: NDArray[np.floating] | None = None,
) -> float:
    """Return the mean bits/dim of rows of `data`, dequantized once with the noise of `seed`, given their contexts."""
    x = data.continuous(rows, noise.uniform(seed, range(len(rows)), data.dim).astype(np.float32))
    return float(bits_per_dim(log_probs(flow, x, contexts), data.dim).mean())


def validate_finite(value: float, where: str) -> None:
    """Raise unless a loss is a finite number.

    Args:
        value: The loss.
        where: Epoch or block, and step, for the message.

    Raises:
        CheckFailedError: if the loss is infinite or NaN.
    """
    if not np.isfinite(value):
        raise CheckFailedError(
            f"Expected a finite loss; got {value} in {where}. "
            "Give a smaller `learning_rate`, or look for extreme values in the data."
        )
