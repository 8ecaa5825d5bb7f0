"""Data frames of pandas, Polars and pyarrow by what they share, of which no library is imported.

A frame says by `__arrow_c_stream__` or `__dataframe__` that it is a table, tells what its columns are called, and gives
each of them as an array.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lunet_export.columns import Columns, called, listed
from lunet_export.errors import DataError, brief

WHERE = "the data frame"
_MARKS = ("__arrow_c_stream__", "__dataframe__")
_CURE = "Rename the frame's columns, or give an array of the columns in the model's order."


def is_frame(given: object) -> bool:
    """Return whether something is a table whose columns are called something; a series is none."""
    return any(hasattr(type(given), mark) for mark in _MARKS) and hasattr(type(given), "columns")


class Frame:
    """A data frame.

    Attributes:
        names: What the columns are called; None where not all of them are called by a text.
        width: Number of columns.

    Args:
        given: What `is_frame` says is one.

    Raises:
        DataError: if two columns are called the same.
    """

    def __init__(self, given: Any) -> None:  # noqa: ANN401
        self._given = given
        # The `columns` of pyarrow are the columns themselves.
        self._keys = list(given.column_names if hasattr(given, "column_names") else given.columns)
        self.width = len(self._keys)
        self.names = tuple(map(str, self._keys)) if all(isinstance(key, str) for key in self._keys) else None
        if len(set(self._keys)) < self.width:
            twice = next(key for key in self._keys if self._keys.count(key) > 1)
            raise DataError(
                f"Expected a name of its own for every column of {WHERE}; got {listed([str(twice)])} more than once."
            )

    def places(self, model: Columns) -> list[int]:
        """Return where the columns of a model are, from 0: by their names, in its order; without names all of them.

        Raises:
            DataError: if both have names and the frame lacks one of the model's.
        """
        found = None if self.names is None else model.places(self.names, WHERE, _CURE)
        return list(range(self.width)) if found is None else found

    def rows(self, places: Sequence[int]) -> NDArray[Any]:
        """Return these columns, which hold numbers, as rows (N, D).

        Raises:
            DataError: if there are none, or one holds something else.
        """
        if not places:
            raise DataError(f"Expected columns of numbers in {WHERE}; it has none.")
        columns = [self.values(place) for place in places]
        for place, values in zip(places, columns, strict=True):
            if values.ndim != 1 or values.dtype.kind not in "uif":
                held = values.dtype if values.ndim == 1 else f"arrays of shape {values.shape[1:]}"
                raise DataError(f"Expected numbers in {WHERE}; {called(place, self.names)} holds {held}. Leave it out.")
        return np.stack(columns, axis=1)

    def values(self, place: int) -> NDArray[Any]:
        """Return one column as an array.

        Raises:
            DataError: if its library cannot make one.
        """
        try:
            return np.asarray(self._given[self._keys[place]].to_numpy())
        except (ValueError, TypeError, NotImplementedError) as error:
            raise DataError(f"Expected numbers in {WHERE}; {called(place, self.names)}: {brief(error)}.") from None
