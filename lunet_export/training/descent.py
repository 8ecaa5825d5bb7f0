"""The ways down: Adam under a falling rate, Adam whose average needs no schedule, and L-BFGS on few dimensions.

All hold a flow's parameters, give the flow that is the model at any time, and move all their copies of it into other
coordinates together. Both kinds of Adam can shrink what `Flow.decaying` names.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from math import isfinite
from typing import Any, Generic, Protocol, TypeVar

import torch
from schedulefree import AdamWScheduleFree
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lunet_export.training.schedule import Falling, rate
from lunet_export.training.settings import FitSettings

_WARM_UP = 200  # steps of the schedule-free rate, in short runs a twentieth: Adam's second moments need about as many
_ITERATIONS = 100  # of L-BFGS in an epoch, at most
_CURVATURES = 30  # pairs of steps and gradients that L-BFGS remembers
_FORGETTING = 2.0  # step t weighs t^2 in the schedule-free average: what was learnt late counts most


class Trainable(Protocol):
    """What a descent asks of a module, by the names of `Flow`: a flow is one, or a block of a flow."""

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def zero_grad(self) -> None: ...

    def decaying(self) -> Iterable[tuple[nn.Parameter, Tensor]]: ...


M = TypeVar("M", bound=Trainable)

#: Moves several copies of a flow alike.
Whiten = Callable[[Sequence[M], Iterable[Tensor]], None]


class Descent(ABC, Generic[M]):
    """An optimizer of one flow. `flow` is where gradients are taken."""

    def __init__(self, flow: M) -> None:
        self.flow = flow

    @property
    @abstractmethod
    def rate(self) -> float:
        """The learning rate of the next step."""

    @abstractmethod
    def step(self, objective: Callable[[], Tensor]) -> None:
        """Make `objective`, a function of the parameters of `flow`, smaller; it is called at least once."""

    @abstractmethod
    def model(self) -> M:
        """The flow to validate and to keep."""

    @abstractmethod
    def whiten(self, batches: Iterable[Tensor], how: Whiten[M]) -> None:
        """Move all that is held of the flow into coordinates that are white over `batches`; `how` is the kind's."""

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs beside the state of `flow`."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`; there may be nothing to load."""


