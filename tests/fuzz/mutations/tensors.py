"""Dictionaries of tensors, as model files hold them."""

import copy
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import torch
from torch import Tensor

from tests.fuzz.mutations import trees
from tests.fuzz.mutations.pickles import HOSTILE


def mutate(content: Any, rng: Random) -> Any:
    """A copy with one to three changes, of tensors and of what stands beside them."""
    if not isinstance(content, dict | list):
        return content
    content = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_tensors(content))
        if places and rng.random() < 0.6:
            holder, key = rng.choice(places)
            try:
                holder[key] = rng.choice(_WAYS)(holder[key], rng)
            except (RuntimeError, TypeError, IndexError, ValueError, MemoryError):  # this tensor cannot be changed so
                holder[key] = None
        else:
            content = trees.mutate(content, rng)
            if not isinstance(content, dict | list):
                return content
    return content


def hostile(content: Any, marker: str, rng: Random) -> tuple[str, Any]:
    """A copy one value of which is of HOSTILE, and which."""
    content = copy.deepcopy(content)
    name = rng.choice(list(HOSTILE))
    value = HOSTILE[name](marker, rng)
    places = list(_all(content))
    if not places or rng.random() < 0.1:
        return name, value
    holder, key = rng.choice(places)
    holder[key] = value
    return name, content


def _tensors(tree: Any) -> Iterator[tuple[Any, Any]]:
    return ((holder, key) for holder, key in _all(tree) if isinstance(holder[key], Tensor))


def _all(tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, dict | list):
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from _all(tree[key])


def _with(tensor: Tensor, rng: Random, value: float) -> Tensor:
    changed = tensor.clone()
    if changed.numel():
        changed.view(-1)[rng.randrange(changed.numel())] = value
    return changed


def _shaped(tensor: Tensor, rng: Random) -> Tensor:
    return rng.choice((tensor.flatten(), tensor[None], tensor[..., None], tensor.t(), tensor[:-1], tensor[..., :-1]))


_DTYPES = (torch.int64, torch.int8, torch.bool, torch.complex64, torch.float16, torch.bfloat16, torch.float64)
_NUMBERS = (float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e30, 1e-30, 88.0, -200.0)

_WAYS: tuple[Callable[[Tensor, Random], Any], ...] = (
    lambda tensor, rng: _with(tensor, rng, rng.choice(_NUMBERS)),
    lambda tensor, rng: _with(tensor, rng, rng.choice(_NUMBERS)),
    lambda tensor, rng: tensor * rng.choice((0, -1, 1e10, 1e300, float("nan"))),
    lambda tensor, rng: tensor.to(rng.choice(_DTYPES)),
    lambda tensor, rng: _shaped(tensor, rng),
    lambda tensor, rng: _shaped(tensor, rng),
    lambda tensor, rng: torch.zeros(1, dtype=tensor.dtype).expand(tensor.shape),
    lambda tensor, rng: torch.zeros(1, dtype=tensor.dtype).expand(2 ** rng.randrange(20, 41)),
    lambda tensor, rng: torch.zeros(1, dtype=tensor.dtype).expand(
        2 ** rng.randrange(10, 20), 2 ** rng.randrange(10, 30)
    ),
    lambda tensor, rng: tensor.to("meta"),
    lambda tensor, rng: tensor.to_sparse(),
    lambda tensor, rng: torch.nn.Parameter(tensor.clone()),
    lambda tensor, rng: tensor[:0],
    lambda tensor, rng: tensor.flatten()[0],
    lambda tensor, rng: tensor.tolist(),
    lambda tensor, rng: tensor.flip(0),
    lambda tensor, rng: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8),
    lambda tensor, rng: tensor.to(torch.float8_e4m3fn),
)
