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
from lunet_export.training.choice import Judge
from lunet_export.training.gaussian import Gaussian
from lunet_export.training.history import EpochRecord, best_of, refuse_gaps
from lunet_export.training.settings import FitSettings

Array = NDArray[np.float64]
OnGrowth = Callable[[int, int], None]  # called with the work done and all of it, in any unit


class Training(ABC):
    """A training run, one epoch (or whatever `unit` names) at a time.

    All randomness comes from one NumPy generator, so a run repeats on the same machine, and `state` / `restore`
    continue it bit by bit.
    """

    unit: ClassVar[str] = "epoch"
    steps_per_epoch: int
    start: float  # bits/dim of the validation rows, before the first step
    start_flow: Flow  # which has that figure
    best_flow: Flow

    def __init__(self, data: Dataset, settings: FitSettings, device: torch.device) -> None:
        self.data, self.settings, self.device = data, settings, device
        self.history: list[EpochRecord] = []
        self.rng = np.random.default_rng(settings.seed)

    @property
    def best(self) -> EpochRecord:
        """The record with the lowest validation figure; 0 is the start."""
        return best_of(self.start, self.history)

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether there is nothing left to do."""

    @property
    @abstractmethod
    def length(self) -> int:
        """How many epochs there are, at most."""

    @abstractmethod
    def run_epoch(self, on_step: Callable[[int, float], None]) -> EpochRecord:
        """Train one epoch and validate; `on_step(step, bits_per_dim)` is called after every optimisation step.

        Raises:
            CheckFailedError: The loss stopped being a finite number.
        """

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, as tensors and plain values."""
        return {
            "settings": asdict(self.settings),
            "random": self.rng.bit_generator.state,
            "history": [asdict(record) for record in self.history],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state` as if there had been no interruption."""
        self.rng.bit_generator.state = state["random"]
        self.history = [*map(EpochRecord.of, state["history"])]
        refuse_gaps(self.history)


class Structure(ABC):
    """What kind of network is trained, before there is one, and how that kind is trained: one class per kind."""

    family: ClassVar[str]  # the name of the kind

    @classmethod
    @abstractmethod
    def choose(cls, dim: int, image_shape: tuple[int, ...] | None, given: Mapping[str, Any]) -> Self:
        """The usual structure for data of that kind, unless more is given.

        Args:
            dim: Number of dimensions D.
            image_shape: Shape of an image; None for vectors.
            given: What the user chose, by name; nothing is None.

        Raises:
            BadInputError: The kind has no such choice, or not for such data.
        """

    @classmethod
    @abstractmethod
    def of(cls, weights: Chain) -> Self:
        """The structure of weights to start from.

        Raises:
            BadInputError: They are of another kind.
        """

    @classmethod
    @abstractmethod
    def usual(cls, rows: int, dim: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """Settings that suit so many rows of so many dimensions, beside those given."""

    @classmethod
    @abstractmethod
    def refuse(cls, settings: FitSettings) -> None:
        """Raise where a setting is not for this kind of network.

        Raises:
            BadInputError: One is not.
        """

    @classmethod
    def settings(cls, rows: int, dim: int, **given: object) -> FitSettings:
        """What suits so many rows of so many dimensions by `usual`; `given` values other than None win.

        Raises:
            BadInputError: A setting is out of its range, or not for this kind of network.
        """
        chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        settings = FitSettings(**{"family": cls.family} | cls.usual(rows, dim, chosen) | chosen)
        settings.refuse_nonsense()
        cls.refuse(settings)
        return settings

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """Plain values, by which a resumed run is known to be the same."""

    @abstractmethod
    def first(self, gaussian: Gaussian, settings: FitSettings, rows: Array, judge: Judge, on_growth: OnGrowth) -> Chain:
        """The network before its first step.

        Args:
            gaussian: Gaussian of the training rows, with their pre-processing.
            settings: Settings of the run.
            rows: The training rows, (N, D) in data space.
            judge: Judge of what is grown.
            on_growth: Called by what grows a network.
        """

    @abstractmethod
    def gaussian(self, gaussian: Gaussian) -> Chain:
        """The smallest network of the kind that is this Gaussian exactly."""

    @abstractmethod
    def trainer(self, first: Chain, data: Dataset, settings: FitSettings, device: torch.device) -> Training:
        """The run that begins with the weights `first`: epochs of maximum likelihood, or what the kind has.

        Raises:
            BadInputError: They are of another kind, or the device cannot do what the settings ask for.
        """


def refuse_others(given: Mapping[str, Any], known: Sequence[str], kind: str) -> None:
    """Raise where a choice is given that the kind has not.

    Raises:
        BadInputError: One is.
    """
    for name in given:
        if name not in known:
            raise BadInputError(f"Expected no --{name.replace('_', '-')} for {kind}, which has none. Leave it out.")


def refuse_lunets(settings: FitSettings, names: Sequence[str], kind: str) -> None:
    """Raise where one of the named settings, which only LU-Net has, is not its default, or coordinates are whitened.

    Raises:
        BadInputError: One is.
    """
    fields = FitSettings.__dataclass_fields__
    others = [name for name in names if getattr(settings, name) != fields[name].default]
    others += ["whitened coordinates"] if settings.whitened else []
    if others:
        raise BadInputError(f"Expected no {others[0]} for {kind}: that is LU-Net's. Leave it out.")
