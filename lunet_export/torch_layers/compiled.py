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
from lunet_export.layers import Chain
from lunet_export.torch_layers.flow import Flow, standard_normal_log_prob

Floats = NDArray[np.floating]


class CompiledFlow:
    """This class runs a flow by `torch.compile` on NumPy rows, on the CPU, in the dtype of an exported graph.

    The arithmetic is that of `EagerFlow`, with one difference: the compiler cannot stop a loop by its data, so Newton,
    where LU-Net needs it, takes the number of steps that its alpha and dtype ask for. Each direction and batch is
    compiled once, for its fixed shape, at its first call; `compile_seconds` holds how long these took.

    Raises:
        MissingPackageError: from the first call, if `torch.compile` cannot run here, mostly for want of a C++ compiler.
    """

    def __init__(self, weights: Chain, dtype: str) -> None:
        self._flow = Flow.of(weights, dtype=getattr(torch, dtype)).eval()
        self._flow.prepare_to_compile()
        self._dtype = np.dtype(dtype)
        self._compiled: dict[tuple[str, int], Callable[[Tensor], Any]] = {}
        self.compile_seconds: dict[tuple[str, int], float] = {}  # by direction and batch, including the first run

    @torch.no_grad()
    def density(self, x: Floats) -> tuple[Floats, Floats]:
        """Return z (N, D) and log_prob (N,) in nats for x (N, D)."""
        z, log_prob = self._run("density", self._density, x)
        return z.numpy(), log_prob.numpy()

    @torch.no_grad()
    def decode(self, z: Floats) -> Floats:
        """Return x (N, D) for z (N, D), with images clamped."""
        return self._run("sampling", self._flow.compilable_decode, z).numpy()

    def _run(self, direction: str, function: Callable[[Tensor], Any], rows: Floats) -> Any:  # noqa: ANN401
        tensor = torch.from_numpy(np.ascontiguousarray(rows, dtype=self._dtype))
        compiled = self._compiled.get((direction, len(rows)))
        if compiled is not None:
            return compiled(tensor)
        begin = time.perf_counter()
        compiled = torch.compile(_with_own_code(function), fullgraph=True, dynamic=False)
        try:
            with warnings.catch_warnings(action="ignore"):  # PyTorch warns about itself
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


def _with_own_code(method: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    """Return the method as a function with code of its own.

    The compiler keeps what it made by code object, tries the versions in turn at each call and stops after eight:
    without this, the tenth batch size would pay for nine others.
    """
    function, flow = method.__func__, method.__self__  # type: ignore[attr-defined]
    return MethodType(FunctionType(function.__code__.replace(), function.__globals__, function.__name__), flow)
