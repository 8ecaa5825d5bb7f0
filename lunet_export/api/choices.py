"""The finer choices of a training, by name: those of the network, and those of how it is fitted."""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from lunet_export.errors import BadInputError, did_you_mean

#: Kinds of flows that can be trained.
FlowName = Literal["lunet", "realnvp", "realnvp-dense", "jko"]


class NetworkChoices(TypedDict, total=False):
    """Choices of the network; each kind of flow has its own defaults, and not all of these."""

    blocks: int | None
    alpha: float | None
    activation: str | None
    width: int | None
    hidden_layers: int | None
    steps: int | None
    step_size: float | None
    step_growth: float | None
    largest_step: float | None
    stop: float | None
    rounds: int | None
    refine: bool | None


class FitChoices(TypedDict, total=False):
    """Choices of how a network is fitted; the defaults depend on the kind of flow and on the data."""

    batch_size: int | None
    learning_rate: float | None
    patience: int | None
    optimizer: Literal["adam", "l-bfgs"] | None
    init: str | None
    signs: str | None
    whitened: bool | None
    schedule: Literal["schedule-free", "linear", "one-cycle", "constant"] | None
    average: float
    weight_decay: float | None
    regulariser: str | None
    regulariser_weight: float
    bound: float | None


class TrainingChoices(NetworkChoices, FitChoices, total=False):
    """The finer choices of `lunet_export.train`, which `lunet-export train --help` describes one by one.

    Numbers have the units of the options of the same names: `learning_rate` is the peak rate of Adam, `patience` and
    `rounds` count epochs and rounds, `regulariser_weight` is in nats per row, `bound` is the largest |log u_ii|. None
    takes the default.
    """


def divided(choices: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the choices of the network and those of the fit, without those that are None.

    Raises:
        BadInputError: if a name is no choice.
    """
    known = TrainingChoices.__annotations__
    for name in choices:
        if name not in known:
            raise BadInputError(f"Expected choices of {', '.join(known)}; got {name}.{did_you_mean(name, known)}")
    given = {name: value for name, value in choices.items() if value is not None}
    network = {name: value for name, value in given.items() if name in NetworkChoices.__annotations__}
    return network, {name: value for name, value in given.items() if name not in network}