class Adam(Descent[M]):
    """What both kinds of Adam share.

    Args:
        flow: The flow.
        optimiser: Of its parameters.
        weight_decay: Of what `Flow.decaying` names.
        clip_norm: Gradients are cut to this L2 norm.
    """

    def __init__(self, flow: M, optimiser: torch.optim.Optimizer, *, weight_decay: float, clip_norm: float) -> None:
        super().__init__(flow)
        self.optimiser, self._weight_decay, self._clip_norm = optimiser, weight_decay, clip_norm

    def step(self, objective: Callable[[], Tensor]) -> None:
        loss = objective()
        self.flow.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.flow.parameters(), self._clip_norm)
        self._take()

    @abstractmethod
    def _take(self) -> None:
        """Take the gradients that `flow` holds."""

    def state_dict(self) -> dict[str, Any]:
        return {"optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        refuse_another(state["optimiser"], self.optimiser)
        self.optimiser.load_state_dict(state["optimiser"])

    def _decayed(self) -> Iterable[tuple[nn.Parameter, Tensor]]:
        """Parameters, and the decoupled decay of a step (Loshchilov and Hutter 2017, arXiv 1711.05101)."""
        if self._weight_decay:
            for parameter, part in self.flow.decaying():
                yield parameter, part * (-self._weight_decay * self.rate)


def refuse_another(state: dict[str, Any], optimiser: torch.optim.Optimizer) -> None:
    """Raise unless a state is one of this optimiser: PyTorch itself looks at how many parameters there are alone.

    Raises:
        ValueError, or what values of other types raise: It is another's, or holds a number that is not finite.
    """
    own = optimiser.state_dict()
    shapes = [parameter.shape for group in optimiser.param_groups for parameter in group["params"]]
    for group, wanted in zip(state["param_groups"], own["param_groups"], strict=True):
        if group.keys() != wanted.keys() or group["params"] != wanted["params"]:
            raise ValueError("param_groups")
        for name, value in wanted.items():
            if not _alike(group[name], value):
                raise ValueError(f"param_groups, {name}")
    for number, entries in state["state"].items():
        for name, value in entries.items():
            fits = isinstance(value, Tensor) and not value.is_complex() and value.shape in ((), shapes[number])
            if type(number) is not int or not fits or not bool(value.isfinite().all()):
                raise ValueError(f"state {number}, {name}")
    if len({tuple(sorted(entries)) for entries in state["state"].values()}) > 1:
        raise ValueError("state")


def _alike(found: object, wanted: object) -> bool:
    """Whether a value is of the kind of another: finite numbers, texts, or as many of them."""
    if isinstance(wanted, list | tuple):
        return isinstance(found, list | tuple) and len(found) == len(wanted) and all(map(_alike, found, wanted))
    if isinstance(wanted, float) or (isinstance(wanted, int) and not isinstance(wanted, bool)):
        return isinstance(found, int | float) and not isinstance(found, bool) and isfinite(found)
    return type(found) is type(wanted)


class Annealed(Adam[M]):
    """Adam (Kingma and Ba 2014, arXiv 1412.6980) under a rate that falls.

    Args:
        flow: The flow.
        learning_rate: The peak.
        schedule: How the rate falls.
        steps: Of the whole run.
        average: Share a step that an exponential moving average of the weights keeps; it is then the model. 0: none.
        weight_decay: As for `Adam`; so is
        clip_norm: this.
    """

    def __init__(
        self,
        flow: M,
        *,
        learning_rate: float,
        schedule: Falling,
        steps: int,
        average: float,
        weight_decay: float,
        clip_norm: float,
    ) -> None:
        adam = torch.optim.Adam(flow.parameters(), lr=learning_rate)
        super().__init__(flow, adam, weight_decay=weight_decay, clip_norm=clip_norm)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, rate(schedule, steps))
        self._averaged: AveragedModel | None = None
        if average:
            kept = get_ema_multi_avg_fn(average)  # type: ignore[no-untyped-call]
            self._averaged = AveragedModel(flow, multi_avg_fn=kept)  # type: ignore[arg-type]  # no type says both

    @property
    def rate(self) -> float:
        return float(self._schedule.get_last_lr()[0])

    @torch.no_grad()
    def _take(self) -> None:
        self.optimiser.step()
        for packed, lost in self._decayed():
            packed.add_(lost)
        self._schedule.step()
        if self._averaged:
            self._averaged.update_parameters(self.flow)  # type: ignore[arg-type]

    def model(self) -> M:
        return self._averaged.module if self._averaged else self.flow  # type: ignore[return-value]

    def whiten(self, batches: Iterable[Tensor], how: Whiten[M]) -> None:
        how([self.model(), *([self.flow] if self._averaged else [])], batches)

    def state_dict(self) -> dict[str, Any]:
        averaged = self._averaged.state_dict() if self._averaged else None
        return {**super().state_dict(), "schedule": self._schedule.state_dict(), "averaged": averaged}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._schedule.load_state_dict(state["schedule"])
        if self._averaged:
            self._averaged.load_state_dict(state["averaged"])


