"""Values within values: dictionaries and lists as JSON has them, and their text."""

import copy
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from tests.fuzz.mutations import ELSEWHERE

_DEEP = "a place for brackets"  # json.dumps itself would exhaust the stack
_DEPTHS = (50, 300, 900, 990, 1500, 100_000)

_ODD: tuple[Callable[[], Any], ...] = (
    lambda: None,
    lambda: True,
    lambda: False,
    lambda: 0,
    lambda: -1,
    lambda: 1,
    lambda: 2**31,
    lambda: 2**40,
    lambda: 2**63,
    lambda: -(2**63) - 1,
    lambda: 10**400,
    lambda: 0.0,
    lambda: -0.0,
    lambda: 0.5,
    lambda: 1.5,
    lambda: 5e-324,
    lambda: 1e308,
    lambda: -1e308,
    lambda: float("nan"),
    lambda: float("inf"),
    lambda: float("-inf"),
    lambda: "",
    lambda: "x",
    lambda: "3",
    lambda: "nan",
    lambda: "\0",
    lambda: "\ud800",
    lambda: "line\nanother line",
    lambda: "long" * 5000,
    list,
    dict,
    lambda: [[]],
    lambda: [None],
    lambda: [0] * 1000,
    lambda: {"": {}},
    lambda: [_DEEP],
    lambda: _DEEP,
)


def mutate(tree: Any, rng: Random) -> Any:
    """A copy with one to three changes."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return odd(rng)
        holder, key = rng.choice(places)
        rng.choice(_WAYS)(holder, key, rng)
    return tree


def odd(rng: Random) -> Any:
    """A value that hardly fits anywhere."""
    return rng.choice(ELSEWHERE) if rng.random() < 0.08 else rng.choice(_ODD)()


def text(tree: Any, rng: Random) -> bytes:
    """As JSON; what is marked becomes deeper than a parser's stack."""
    found = json.dumps(tree, indent=rng.choice((None, 1)))
    if _DEEP in found:
        depth = rng.choice(_DEPTHS)
        opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
        found = found.replace(f'"{_DEEP}"', opening * depth + "1" + closing * depth)
    return found.encode()


def deep(tree: Any) -> bool:
    """Whether there is a mark in it."""
    return _DEEP in json.dumps(tree)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, dict | list):
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from _places(tree[key])


def _replaced(holder: Any, key: Any, rng: Random) -> None:
    holder[key] = odd(rng)


def _nudged(holder: Any, key: Any, rng: Random) -> None:
    value = holder[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e308:
        holder[key] = [value]
    else:
        holder[key] = rng.choice((value + 1, -value, value * 2, value * 1.001, value * 1e300, float(value), str(value)))


def _gone(holder: Any, key: Any, rng: Random) -> None:
    del holder[key]


def _renamed(holder: Any, key: Any, rng: Random) -> None:
    if isinstance(holder, dict):
        holder[rng.choice((f"{key}_", "", "x", "\ud800", *ELSEWHERE, *holder))] = holder.pop(key)
    else:
        holder.insert(key, holder[key])


def _another(holder: Any, key: Any, rng: Random) -> None:
    """What stands in another place of the same holder."""
    holder[key] = holder[rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))]


def _wrapped(holder: Any, key: Any, rng: Random) -> None:
    holder[key] = rng.choice(([holder[key]], {"a": holder[key]}, [holder[key], holder[key]]))


def _added(holder: Any, key: Any, rng: Random) -> None:
    if isinstance(holder, dict):
        holder[rng.choice(("extra", "../../x", "__proto__"))] = odd(rng)
    else:
        holder.append(odd(rng))


_WAYS = (_replaced, _replaced, _replaced, _replaced, _nudged, _nudged, _gone, _renamed, _another, _wrapped, _added)
