"""What training asks of a family: its part `training`, with these names."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lunet_export.errors import BadInputError
from lunet_export.family import Family
from lunet_export.flows import Flow
from lunet_export.training.history import EpochRecord
from lunet_export.weights import Weights

if TYPE_CHECKING:
    from lunet_export.data import Dataset
    from lunet_export.training.choice import Judge
    from lunet_export.training.fit import FitSettings
    from lunet_export.training.gaussian import Gaussian


class Structure(Protocol):
    """What kind of network of the family is trained, before there is one."""

    @classmethod
    def choose(cls, dim: int, image_shape: tuple[int, ...] | None, given: Mapping[str, Any]) -> Self:
        """The usual structure for data of that kind, unless more is given.

        Args:
            dim: Number of dimensions D.
            image_shape: Of images; None of vectors.
            given: What the user chose, by name; nothing is None.

        Raises:
            BadInputError: The family has no such choice, or not for such data.
        """

    @classmethod
    def of(cls, weights: Weights) -> Self:
        """That of weights to start from.

        Raises:
            BadInputError: They are of another family.
        """

    def record(self) -> dict[str, Any]:
        """Plain values, by which a resumed run is known to be the same."""

    def first(
        self,
        gaussian: "Gaussian",
        settings: "FitSettings",
        rows: NDArray[np.float64],
        judge: "Judge",
        on_growth: Callable[[int, int], None],
    ) -> Weights:
        """The network before its first step.

        Args:
            gaussian: Of the training rows, its pre-processing theirs.
            settings: Of the run.
            rows: The training rows, (N, D) in data space.
            judge: Of what is grown.
            on_growth: Called with the work done and all of it, in any unit, by what grows a network.
        """

    def gaussian(self, gaussian: "Gaussian") -> Weights:
        """The smallest network of the family that is this Gaussian exactly."""


class Training(Protocol):
    """A training run, one epoch (or whatever `unit` names) at a time."""

    unit: str
    settings: "FitSettings"
    steps_per_epoch: int
    start: float  # bits/dim of the validation rows, before the first step
    start_flow: Flow  # which has that figure
    history: list[EpochRecord]
    best_flow: Flow

    @property
    def best(self) -> EpochRecord:
        """The record with the lowest validation figure."""

    @property
    def finished(self) -> bool:
        """There is nothing left to do."""

    @property
    def length(self) -> int:
        """How many epochs there are, at most."""

    def run_epoch(self, on_step: Callable[[int, float], None]) -> EpochRecord:
        """Train one; `on_step(step, bits_per_dim)` is called after every optimisation step.

        Raises:
            CheckFailedError: The loss stopped being a finite number.
        """

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, as tensors and plain values."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state` as if there had been no interruption."""


class TrainingPart(Protocol):
    """The module `training` of a family."""

    Structure: type[Structure]

    def usual(self, rows: int, dim: int, given: dict[str, Any]) -> dict[str, Any]:
        """Settings that suit so many rows of so many dimensions, beside those given."""

    def refuse(self, settings: "FitSettings") -> None:
        """Raise BadInputError where a setting is not for this family."""

    def trainer(
        self,
        first: Any,  # noqa: ANN401
        data: "Dataset",
        settings: "FitSettings",
        structure: Any,  # noqa: ANN401
        device: torch.device,
    ) -> Training:
        """The run that begins with the weights `first`: epochs of maximum likelihood, or what the family has."""


class LikelihoodPart(TrainingPart, Protocol):
    """What `fit.Trainer` asks beside: of a family that is trained by maximum likelihood, all layers at once."""

    def trainable(self, weights: Any, settings: "FitSettings", dtype: torch.dtype) -> Flow:  # noqa: ANN401
        """The flow that descends."""

    def whiten(self, flows: Sequence[Any], batches: Iterable[Tensor]) -> None:
        """Move flows into coordinates in which the inputs of the first one's layers are white over `batches`."""

    def penalty(self, flow: Any, settings: "FitSettings") -> Tensor | None:  # noqa: ANN401
        """What is added to the mean of -log p(x), in nats."""


def part_of(family: str) -> TrainingPart:
    """The module of the family of that name."""
    part: TrainingPart = Family(family).part("training")
    return part


def refuse_others(given: Mapping[str, Any], known: Sequence[str], family: str) -> None:
    """Raise where a choice is given that the family has not.

    Raises:
        BadInputError: One is.
    """
    for name in given:
        if name not in known:
            raise BadInputError(f"Expected no --{name.replace('_', '-')} for {family}, which has none. Leave it out.")
