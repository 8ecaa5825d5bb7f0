"""The optimizers: Adam under a falling rate, Adam whose average needs no schedule, and L-BFGS for few dimensions.

Each holds a flow's parameters, gives the flow that is the model at any time, and moves all its copies of the flow into
other coordinates together. Both kinds of Adam can shrink what `Flow.decaying` names.
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

_WARM_UP = 200  # steps, in short runs a twentieth of them: Adam's second moments need about as many
_ITERATIONS = 100  # most L-BFGS iterations per epoch
_CURVATURES = 30  # pairs of steps and gradients that L-BFGS remembers
_FORGETTING = 2.0  # step t weighs t^2 in the schedule-free average: what was learnt late counts most


class Trainable(Protocol):
    """This is what an optimizer asks of a module: the methods of a `Flow`, or of a block of one."""

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def zero_grad(self) -> None: ...

    def decaying(self) -> Iterable[tuple[nn.Parameter, Tensor]]: ...


M = TypeVar("M", bound=Trainable)

#: Function that moves several copies of a flow in the same way.
Whiten = Callable[[Sequence[M], Iterable[Any]], None]


class Optimizer(ABC, Generic[M]):
    """This class is an optimizer of one flow. Gradients are taken at `flow`."""

    def __init__(self, flow: M) -> None:
        self.flow = flow

    @property
    @abstractmethod
    def rate(self) -> float:
        """Return the learning rate of the next step."""

    @abstractmethod
    def step(self, objective: Callable[[], Tensor]) -> None:
        """Make `objective`, a function of the parameters of `flow`, smaller; it is called at least once."""

    @abstractmethod
    def model(self) -> M:
        """Return the flow to validate and to keep."""

    @abstractmethod
    def whiten(self, batches: Iterable[Any], how: Whiten[M]) -> None:
        """Move all copies of the flow into coordinates that are white over `batches`, by `how`."""

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs beside the state of `flow`."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`; there may be nothing to load."""


