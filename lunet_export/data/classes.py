"""Class labels of a user's rows: a column of words or of whole numbers."""

from collections.abc import Sequence

import numpy as np

from lunet_export.data.dataset import Labels, split
from lunet_export.errors import DataError, brief


def labels_of(values: Sequence[object], where: object, column: str) -> Labels:
    """Return the labels of rows, split as `arrays.dataset` splits the rows themselves.

    Args:
        values: Value of the column in each row, (N,). Classes are sorted: whole numbers by size, words by letters.
        where: File or name of the rows, for the sentence.
        column: Name or number of the column, for the sentence.

    Raises:
        DataError: if a value is neither a word nor a whole number, or all rows are of one class.
    """
    words = [_word(value) for value in values]
    if None in words:
        row = words.index(None)
        raise DataError(
            f"Expected words or whole numbers in the label column {column[:40]} of {where}; row {row + 1}, counted "
            f"from one, has {brief(repr(values[row]), 40)}."
        )
    numbers = all(isinstance(word, int) for word in words)
    found = sorted({word if numbers else str(word) for word in words})  # type: ignore[type-var]
    if len(found) < 2:
        raise DataError(f"Expected two classes or more in the label column {column[:40]} of {where}; got {found[0]}.")
    place = {str(word): number for number, word in enumerate(found)}
    codes, n = np.array([place[str(word)] for word in words], dtype=np.int64), max(1, len(words) // 10)
    return Labels(tuple(map(str, found)), *split(codes, valid=n, test=n))


def _word(value: object) -> str | int | None:
    """Return a label as a word or a whole number; None if it is neither."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except ValueError:
        return str(value).strip() or None
    return int(number) if number.is_integer() else None
