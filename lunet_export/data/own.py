"""The columns that a model reads from a user's file: by default those with the names of its own columns."""

from collections.abc import Sequence
from pathlib import Path

from lunet_export.columns import Columns, stripped
from lunet_export.data import arrays, tables
from lunet_export.data.arrow_source import is_of_lists, table_names

_CURE = "Name the columns to take by `columns`."


def columns_for(model: Columns, path: Path, columns: Sequence[str] = (), *, cure: str = _CURE) -> tuple[str, ...]:
    """Return the columns that a model takes from a file, in its order; empty takes all by their position.

    Args:
        model: Columns of the model.
        path: Path of the file, or of a folder of tables.
        columns: Columns that the user chose, by name or by number counted from one; may be empty.
        cure: What to do if a column is missing, a sentence.

    Raises:
        DataError: if the file has names and lacks one of the model's columns, if the chosen columns are the model's own
            in another order, or if the names cannot be read.
    """
    if columns:
        model.validate_order(columns)
        return tuple(columns)
    names = _names_in(path, model)
    places = None if names is None else model.places(names, path, cure)
    return tuple(names[place] for place in places) if names and places else ()


def _names_in(path: Path, model: Columns) -> tuple[str, ...] | None:
    """Return the names of columns in a file; None if it has none, or cannot be read as a file of rows."""
    if path.suffix == ".csv":
        return arrays.names_in(path)
    if not (path.is_dir() or (path.suffix in tables.SUFFIXES and path.is_file())):
        return None
    names = table_names(path)
    by_position = is_of_lists(path) and not set(model.names or ()) & set(stripped(names))
    return None if by_position else names
