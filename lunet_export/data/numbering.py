"""Columns that only number the rows, and a command that leaves a column out of a file."""

import shlex
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lunet_export.data.dataset import Dataset

#: Names of an index without a name in pandas: in the file that it writes, and in the table that it reads from it.
UNNAMED = ("", "Unnamed: 0", "__index_level_0__")
_INDEX = (*UNNAMED, "index")  # what `reset_index` calls it


def numbering(rows: NDArray[np.generic], names: Sequence[str] | None) -> tuple[int, ...]:
    """Return the columns that number the rows: 0, 1, 2 .. or 1, 2, 3 .. in the order of the file.

    A first column that is named like an index of pandas may number the rows in any order, because rows may have been
    shuffled or left out before they were written. It counts if it holds different whole numbers.

    Args:
        rows: Rows (N, D) as they are in the file.
        names: Names of the columns; None if the file has none.
    """
    first = rows[0].astype(np.float64)
    begins = np.flatnonzero((first == 0) | (first == 1))
    found = [int(column) for column in begins if _counts(rows[:, column])]
    if names and names[0] in _INDEX and 0 not in found and _are_different_integers(rows[:, 0]):
        found.insert(0, 0)
    return tuple(found)


def _counts(column: NDArray[np.generic]) -> bool:
    values = column.astype(np.float64)
    return bool((values - values[0] == np.arange(len(values))).all())


def _are_different_integers(column: NDArray[np.generic]) -> bool:
    values = np.unique(column.astype(np.float64))
    return len(values) == len(column) and bool((values == np.floor(values)).all())


def line_without(data: Dataset, column: int) -> str:
    """Return a command that writes the rows' file again without a column, counted from 0.

    The command is empty if no short one does that: for other kinds of files, or if a name holds a comma.
    """
    file, commas = data.file, any("," in name for name in data.columns or ())
    if file is None or data.dim < 2:
        return ""
    other = file.with_name(f"{file.stem}-rows{file.suffix}")
    if file.suffix == ".csv" and not commas:
        before = {0: "", 1: "1"}.get(column, f"1-{column}")
        behind = f"{column + 2}-" if column + 1 < data.dim else ""
        kept = ",".join(filter(None, [before, behind]))
        return f"cut -d, -f{kept} {shlex.quote(str(file))} > {shlex.quote(str(other))}"
    if file.suffix == ".npy":
        code = f"import numpy as np; np.save({str(other)!r}, np.delete(np.load({str(file)!r}), {column}, axis=1))"
        return _python(code)
    return ""


def line_without_copies(data: Dataset) -> str:
    """Return a command that writes the rows' file again without repeated rows; empty as for `line_without`."""
    file = data.file
    if file is None or file.suffix not in (".csv", ".npy"):
        return ""
    other = file.with_name(f"{file.stem}-rows{file.suffix}")
    if file.suffix == ".csv":
        return f"awk '!seen[$0]++' {shlex.quote(str(file))} > {shlex.quote(str(other))}"
    code = f"import numpy as np; np.save({str(other)!r}, np.unique(np.load({str(file)!r}), axis=0))"
    return _python(code)


def _python(code: str) -> str:
    """Return a command that runs code with single quotes: in double quotes if a shell leaves the code alone in them."""
    return f"python -c {shlex.quote(code)}" if set(code) & set('"$`\\!') else f'python -c "{code}"'
