"""The finer choices of a training by name: those of the network and those of the fit."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args, get_type_hints

from lunet_export.errors import BadInputError, brief, did_you_mean
from lunet_export.scalars import real, whole

#: Kinds of flows that can be trained.
FlowName = Literal["lunet", "realnvp", "realnvp-dense", "jko"]


class NetworkChoices(TypedDict, total=False):
    """Choices of the network. Each kind of flow has its own defaults and takes only some of these."""

    blocks: int | None
    alpha: float | str | None
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
    """Choices of the fit; the defaults depend on the kind of flow and on the data."""

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

    Numbers have the units of the options with the same names: `learning_rate` is the peak rate of Adam, `patience` is a
    number of epochs, `rounds` a number of rounds, `regulariser_weight` is in nats per row, and `bound` is the largest
    |log u_ii|. None takes the default.
    """


def divided(choices: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the choices of the network and those of the fit, without those that are None.

    Raises:
        BadInputError: if a name is unknown, or a value has the wrong type.
    """
    known = TrainingChoices.__annotations__
    for name in choices:
        if name not in known:
            raise BadInputError(f"Expected choices of {', '.join(known)}; got {name}.{did_you_mean(name, known)}")
    hints = get_type_hints(TrainingChoices)
    given = {name: typed(name, value, hints[name]) for name, value in choices.items() if value is not None}
    network = {name: value for name, value in given.items() if name in NetworkChoices.__annotations__}
    return network, {name: value for name, value in given.items() if name not in network}


def typed(name: str, value: Any, hint: object) -> Any:  # noqa: ANN401
    """Return a value if it has the annotated type, such as `int | None`; NumPy's numbers become Python's.

    Raises:
        BadInputError: if it has another type, or a count is below 1 (below 0 for `rounds`, `epochs` and `seed`).
    """
    kinds, called = get_args(hint) or (hint,), name.replace("_", " ")
    if int in kinds:
        return whole(value, f"a whole number for {called}", least=0 if name in _FROM_NOTHING else 1)
    if str in kinds and isinstance(value, str):
        return str(value)
    if float in kinds:
        return real(value, f"a number for {called}", least=-sys.float_info.max)
    if bool in kinds and isinstance(value, bool):
        return value
    if bool not in kinds and isinstance(value, str):
        return str(value)
    raise BadInputError(f"Expected {'True or False' if bool in kinds else 'a name'} for {called}; got {brief(value)}.")


_FROM_NOTHING = ("rounds", "epochs", "seed")


def path_of(given: object, what: str) -> Path:
    """Return a str or a Path as Path.

    Raises:
        BadInputError: if it is neither.
    """
    if not isinstance(given, str | os.PathLike):
        raise BadInputError(f"Expected a str or a Path for {what}; got a {type(given).__name__}.")
    return Path(given)