class Adam(Optimizer[M]):
    """This class is what both kinds of Adam share.

    Args:
        flow: The flow.
        torch_optimizer: PyTorch's optimizer of its parameters.
        weight_decay: Decoupled decay of what `Flow.decaying` names, per step and unit of the learning rate.
        clip_norm: Largest L2 norm of the gradients; longer ones are scaled to it.
    """

    def __init__(
        self, flow: M, torch_optimizer: torch.optim.Optimizer, *, weight_decay: float, clip_norm: float
    ) -> None:
        super().__init__(flow)
        self.torch_optimizer, self._weight_decay, self._clip_norm = torch_optimizer, weight_decay, clip_norm

    def step(self, objective: Callable[[], Tensor]) -> None:
        loss = objective()
        self.flow.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.flow.parameters(), self._clip_norm)
        self._take()

    @abstractmethod
    def _take(self) -> None:
        """Take a step along the gradients that `flow` holds."""

    def state_dict(self) -> dict[str, Any]:
        return {"optimiser": self.torch_optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        validate_state(state["optimiser"], self.torch_optimizer)
        self.torch_optimizer.load_state_dict(state["optimiser"])

    def _decayed(self) -> Iterable[tuple[nn.Parameter, Tensor]]:
        """Yield parameters, and the decoupled decay of a step (Loshchilov and Hutter 2017, arXiv 1711.05101)."""
        if self._weight_decay:
            for parameter, part in self.flow.decaying():
                yield parameter, part * (-self._weight_decay * self.rate)


def _learnt(flow: Trainable) -> list[nn.Parameter]:
    """Return the parameters that are learnt, without those that are held fixed."""
    return [parameter for parameter in flow.parameters() if parameter.requires_grad]


def validate_state(state: dict[str, Any], torch_optimizer: torch.optim.Optimizer) -> None:
    """Raise unless a state fits this optimizer; PyTorch itself compares only the number of parameters.

    Raises:
        ValueError, or what values of other types raise: if it is another's, or holds a number that is not finite.
    """
    own = torch_optimizer.state_dict()
    shapes = [parameter.shape for group in torch_optimizer.param_groups for parameter in group["params"]]
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
    """Return whether a value is of the same kind as another: a finite number, a text, or a sequence of equal length."""
    if isinstance(wanted, list | tuple):
        return isinstance(found, list | tuple) and len(found) == len(wanted) and all(map(_alike, found, wanted))
    if isinstance(wanted, float) or (isinstance(wanted, int) and not isinstance(wanted, bool)):
        return isinstance(found, int | float) and not isinstance(found, bool) and isfinite(found)
    return type(found) is type(wanted)


class Annealed(Adam[M]):
    """This class is Adam (Kingma and Ba 2014, arXiv 1412.6980) under a rate that falls.

    Args:
        flow: The flow.
        learning_rate: Peak of the learning rate.
        schedule: Name of the fall of the rate.
        steps: Number of steps of the whole run.
        average: Share that an exponential moving average of the weights keeps per step; the average is then the model.
            0: none.
        weight_decay: Weight decay as in `Adam`.
        clip_norm: Largest norm of the gradients as in `Adam`.
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
        adam = torch.optim.Adam(_learnt(flow), lr=learning_rate)
        super().__init__(flow, adam, weight_decay=weight_decay, clip_norm=clip_norm)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self.torch_optimizer, rate(schedule, steps))
        self._averaged: AveragedModel | None = None
        if average:
            kept = get_ema_multi_avg_fn(average)  # type: ignore[no-untyped-call]
            self._averaged = AveragedModel(flow, multi_avg_fn=kept)  # type: ignore[arg-type]  # no type says both

    @property
    def rate(self) -> float:
        return float(self._schedule.get_last_lr()[0])

    @torch.no_grad()
    def _take(self) -> None:
        self.torch_optimizer.step()
        for packed, lost in self._decayed():
            packed.add_(lost)
        self._schedule.step()
        if self._averaged:
            self._averaged.update_parameters(self.flow)  # type: ignore[arg-type]

    def model(self) -> M:
        return self._averaged.module if self._averaged else self.flow  # type: ignore[return-value]

    def whiten(self, batches: Iterable[Any], how: Whiten[M]) -> None:
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
    """This class is Schedule-Free AdamW (Defazio et al. 2024, arXiv 2405.15682).

    There are three copies of the parameters: z takes Adam's steps at a constant rate, x is their weighted average and
    the model, and gradients are taken at y = beta x + (1 - beta) z. The noise of the steps, which at a useful rate
    hides what LU-Net could learn, is averaged away before the gradient sees it. So the rate need not fall, and any
    epoch may be the last. z itself wanders far off.
    """

    def __init__(self, flow: M, *, learning_rate: float, steps: int, weight_decay: float, clip_norm: float) -> None:
        self._warm_up = max(1, min(_WARM_UP, steps // 20))
        self._adam = AdamWScheduleFree(_learnt(flow), lr=learning_rate, warmup_steps=self._warm_up, r=_FORGETTING)
        super().__init__(flow, self._adam, weight_decay=weight_decay, clip_norm=clip_norm)
        self._adam.train()

    @property
    def rate(self) -> float:
        group = self._adam.param_groups[0]
        return float(group["lr"]) * min(1.0, (group["k"] + 1) / self._warm_up)

    @torch.no_grad()
    def _take(self) -> None:
        self.torch_optimizer.step()
        beta = self._adam.param_groups[0]["betas"][0]
        for packed, lost in self._decayed():  # applied to z and to its share of y, so that x stays their average
            self._adam.state[packed]["z"].add_(lost)
            packed.add_(lost, alpha=1 - beta)

    def model(self) -> M:
        self._adam.eval()  # sets the parameters of the flow to x
        model = deepcopy(self.flow)
        self._adam.train()
        return model

    def whiten(self, batches: Iterable[Any], how: Whiten[M]) -> None:
        self._adam.eval()
        steps, held = deepcopy(self.flow), self._adam.state
        pairs = list(zip(_learnt(self.flow), _learnt(steps), strict=True))
        with torch.no_grad():
            for parameter, step in pairs:
                if "z" in held[parameter]:  # not before the first step
                    step.copy_(held[parameter]["z"])
        how([self.flow, steps], batches)
        for parameter, step in pairs:
            if "z" in held[parameter]:  # not before the first step
                held[parameter]["z"].copy_(step.detach())
        self._adam.train()


class QuasiNewton(Optimizer[M]):
    """This class is L-BFGS with a line search (Liu and Nocedal, Mathematical Programming 45, 1989).

    A step is many iterations. It needs an objective without noise: all rows at once. Where there are few parameters it
    ends far below Adam. Its memory of curvatures lives for one step, since `whiten` moves the coordinates between
    steps.

    Args:
        flow: The flow, in float64: a line search compares values that differ by rounding.
        iterations: Largest number of iterations per step.
    """

    def __init__(self, flow: M, *, iterations: int) -> None:
        super().__init__(flow)
        self._iterations = iterations

    @property
    def rate(self) -> float:
        return 1.0  # where the line search begins

    def step(self, objective: Callable[[], Tensor]) -> None:
        parameters = _learnt(self.flow)
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

    def whiten(self, batches: Iterable[Any], how: Whiten[M]) -> None:
        how([self.flow], batches)


def optimizer_of(settings: FitSettings, flow: M, steps: int) -> Optimizer[M]:
    """Return the optimizer of a flow, or of a block of one, from where it is.

    Args:
        settings: Settings of the run.
        flow: The flow or the block.
        steps: Number of steps of the whole run.
    """
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