class ScheduleFree(Adam[M]):
    """Schedule-Free AdamW (Defazio et al. 2024, arXiv 2405.15682).

    Three copies of the parameters: z takes Adam's steps at one rate, x is their weighted average and the model, and
    gradients are taken at y = beta x + (1 - beta) z. The noise of the steps, which at a useful rate hides what LU-Net
    could learn, is averaged away before the gradient sees it, so no fall of the rate is needed, and any epoch may be
    the last. z itself wanders far off.
    """

    def __init__(self, flow: M, *, learning_rate: float, steps: int, weight_decay: float, clip_norm: float) -> None:
        self._warm_up = max(1, min(_WARM_UP, steps // 20))
        self._adam = AdamWScheduleFree(flow.parameters(), lr=learning_rate, warmup_steps=self._warm_up, r=_FORGETTING)
        super().__init__(flow, self._adam, weight_decay=weight_decay, clip_norm=clip_norm)
        self._adam.train()

    @property
    def rate(self) -> float:
        group = self._adam.param_groups[0]
        return float(group["lr"]) * min(1.0, (group["k"] + 1) / self._warm_up)

    @torch.no_grad()
    def _take(self) -> None:
        self.optimiser.step()
        beta = self._adam.param_groups[0]["betas"][0]
        for packed, lost in self._decayed():  # of z, and of y as far as it is z: the average stays one
            self._adam.state[packed]["z"].add_(lost)
            packed.add_(lost, alpha=1 - beta)

    def model(self) -> M:
        self._adam.eval()  # flow becomes x
        model = deepcopy(self.flow)
        self._adam.train()
        return model

    def whiten(self, batches: Iterable[Tensor], how: Whiten[M]) -> None:
        self._adam.eval()
        steps, held = deepcopy(self.flow), self._adam.state
        pairs = list(zip(self.flow.parameters(), steps.parameters(), strict=True))
        with torch.no_grad():
            for parameter, step in pairs:
                if "z" in held[parameter]:  # not before the first step
                    step.copy_(held[parameter]["z"])
        how([self.flow, steps], batches)
        for parameter, step in pairs:
            if "z" in held[parameter]:  # not before the first step
                held[parameter]["z"].copy_(step.detach())
        self._adam.train()


class QuasiNewton(Descent[M]):
    """L-BFGS with a line search (Liu and Nocedal, Mathematical Programming 45, 1989), many iterations a step.

    For an objective without noise: all rows at once. Where there are few parameters it ends far below Adam. The memory
    of curvatures lives for one step, since `whiten` moves the coordinates between steps.

    Args:
        flow: The flow, in float64: a line search compares values that differ by rounding.
        iterations: At most so many a step.
    """

    def __init__(self, flow: M, *, iterations: int) -> None:
        super().__init__(flow)
        self._iterations = iterations

    @property
    def rate(self) -> float:
        return 1.0  # where the line search begins

    def step(self, objective: Callable[[], Tensor]) -> None:
        parameters = list(self.flow.parameters())
        before = [parameter.detach().clone() for parameter in parameters]
        lbfgs = torch.optim.LBFGS(
            parameters,
            max_iter=self._iterations,
            history_size=_CURVATURES,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-9,
            tolerance_change=1e-12,
        )

        def evaluate() -> Tensor:
            lbfgs.zero_grad()
            loss = objective()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        lbfgs.step(evaluate)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            if not objective().isfinite():  # a line search that left the finite numbers
                for parameter, value in zip(parameters, before, strict=True):
                    parameter.copy_(value)
                objective()

    def model(self) -> M:
        return self.flow

    def whiten(self, batches: Iterable[Tensor], how: Whiten[M]) -> None:
        how([self.flow], batches)


def descent_of(settings: FitSettings, flow: M, steps: int) -> Descent[M]:
    """The descent of a flow, or of a block of one, from where it is, by the settings: so many steps in all."""
    if settings.optimizer == "l-bfgs":
        return QuasiNewton(flow, iterations=_ITERATIONS)
    common: dict[str, Any] = {
        "learning_rate": settings.learning_rate,
        "steps": steps,
        "weight_decay": settings.weight_decay,
        "clip_norm": settings.clip_norm,
    }
    if settings.schedule == "schedule-free":
        return ScheduleFree(flow, **common)
    return Annealed(flow, schedule=settings.schedule, average=settings.average, **common)
