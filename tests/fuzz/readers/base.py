"""What the harness knows of a reader: good files for it, ways to make them bad, how it is called, what is right."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np

from lunet_export.errors import LunetExportError


@dataclass(frozen=True)
class Case:
    """What was done to a good input.

    Args:
        mutation: In words.
        refused: It must be refused.
        same: Nothing but the answer of the good input is right: what was changed is guarded by a sum.
    """

    mutation: str
    refused: bool = False
    same: bool = False


class Reader(ABC):
    """A reader of the package under test. The good files are made once, in `home`, of the same bytes each time."""

    name: ClassVar[str]
    share: ClassVar[int] = 10  # of the inputs of a campaign: more where an input costs less

    def __init__(self, home: Path) -> None:
        self.home = home / self.name
        self.home.mkdir(parents=True)
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Write the good files into `home`."""

    @abstractmethod
    def good(self, folder: Path) -> None:
        """Write a good input into the folder."""

    @abstractmethod
    def mutate(self, folder: Path, rng: Random) -> Case:
        """Write a bad one."""

    @abstractmethod
    def read(self, folder: Path) -> Any:
        """What the package makes of the input in the folder, far enough to have used it."""

    def wrong(self, folder: Path, case: Case, answer: Any) -> str | None:
        """What is wrong with an answer; None where it is right."""
        if case.refused:
            return "it was to be refused"
        if case.same and not same(answer, self.untouched):
            return f"the file was damaged, and the answer is {short(answer)}, not {short(self.untouched)}"
        return None

    @cached_property
    def untouched(self) -> Any:
        """The answer to the good input."""
        folder = self.home / "untouched"
        folder.mkdir()
        self.good(folder)
        return self.read(folder)

    def marker(self, folder: Path) -> Path:
        """A file that only code in an input would write."""
        return folder / "code was run"


def same(one: Any, other: Any) -> bool:
    """Whether two answers are equal, number by number; NaN is equal to NaN."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        left, right = np.asarray(one), np.asarray(other)
        return left.shape == right.shape and bool(np.array_equal(left, right, equal_nan=left.dtype.kind == "f"))
    return bool(one == other) or (one != one and other != other)


def short(value: Any) -> str:
    """For a record."""
    return repr(value).replace("\n", " ")[:160]


def accepted(reader: Reader, folder: Path) -> bool:
    """Whether a folder is taken; for planted faults."""
    try:
        reader.read(folder)
    except LunetExportError:
        return False
    return True
