"""Copies of other libraries' objects in float64, on the CPU and in evaluation mode; the objects are not changed."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import partial
from types import MethodType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Distribution, Transform, constraints
from torch.nn import functional

from lunet_export.errors import CheckpointError
from lunet_export.importers.parts import Foreign

Array = NDArray[np.float64]

_COPIED = (nn.Module, Transform, Distribution, constraints.Constraint)


def twin(thing: Foreign) -> Foreign:
    """Return a copy whose floating-point tensors are float64 and whose modules are in evaluation mode.

    `copy.deepcopy` refuses tensors that carry a gradient, such as those held by the transforms that zuko returns. What
    a module computes when it is called is computed again, in float64.

    Raises:
        CheckpointError: if a tensor has no numbers, as on the device `meta`.
    """
    return _Twins(plain).of(thing)


class _Twins:
    """This copies whatever holds tensors, each object once.

    Args:
        tensor: Function from a tensor to its copy.
    """

    def __init__(self, tensor: Callable[[Tensor], Tensor]) -> None:
        self._tensor = tensor
        self._made: dict[int, Foreign] = {}

    def of(self, thing: Foreign) -> Foreign:
        if id(thing) not in self._made:
            self._made[id(thing)] = thing  # an object that holds itself must end here
            self._made[id(thing)] = self._copy(thing)
        return self._made[id(thing)]

    def _copy(self, thing: Foreign) -> Foreign:
        if isinstance(thing, Tensor):
            return self._tensor(thing)
        if isinstance(thing, dict):
            return self._filled(copy(thing), thing)
        if isinstance(thing, list):
            return [self.of(entry) for entry in thing]
        if type(thing) is tuple:
            return tuple(self.of(entry) for entry in thing)
        if isinstance(thing, partial):
            return partial(self.of(thing.func), *map(self.of, thing.args), **self._filled({}, thing.keywords))
        if isinstance(thing, MethodType):
            return MethodType(thing.__func__, self.of(thing.__self__))
        if isinstance(thing, weakref.ref):
            return None  # a transform's inverse, which is made again on demand
        if isinstance(thing, _COPIED) or hasattr(thing, "invalidate"):  # a cache of nflows or normflows
            return self._object(thing)
        return thing

    def _object(self, thing: Foreign) -> Foreign:
        made = object.__new__(type(thing))
        self._made[id(thing)] = made
        self._filled(made.__dict__, thing.__dict__)
        if isinstance(made, nn.Module):
            made.__dict__["training"] = False
        if hasattr(made, "invalidate"):
            made.invalidate()  # its cached values are of another dtype
        return made

    def _filled(self, target: Foreign, source: Foreign) -> Foreign:
        for key, entry in source.items():
            target[key] = self.of(entry)
        return target


def plain(tensor: Tensor) -> Tensor:
    """Return a tensor's numbers in memory of their own, on the CPU, floats as float64.

    Raises:
        CheckpointError: if it has none, or they are complex.
    """
    if tensor.is_meta:
        raise CheckpointError(
            "Expected tensors with numbers; got tensors on the device meta. Load the flow's state first."
        )
    whole = tensor.detach().to("cpu", copy=True)
    if whole.is_complex():
        raise CheckpointError("Expected real numbers; got complex ones.")
    return whole.double() if whole.is_floating_point() else whole


def array(value: Tensor | float) -> Array:
    """Return numbers as float64, in memory of their own."""
    return np.array(value.numpy() if isinstance(value, Tensor) else value, dtype=np.float64)


def row(value: Tensor | float) -> Array:
    """Return numbers as one float64 row, (K,)."""
    return array(value).reshape(-1)


def dtype_of(thing: object) -> torch.dtype | None:
    """Return the widest dtype of a module's floating-point parameters, or of all such tensors in it; None if none."""
    found: list[Tensor] = list(thing.parameters()) if isinstance(thing, nn.Module) else []

    def seen(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    if not found:
        _Twins(seen).of(thing)
    floats = [tensor.dtype for tensor in found if tensor.is_floating_point()]
    return max(floats, key=lambda dtype: torch.finfo(dtype).bits, default=None)


@contextmanager
def in_float64() -> Iterator[None]:
    """Make new tensors float64: these libraries sum log-determinants in torch's default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def exact_softplus() -> Iterator[None]:
    """Replace PyTorch's softplus, a straight line above 20 that is off by 2e-9, by one that is exact there too."""
    before = functional.softplus

    def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:  # noqa: A002 (PyTorch's own name)
        usual = (beta, threshold) == (1, 20)
        return torch.logaddexp(input, torch.zeros_like(input)) if usual else before(input, beta, threshold)

    functional.softplus = softplus
    try:
        yield
    finally:
        functional.softplus = before
