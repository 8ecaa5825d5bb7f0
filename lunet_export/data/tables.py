"""Tables of Parquet and Arrow as a data set.

Their columns have names, and whole numbers are not taken for grey levels.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lunet_export.columns import chosen
from lunet_export.data import arrays
from lunet_export.data.arrow_source import read_words, table_names
from lunet_export.data.classes import labels_of
from lunet_export.data.contexts import apart, contexts_of
from lunet_export.data.dataset import Dataset
from lunet_export.data.sources import open_source

SUFFIXES = (".parquet", ".arrow", ".feather")


def load(
    path: Path,
    *,
    levels: int | None,
    columns: Sequence[str] = (),
    label: str | None = None,
    context: Sequence[str] = (),
) -> Dataset:
    """Read the rows of a table, or of a folder of tables of one kind, and split them as `arrays.dataset` does.

    Args:
        path: File of .parquet, .arrow or .feather, or a folder of them.
        levels: Number of grey levels of a table of integers; None for vectors.
        columns: Columns that make a row, by name or by number counted from one: numbers, or one list of D numbers;
            empty takes the only column of lists, or all.
        label: Column of the rows' classes, by name or by number counted from one; it is not part of the rows.
        context: Columns of the rows' contexts, which are not part of the rows either.

    Raises:
        DataError: if the table cannot be read, or its rows cannot be trained on.
        MissingPackageError: if pyarrow is not installed.
    """
    if context:
        names = table_names(path)
        taken = apart(context, columns, label, names, len(names), path)
        found = load(path, levels=levels, columns=taken, label=label)
        source = open_source(path, context)
        values = source.read(0, source.rows)
        return replace(found, contexts=contexts_of(values, source.names, path, source.rows), file=None)
    if label is not None:
        names = table_names(path)
        (place,) = chosen((label,), names, len(names), path)
        found = load(path, levels=levels, columns=columns or [name for name in names if name != names[place]])
        return replace(found, labels=labels_of(read_words(path, names[place]), path, names[place]))
    source = open_source(path, columns)
    return arrays.dataset(path, source.read(0, source.rows), source.names, levels=levels, grey=False)
