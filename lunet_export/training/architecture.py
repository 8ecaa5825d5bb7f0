"""What training asks of a kind of network: where it starts, which settings suit it, and the run itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from lunet_export.data import Dataset
from lunet_export.errors import BadInputError
from lunet_export.layers import Chain
from lunet_export.torch_layers import Flow
from lunet_export.training.choice import Comparison
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.history import EpochRecord, best_of, validate_epochs
from lunet_export.training.settings import FitSettings

Array = NDArray[np.float64]
OnGrowth = Callable[[int, int], None]  # called with the work done and all the work, in any unit


class Training(ABC):
    """A training run goes on one epoch (or whatever `unit` names) at a time.

    All randomness comes from one NumPy generator, so a run repeats on the same machine, and `state` / `restore`
    continue it bit by bit.
    """

    unit: ClassVar[str] = "epoch"
    steps_per_epoch: int
    start: float  # bits/dim of the validation rows, before the first step
    start_flow: Flow  # the flow with that figure
    best_flow: Flow

    def __init__(self, data: Dataset, settings: FitSettings, device: torch.device) -> None:
        self.data, self.settings, self.device = data, settings, device
        self.history: list[EpochRecord] = []
        self.rng = np.random.default_rng(settings.seed)

    @property
    def best(self) -> EpochRecord:
        """Return the record with the lowest validation figure; 0 is the start."""
        return best_of(self.start, self.history)

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Return whether there is nothing left to do."""

    @property
    @abstractmethod
    def length(self) -> int:
        """Return the largest number of epochs."""

    @abstractmethod
    def run_epoch(self, on_step: Callable[[int, float], None]) -> EpochRecord:
        """Train one epoch and validate; `on_step(step, bits_per_dim)` is called after every step of the optimizer.

        Raises:
            CheckFailedError: if the loss stops being a finite number.
        """

    def state(self) -> dict[str, Any]:
        """Return everything that `restore` needs, as tensors and plain values."""
        return {
            "settings": asdict(self.settings),
            "random": self.rng.bit_generator.state,
            "history": [asdict(record) for record in self.history],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state` as if there had been no interruption."""
        self.rng.bit_generator.state = state["random"]
        self.history = [*map(EpochRecord.of, state["history"])]
        validate_epochs(self.history)


class Architecture(ABC):
    """This architecture says which network is trained, before there is one, and how: one class per kind of network."""

    family: ClassVar[str]  # name of the kind

    @classmethod
    @abstractmethod
    def choose(cls, dim: int, image_shape: tuple[int, ...] | None, given: Mapping[str, Any], contexts: int = 0) -> Self:
        """Return the usual architecture for such data, unless more is given.

        Args:
            dim: Number of dimensions D.
            image_shape: Shape of an image; None for vectors.
            given: Choices of the user by name, none of them None.
            contexts: Number of dimensions of the contexts, 0 if the rows have none.

        Raises:
            BadInputError: if the kind has no such choice, or not for such data.
        """

    @classmethod
    @abstractmethod
    def of(cls, weights: Chain) -> Self:
        """Return the architecture of weights to start from.

        Raises:
            BadInputError: if they are of another kind.
        """

    @classmethod
    @abstractmethod
    def usual(cls, rows: int, dim: int, given: Mapping[str, Any], contexts: int = 0) -> dict[str, Any]:
        """Return settings that suit `rows` training rows of `dim` dimensions, beside those given.

        `contexts` is the number of dimensions of their contexts, 0 if they have none.
        """

    @classmethod
    @abstractmethod
    def validate(cls, settings: FitSettings) -> None:
        """Raise if a setting is not for this kind of network.

        Raises:
            BadInputError: if there is such a setting.
        """

    @classmethod
    def settings(cls, rows: int, dim: int, *, contexts: int = 0, **given: object) -> FitSettings:
        """Return settings for such rows by `usual`; `given` values other than None win.

        Raises:
            BadInputError: if a setting is out of its range, or not for this kind of network.
        """
        chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        settings = FitSettings(**{"family": cls.family} | cls.usual(rows, dim, chosen, contexts) | chosen)
        settings.validate_ranges()
        cls.validate(settings)
        return settings

    @abstractmethod
    def validate_contexts(self, data: Dataset) -> None:
        """Raise if rows have contexts and the network cannot take them.

        Raises:
            BadInputError: if it cannot.
        """

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """Return plain values by which a resumed run is known to be the same."""

    @abstractmethod
    def first(
        self,
        gaussian: Gaussian,
        settings: FitSettings,
        rows: Array,
        comparison: Comparison,
        on_growth: OnGrowth,
        contexts: Array | None = None,
    ) -> Chain:
        """Return the network before its first step.

        Args:
            gaussian: Gaussian of the training rows, with their pre-processing.
            settings: Settings of the run.
            rows: Training rows (N, D) in data space.
            comparison: Comparison that decides whether a longer network is kept.
            on_growth: Function called while a network is grown.
            contexts: Contexts (N, C) of the rows, if they have any.
        """

    @abstractmethod
    def gaussian(self, gaussian: Gaussian) -> Chain:
        """Return the smallest network of the kind that is this Gaussian exactly."""

    @abstractmethod
    def trainer(self, first: Chain, data: Dataset, settings: FitSettings, device: torch.device) -> Training:
        """Return the run that begins with the weights `first`: epochs of maximum likelihood, or what the kind has.

        Raises:
            BadInputError: if the weights are of another kind, or the device cannot do what the settings ask for.
        """


def validate_choices(given: Mapping[str, Any], known: Sequence[str], kind: str) -> None:
    """Raise if a choice is given that the kind does not have.

    Raises:
        BadInputError: if there is such a choice.
    """
    for name in given:
        if name not in known:
            raise BadInputError(f"Expected no `{name}` for {kind}, which has none. Leave it out.")


def validate_defaults(settings: FitSettings, names: Sequence[str], kind: str) -> None:
    """Raise if a named setting, which only LU-Net has, is not its default, or coordinates are whitened.

    Raises:
        BadInputError: if there is such a setting.
    """
    fields = FitSettings.__dataclass_fields__
    others = [name for name in names if getattr(settings, name) != fields[name].default]
    others += ["whitened coordinates"] if settings.whitened else []
    if others:
        raise BadInputError(f"Expected no {others[0]} for {kind}; only LU-Net has it. Leave it out.")


def validate_no_contexts(data: Dataset, network: str, instead: str) -> None:
    """Raise if rows have contexts.

    Args:
        data: The rows.
        network: Network that takes none, a noun.
        instead: Choice of a network that takes them, as Python writes it.

    Raises:
        BadInputError: if the rows have contexts.
    """
    if data.contexts:
        raise BadInputError(
            f"Expected rows without contexts for {network}; {data.name} has contexts. Leave them out, or take "
            f"`{instead}`."
        )
