"""The state of one network in what training loops save: under a name, behind a prefix, beside other things.

`DataParallel` puts `module.` before every key, `torch.compile` `_orig_mod.`, and a module that holds the network, as
in Lightning, the network's name there; loops save {"model_state_dict": state, "optimizer": ...}. All of it is left out
if one network remains. Copies, such as averages over the training, are several networks: the user says which one is
meant.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lunet_export.checkpoint import formats
from lunet_export.errors import CheckpointError, brief

#: Parts that PyTorch's own wrappers put anywhere into keys.
_WRAPPERS = frozenset(["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
_DEEPEST = 4  # nested dictionaries
_LONGEST = 16  # parts of a prefix


class SeveralError(CheckpointError):
    """A file holds several networks that differ."""


@dataclass(frozen=True)
class Layout:
    """The keys of a network.

    Attributes:
        title: Name of the network.
        known: Whether a key is one by which the network is recognised.
        wanted: Keys of the whole network, given some of them.
    """

    title: str
    known: Callable[[str], bool]
    wanted: Callable[[Collection[str]], Collection[str]]

    def difference(self, keys: Collection[str]) -> str:
        """Return which keys are missing and which are too many, for a sentence; empty if there are none."""
        wanted = set(self.wanted(keys))
        parts = {"lacks": sorted(wanted - set(keys)), "has": sorted(set(keys) - wanted)}
        more = " and others" if max(map(len, parts.values())) > 3 else ""
        told = [f"{verb} {brief(', '.join(some[:3]))}" for verb, some in parts.items() if some]
        return " and ".join(told) + more


@dataclass(frozen=True)
class State:
    """The tensors of one network by its own keys, and where they were.

    Attributes:
        tensors: Tensors by key.
        place: Names of the nested dictionaries that held the state; empty if the file is the state.
        prefix: Beginning of its keys, such as `module.`.
        unwrapped: Whether parts that a wrapper puts in the middle of keys were left out.
        beside: Names of what else these dictionaries hold.
    """

    tensors: Mapping[str, Tensor]
    place: tuple[str, ...] = ()
    prefix: str = ""
    unwrapped: bool = False
    beside: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """Place of the state, for a sentence: `'ema'`, or `keys that begin with module. in 'state_dict'`."""
        inside = f"'{brief('.'.join(self.place))}'" if self.place else ""
        behind = f"keys that begin with {brief(self.prefix)}" if self.prefix else ""
        if behind and inside:
            return f"{behind} in {inside}"
        return behind or inside or "the keys without a prefix"

    def note(self, path: Path) -> tuple[str, ...]:
        """Return what was left out, in a sentence; empty if the file is the state.

        Args:
            path: Path of the file.
        """
        taken = [f"from '{brief('.'.join(self.place))}'"] if self.place else []
        taken += [f"without {brief(self.prefix)} before its keys"] if self.prefix else []
        taken += ["without what a wrapper put into its keys"] if self.unwrapped else []
        if self.beside:
            names = brief(", ".join(self.beside[:3])) + (", ..." if len(self.beside) > 3 else "")
            taken.append(f"without {names} beside it")
        return (f"The network in {path.name} was taken {', '.join(taken)}.",) if taken else ()


def of_one(content: Mapping[Any, Any], path: Path, layout: Layout) -> State | None:
    """Return the state of the one network in a file; None if there is none.

    Args:
        content: Content of the file.
        path: Path of the file, for a sentence.
        layout: Keys of the network.

    Raises:
        SeveralError: if there are several networks that differ.
    """
    whole = [state for state in candidates(content, layout.known) if not layout.difference(state.tensors)]
    if len(whole) > 1 and not all(_same(whole[0], other) for other in whole[1:]):
        raise _ambiguous(whole, path)
    return whole[0] if whole else None


def candidates(content: Mapping[Any, Any], known: Callable[[str], bool]) -> Iterator[State]:
    """Yield every group of tensors whose keys share a prefix, with a known key behind it.

    Args:
        content: Content of the file.
        known: Whether a key is one by which a network is recognised.
    """
    for place, entries, around in _dictionaries(content):
        tensors = {key: value for key, value in entries.items() if isinstance(value, Tensor)}
        plain = {_plain(key): key for key in tensors}
        if len(plain) != len(tensors):  # two keys would become one
            plain = {key: key for key in tensors}
        for prefix, names in _groups(plain, known).items():
            taken = {rest: plain[prefix + rest] for rest in names}
            mine = set(taken.values())
            beside = (*(key for key in entries if key not in mine), *around)
            unwrapped = any(prefix + rest != key for rest, key in taken.items())
            yield State({rest: tensors[key] for rest, key in taken.items()}, place, prefix, unwrapped, beside)


def nearest(content: Mapping[Any, Any], layout: Layout) -> State | None:
    """Return the largest group with a known key, else the largest dictionary of tensors; None if there is none.

    Args:
        content: Content of the file.
        layout: Keys of the network.
    """

    def size(state: State) -> int:
        return len(state.tensors)

    found = max(candidates(content, layout.known), key=size, default=None)
    return found or max(dictionaries(content), key=size, default=None)


def dictionaries(content: Mapping[Any, Any]) -> Iterator[State]:
    """Yield every dictionary that holds tensors, as it is.

    Args:
        content: Content of the file.
    """
    for place, entries, around in _dictionaries(content):
        tensors = {key: value for key, value in entries.items() if isinstance(value, Tensor)}
        if tensors:
            beside = (*(key for key in entries if key not in tensors), *around)
            yield State(tensors, place, beside=beside)


def _dictionaries(
    content: Mapping[Any, Any], place: tuple[str, ...] = (), around: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, Any], tuple[str, ...]]]:
    """Yield each dictionary with the names that lead to it, and the names of what lies beside these."""
    entries = {str(key): value for key, value in content.items()}
    yield place, entries, around
    if len(place) < _DEEPEST:
        for name, value in entries.items():
            if isinstance(value, Mapping):
                others = tuple(key for key in entries if key != name)
                yield from _dictionaries(value, (*place, name), (*around, *others))


def _groups(keys: Collection[str], known: Callable[[str], bool]) -> dict[str, list[str]]:
    """Return the keys by their longest prefix that known keys have, without that prefix."""
    prefixes = {prefix for key in keys for prefix, rest in _cut(key) if known(rest)}
    groups: dict[str, list[str]] = {prefix: [] for prefix in sorted(prefixes)}
    for key in keys:
        found = [(prefix, rest) for prefix, rest in _cut(key) if prefix in prefixes]
        if found:
            prefix, rest = found[-1]
            groups[prefix].append(rest)
    return groups


def _cut(key: str) -> Iterator[tuple[str, str]]:
    """Yield the ways to cut a key into a prefix that ends with a dot, or is empty, and the rest."""
    yield "", key
    place = -1
    for _ in range(_LONGEST):
        place = key.find(".", place + 1)
        if place < 0:
            return
        yield key[: place + 1], key[place + 1 :]


def _plain(key: str) -> str:
    parts = key.split(".")
    kept = [part for part in parts if part not in _WRAPPERS]
    return ".".join(kept) if kept else key


def _same(left: State, right: State) -> bool:
    def alike(one: Tensor, other: Tensor) -> bool:
        return one is other or (one.dtype == other.dtype and torch.equal(one, other))

    return left.tensors.keys() == right.tensors.keys() and all(
        alike(value, right.tensors[key]) for key, value in left.tensors.items()
    )


def _ambiguous(found: list[State], path: Path) -> SeveralError:
    chosen = next(state for state in found if state.place or state.prefix)  # one alone can have neither
    return SeveralError(
        f"Expected one network in {path}; it holds {len(found)} that differ, as copies averaged over the training do: "
        f"{'; '.join(state.where for state in found[:4])}. Write the one you mean to a file of its own, for example: "
        f"{_alone(chosen, path)}"
    )


def _alone(state: State, path: Path) -> str:
    """Return a command that writes one network of a file to a file of its own."""
    inside = formats.opened(path) + "".join(f"[{formats.in_code(name)}]" for name in state.place)
    if state.prefix:
        begin = formats.in_code(state.prefix)
        inside = f"{{k: v for k, v in {inside}.items() if k.startswith({begin})}}"
    name = re.sub(r"\W+", "-", state.prefix or state.place[-1]).strip("-") or "one"
    return formats.state_saved(path, inside, name)
