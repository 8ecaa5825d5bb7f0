"""Pickles that would have a reader run code, or fill the memory."""

import os
import pickle
import subprocess
from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO
from random import Random
from typing import Any

import torch

from tests.fuzz.mutations import archives


class _Call:
    """Unpickled, it is what the function gives."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._reduced = function, arguments

    def __reduce__(self) -> Any:
        return self._reduced


def _laughs(levels: int) -> Any:
    """2^levels values that take as many bytes as there are levels."""
    value: Any = [0.0]
    for _ in range(levels):
        value = [value, value]
    return value


def _circle() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def _wide(numbers: int) -> torch.Tensor:
    """A tensor that claims more numbers than it has."""
    return torch.zeros(1).expand(numbers)


#: By name, with the marker that code would leave.
HOSTILE: dict[str, Callable[[str, Random], Any]] = {
    "os.system": lambda marker, rng: _Call(os.system, f"touch {marker}"),
    "open": lambda marker, rng: _Call(open, marker, "w"),
    "exec": lambda marker, rng: _Call(exec, f"open({marker!r}, 'w')"),
    "eval": lambda marker, rng: _Call(eval, f"open({marker!r}, 'w')"),
    "subprocess": lambda marker, rng: _Call(subprocess.Popen, ["touch", marker]),
    "bytearray": lambda marker, rng: _Call(bytearray, 2 ** rng.randrange(29, 41)),
    "Tensor": lambda marker, rng: _Call(torch.Tensor, 2 ** rng.randrange(27, 41)),
    "FloatTensor": lambda marker, rng: _Call(torch.FloatTensor, 2 ** rng.randrange(27, 41)),
    "laughs": lambda marker, rng: _laughs(rng.choice((12, 24, 40))),
    "circle": lambda marker, rng: _circle(),
    "wide": lambda marker, rng: _wide(2 ** rng.randrange(27, 41)),
    "meta": lambda marker, rng: torch.empty(2 ** rng.randrange(2, 41), device="meta"),
    "deep": lambda marker, rng: _nested(rng.choice((50, 200))),
}


def _nested(depth: int) -> Any:
    value: Any = 1.0
    for _ in range(depth):
        value = {"layers": [value]}
    return value


def saved(content: Any, rng: Random) -> bytes:
    """As torch.save writes it: a zip file, its older format, or a bare pickle."""
    out = BytesIO()
    kind = rng.choice(("zip", "zip", "zip", "older", "bare"))
    try:
        if kind == "bare":
            return pickle.dumps(content, protocol=rng.choice((0, 2, 4)))
        torch.save(content, out, _use_new_zipfile_serialization=kind == "zip")
    except (RuntimeError, TypeError, ValueError, AttributeError, pickle.PicklingError):  # torch itself cannot write it
        return archives.packed({"archive/data.pkl": pickle.dumps({"format": "lunet_export.model"}, protocol=2)})
    return out.getvalue()


def ordered(content: dict[str, Any]) -> Any:
    """As a state_dict is."""
    return OrderedDict(content)
