"""A column that only numbers the rows, and a line that leaves a column out of a file."""

import shlex
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lunet_export.data.dataset import Dataset

#: What pandas calls an index without a name: in the file that it writes, and in the table that it reads from it.
UNNAMED = ("", "Unnamed: 0", "__index_level_0__")
_INDEX = (*UNNAMED, "index")  # what `reset_index` calls it


def numbering(rows: NDArray[np.generic], names: Sequence[str] | None) -> tuple[int, ...]:
    """The columns that number the rows: 0, 1, 2 .. or 1, 2, 3 .. in the order of the file.

    A first column that is called as an index of pandas numbers the rows in any order, since rows may have been
    shuffled or left out before they were written: there it is enough that no whole number comes twice.

    Args:
        rows: The rows (N, D) as they are in the file.
        names: What the columns are called; None where nothing says so.
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
    """A command that writes the rows' file anew without a column, the first of which is 0.

    It is empty where no short one does that: the rows are of another kind of file, or a name holds a comma.
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
    """A command that writes the rows' file anew without rows that repeat one before them; empty as `line_without`."""
    file = data.file
    if file is None or file.suffix not in (".csv", ".npy"):
        return ""
    other = file.with_name(f"{file.stem}-rows{file.suffix}")
    if file.suffix == ".csv":
        return f"awk '!seen[$0]++' {shlex.quote(str(file))} > {shlex.quote(str(other))}"
    code = f"import numpy as np; np.save({str(other)!r}, np.unique(np.load({str(file)!r}), axis=0))"
    return _python(code)


def _python(code: str) -> str:
    """A command that runs code which holds single quotes: in double ones where a shell leaves it alone in them."""
    return f"python -c {shlex.quote(code)}" if set(code) & set('"$`\\!') else f'python -c "{code}"'
