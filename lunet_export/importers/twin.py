"""Copies of other libraries' objects in float64, on the CPU and in evaluation mode; the objects stay as they are."""

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

from lunet_export.errors import CheckpointError
from lunet_export.importers.parts import Foreign

Array = NDArray[np.float64]

_COPIED = (nn.Module, Transform, Distribution, constraints.Constraint)


def twin(thing: Foreign) -> Foreign:
    """A copy whose floating-point tensors are float64 and whose modules are in evaluation mode.

    `copy.deepcopy` would do, but refuses tensors that a gradient has gone through, as the transforms that zuko returns
    hold. What a module computes when it is called is computed anew, in float64.

    Raises:
        CheckpointError: A tensor has no numbers, as those on the device `meta`.
    """
    return _Twins(plain).of(thing)


class _Twins:
    """Copies of what holds tensors, each made once.

    Args:
        tensor: What becomes of a tensor.
    """

    def __init__(self, tensor: Callable[[Tensor], Tensor]) -> None:
        self._tensor = tensor
        self._made: dict[int, Foreign] = {}

    def of(self, thing: Foreign) -> Foreign:
        if id(thing) not in self._made:
            self._made[id(thing)] = thing  # what holds itself finds an answer
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
            return None  # a transform's inverse, made anew when it is asked for
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
            made.invalidate()  # what it keeps was computed in another dtype
        return made

    def _filled(self, target: Foreign, source: Foreign) -> Foreign:
        for key, entry in source.items():
            target[key] = self.of(entry)
        return target


def plain(tensor: Tensor) -> Tensor:
    """Its numbers in memory of their own, on the CPU, floats as float64.

    Raises:
        CheckpointError: It has none.
    """
    if tensor.is_meta:
        raise CheckpointError(
            "Expected tensors with numbers; got some on the device meta. Load the flow's state first."
        )
    whole = tensor.detach().to("cpu", copy=True)
    if whole.is_complex():
        raise CheckpointError("Expected real numbers; got complex ones.")
    return whole.double() if whole.is_floating_point() else whole


def array(value: Tensor | float) -> Array:
    """Numbers as float64, none of them shared."""
    return np.array(value.numpy() if isinstance(value, Tensor) else value, dtype=np.float64)


def row(value: Tensor | float) -> Array:
    """The same in a row, (K,)."""
    return array(value).reshape(-1)


def dtype_of(thing: object) -> torch.dtype | None:
    """The widest dtype of a module's floating-point parameters, or of all such tensors in it; None without any."""
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
    """New tensors are float64: these libraries add log-determinants up in whatever torch makes by default."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(before)
