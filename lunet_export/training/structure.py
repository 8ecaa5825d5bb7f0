"""What training asks of a family: its part `training`, with these names."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lunet_export.family import Family
from lunet_export.flows import Flow
from lunet_export.weights import Weights

if TYPE_CHECKING:
    from lunet_export.training.fit import FitSettings
    from lunet_export.training.gaussian import Gaussian


class Structure(Protocol):
    """What kind of network of the family is trained, before there is one."""

    @classmethod
    def choose(
        cls,
        dim: int,
        image_shape: tuple[int, ...] | None,
        *,
        blocks: int | None = None,
        alpha: float | None = None,
        width: int | None = None,
    ) -> Self:
        """The usual structure for data of that kind, unless more is given.

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
        rows: Callable[[], NDArray[np.float64]],
        on_growth: Callable[[int, int], None],
    ) -> Weights:
        """The network before its first step.

        Args:
            gaussian: Of the training rows, its pre-processing theirs.
            settings: Of the run.
            rows: Makes the training rows, (N, D) in data space.
            on_growth: Called with blocks done and wanted, by what grows a network.
        """


class TrainingPart(Protocol):
    """The module `training` of a family."""

    Structure: type[Structure]

    def usual(self, rows: int, dim: int, given: dict[str, Any]) -> dict[str, Any]:
        """Settings that suit so many rows of so many dimensions, beside those given."""

    def refuse(self, settings: "FitSettings") -> None:
        """Raise BadInputError where a setting is not for this family."""

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
