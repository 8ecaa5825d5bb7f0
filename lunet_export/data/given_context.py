"""The contexts that a user gives for rows: one for all of them, or one per row in a file."""

from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.columns import Columns
from lunet_export.data.own import columns_for
from lunet_export.data.sources import Source, open_source
from lunet_export.errors import BadInputError, DataError
from lunet_export.layers import Context


@dataclass(frozen=True)
class GivenContext:
    """This is what a user gave as the context of a conditional flow.

    Args:
        context: Context of the flow.
        given: Numbers separated by commas, one context for all rows; or the path of a file of rows, one per row or one
            for all.

    Raises:
        BadInputError: if the numbers are not as many as the context has.
        DataError: if the file has other columns, or cannot be read.
    """

    context: Context
    given: str

    def __post_init__(self) -> None:
        numbers = self._numbers
        if numbers is not None and len(numbers) != self.context.dim:
            raise BadInputError(
                f"Expected {self.context.dim} finite numbers separated by commas as the context; got {self.given}."
            )
        if numbers is None and self._source.width != self.context.dim:
            raise DataError(
                f"Expected contexts of {self.context.dim} numbers in {self.given}; its rows have {self._source.width}."
            )

    def validate_rows(self, rows: int) -> None:
        """Raise unless there is one context for all of so many rows, or one for each.

        Raises:
            BadInputError: if there is another number of contexts.
        """
        if self.rows not in (1, rows):
            raise BadInputError(
                f"Expected one context, or one for each of {rows} rows; {self.given} has {self.rows}. Give as many."
            )

    @property
    def rows(self) -> int:
        """Return how many contexts there are."""
        return 1 if self._numbers is not None else self._source.rows

    def read(self, first: int, count: int) -> NDArray[Any]:
        """Return the contexts of consecutive rows, (count, C), or the one of all rows, (1, C)."""
        if self._numbers is not None:
            return np.array([self._numbers])
        return self._source.read(0, 1) if self.rows == 1 else self._source.read(first, count)

    @property
    def elsewhere(self) -> str:
        """Return what was given, for a process with another working directory."""
        return self.given if self._numbers is not None else str(Path(self.given).absolute())

    def __getstate__(self) -> dict[str, Any]:
        return {"context": self.context, "given": self.given}  # open files cannot leave their process

    def identity(self) -> object:
        """Return plain values by which the same contexts are recognised."""
        return list(self._numbers) if self._numbers is not None else self._source.identity()

    @cached_property
    def _numbers(self) -> tuple[float, ...] | None:
        """Return the numbers of one context; None if a file is given."""
        try:
            found = tuple(float(part) for part in self.given.split(","))
        except ValueError:
            return None
        return found if all(map(isfinite, found)) else ()

    @cached_property
    def _source(self) -> Source:
        path = Path(self.given)
        return open_source(path, _columns_of(self.context, path))


def given_context(context: Context | None, given: str | None, data: str | None = None) -> GivenContext | None:
    """Return the contexts of rows; None for a flow that takes none.

    Args:
        context: Context of the flow.
        given: What a user gave.
        data: File of the rows, whose columns of the context's names are taken if nothing is given.

    Raises:
        BadInputError: if a flow that takes none is given one, or one that takes one is given none.
        DataError: as `GivenContext` does.
    """
    if context is None:
        if given is not None:
            raise BadInputError("Expected no `context` for a flow that takes none. Leave it out.")
        return None
    if given is None and data is not None and context.names and _columns_of(context, Path(data)):
        return GivenContext(context, data)
    if given is None:
        raise BadInputError(
            f"Expected a `context` for a conditional flow; got none. Give {context.dim} numbers separated by commas, "
            "or a file with one context per row."
        )
    return GivenContext(context, given)


def _columns_of(context: Context, path: Path) -> tuple[str, ...]:
    """Return the columns of a context in a file, by its names; empty for a file that is taken by position."""
    return columns_for(Columns(context.dim, context.names), path, cure="Give the contexts by `context`.")
