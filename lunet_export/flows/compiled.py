"""`torch.compile` behind the interface of an exported flow: the fastest that PyTorch itself offers."""

import time
import warnings
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lunet_export.errors import MissingPackageError
from lunet_export.flows.leaky_softplus import LeakySoftplus
from lunet_export.flows.lunet import LUNet, standard_normal_log_prob
from lunet_export.weights import LUNetWeights

Floats = NDArray[np.floating]

_MOST_STEPS = 64  # alpha 0.001 in float64 needs 13


class CompiledFlow:
    """NumPy rows in and out of `LUNet` through `torch.compile`, on the CPU, in the dtype of an exported graph.

    The arithmetic is that of `EagerFlow`, with one difference: the compiler cannot stop a loop by its data, so Newton
    takes the number of steps that this alpha and dtype need. Each direction and batch is compiled once, for its fixed
    shape, at its first call; `compile_seconds` holds how long these took.

    Raises:
        MissingPackageError: From the first call: `torch.compile` cannot run here, mostly for want of a C++ compiler.
    """

    def __init__(self, weights: LUNetWeights, dtype: str) -> None:
        self._flow = LUNet.from_weights(weights, dtype=getattr(torch, dtype)).eval()
        self._dtype = np.dtype(dtype)
        self._steps = newton_steps(weights.alpha, getattr(torch, dtype))
        self._compiled: dict[tuple[str, int], Callable[[Tensor], Any]] = {}
        self.compile_seconds: dict[tuple[str, int], float] = {}  # by direction and batch, the first run included

    @torch.no_grad()
    def density(self, x: Floats) -> tuple[Floats, Floats]:
        """x (N, D) -> z (N, D), log_prob (N,) in nats."""
        z, log_prob = self._run("density", self._density, x)
        return z.numpy(), log_prob.numpy()

    @torch.no_grad()
    def decode(self, z: Floats) -> Floats:
        """z (N, D) -> x (N, D), images clamped."""
        return self._run("sampling", self._sampling, z).numpy()

    def _run(self, direction: str, function: Callable[[Tensor], Any], rows: Floats) -> Any:  # noqa: ANN401
        tensor = torch.from_numpy(np.ascontiguousarray(rows, dtype=self._dtype))
        compiled = self._compiled.get((direction, len(rows)))
        if compiled is not None:
            return compiled(tensor)
        begin = time.perf_counter()
        compiled = torch.compile(_with_own_code(function), fullgraph=True, dynamic=False)
        try:
            with warnings.catch_warnings(action="ignore"):  # of one part of PyTorch about another
                answer = compiled(tensor)
        except RuntimeError as error:  # every error of the compiler is one
            reason = " ".join(str(error).split("\n\n")[0].split())
            raise MissingPackageError(
                f"Expected torch.compile to run; it says: {reason[:200]}. It needs a C++ compiler such as g++."
            ) from None
        self.compile_seconds[direction, len(rows)] = time.perf_counter() - begin
        self._compiled[direction, len(rows)] = compiled
        return answer

    def _density(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self._flow.chain(x)
        return z, standard_normal_log_prob(z) + log_det

    def _sampling(self, z: Tensor) -> Tensor:
        for layer in reversed(self._flow.chain.bijections):
            is_activation = isinstance(layer, LeakySoftplus)
            z = newton(layer, z, self._steps) if is_activation else layer.inverse(z)[0]  # type: ignore[arg-type,operator]
        return self._flow.clamp(z)


def newton(activation: LeakySoftplus, y: Tensor, steps: int) -> Tensor:
    """x with f(x) = y after `steps` of Newton's iteration, from the start of `LeakySoftplus.inverse`."""
    alpha = activation.alpha
    x = torch.minimum(y, y / alpha)  # right of the root, and f is convex: Newton only descends
    for _ in range(steps):
        slope = alpha + (1 - alpha) * torch.sigmoid(x)
        x = x - (activation(x)[0] - y) / slope
    return x


def newton_steps(alpha: float, dtype: torch.dtype) -> int:
    """The fewest steps that bring every y within 4 units of rounding of what many steps give."""
    activation = LeakySoftplus(alpha)
    y = torch.cat([torch.linspace(-60, 60, 4801, dtype=dtype), torch.tensor([-1e6, 1e6], dtype=dtype)])[:, None]
    exact = newton(activation, y, _MOST_STEPS)
    allowed = 4 * torch.finfo(dtype).eps * exact.abs().clamp(min=1)
    for steps in range(1, _MOST_STEPS):
        if ((newton(activation, y, steps) - exact).abs() <= allowed).all():
            return steps
    return _MOST_STEPS


def _with_own_code(method: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    """The method as a function with code of its own.

    The compiler keeps what it made by code object, tries the versions in turn at each call and stops after eight:
    without this, the tenth batch size would pay for nine others.
    """
    function, flow = method.__func__, method.__self__  # type: ignore[attr-defined]
    return MethodType(FunctionType(function.__code__.replace(), function.__globals__, function.__name__), flow)
