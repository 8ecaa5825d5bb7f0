"""Data sets made of arrays, data frames, paths and names, told apart in this one place."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from numpy.typing import ArrayLike

from lunet_export import data as datasets
from lunet_export.columns import Columns, chosen
from lunet_export.data import Dataset, arrays
from lunet_export.data.classes import labels_of
from lunet_export.data.contexts import apart, contexts_of
from lunet_export.errors import DataError, brief
from lunet_export.frames import WHERE, Frame, is_frame
from lunet_export.runtime.rows import as_array

_NAME = "rows"  # name of rows that have none
_CONTEXT = "`context`"


def dataset_of(
    data: "ArrayLike | Dataset | str | os.PathLike[str]",
    *,
    data_dir: Path,
    levels: int | None,
    columns: Sequence[str | int],
    label: str | int | None,
    model: Columns | None,
    context: ArrayLike | None = None,
    context_columns: Sequence[str | int] = (),
) -> Dataset:
    """Return the data set of an array, a data frame, a path or a name, or the data set itself.

    Args:
        data: Rows (N, D) or images, a data frame, a `Dataset`, or what `lunet_export.data.load` takes.
        data_dir: Folder of the MNIST files.
        levels: Number of grey levels of integers; None takes 256.
        columns: Columns of a file or a frame that make a row, by name or by number from one; empty for all.
        label: Column of a file or a frame that holds the classes.
        model: Columns of the model that the rows are for, which are matched by name.
        context: Contexts (N, C) of the rows, an array or a data frame.
        context_columns: Columns of a file or a frame that hold the contexts, by name or by number from one.

    Raises:
        DataError: if rows are malformed, or a choice does not apply to this kind of data.
        BadInputError: if the rows cannot be made an array.
    """
    if context is not None:
        return _with_contexts(data, context, context_columns, levels=levels, columns=columns, label=label, model=model)
    match data:
        case str() | os.PathLike():
            return datasets.load(
                os.fspath(data),
                data_dir=data_dir,
                levels=levels,
                columns=[*map(str, columns)],
                label=None if label is None else str(label),
                context=[*map(str, context_columns)],
                model=model,
            )
        case _ if is_frame(data):
            return _of_frame(
                Frame(data),
                levels,
                [*map(str, columns)],
                None if label is None else str(label),
                model,
                [*map(str, context_columns)],
            )
        case _ if columns or label is not None:
            raise DataError(
                "Expected neither columns nor label with an array; they are for files and data frames. Leave them out."
            )
        case _ if context_columns:
            raise DataError(
                "Expected no context_columns with an array; they are for files and data frames. Give the contexts "
                "themselves as `context`."
            )
        case Dataset():
            if levels is not None:
                raise DataError(f"Expected no levels with a Dataset, which has its own; got {levels}. Leave it out.")
            return data
        case _:
            rows = as_array(data, _NAME)
            if not rows.ndim:
                raise DataError(f"Expected rows (N, D), images, a Dataset, a path or a name; got {brief(data)}.")
            arrays.validate_numbers(rows, _NAME)
            made = arrays.dataset(Path(_NAME), rows, None, levels=levels, grey=rows.dtype.kind in "ui")
            made = replace(made, file=None)
            return made if model is None else made.of_columns(model)


def _with_contexts(
    data: "ArrayLike | Dataset | str | os.PathLike[str]",
    context: ArrayLike,
    context_columns: Sequence[str | int],
    *,
    levels: int | None,
    columns: Sequence[str | int],
    label: str | int | None,
    model: Columns | None,
) -> Dataset:
    """Return rows of an array or a data frame with contexts of their own."""
    if context_columns:
        raise DataError("Expected context or context_columns; got both. Leave one out.")
    if isinstance(data, str | os.PathLike | Dataset):
        raise DataError(
            "Expected rows or a data frame with context; for the path of a file, name the columns in "
            "`context_columns`; a Dataset has contexts of its own."
        )
    rows = dataset_of(data, data_dir=Path(), levels=levels, columns=columns, label=label, model=model)
    frame = Frame(context) if is_frame(context) else None
    values = as_array(context, _CONTEXT) if frame is None else frame.rows(list(range(frame.width)))
    count = len(rows.train) + len(rows.valid) + len(rows.test)
    return replace(rows, contexts=contexts_of(values, None if frame is None else frame.names, _CONTEXT, count))


def _of_frame(
    frame: Frame,
    levels: int | None,
    columns: Sequence[str],
    label: str | None,
    model: Columns | None,
    context: Sequence[str] = (),
) -> Dataset:
    """Return a data frame as a data set. As in other tables, integers are grey levels only if `levels` is given."""
    if context:
        return _conditional(frame, levels, columns, label, model, context)
    places = chosen(columns, frame.names, frame.width, WHERE)
    if places and model:
        model.validate_order(columns)
    if not places:
        places = frame.places(model) if model else list(range(frame.width))
    labels = None
    if label is not None:
        (of_classes,) = chosen((label,), frame.names, frame.width, WHERE)
        places = places if columns else [place for place in places if place != of_classes]
        labels = labels_of(frame.values(of_classes).tolist(), WHERE, label)
    names = None if frame.names is None else tuple(frame.names[place] for place in places)
    rows = frame.rows(places)
    arrays.validate_numbers(rows, WHERE)
    made = replace(arrays.dataset(Path(_NAME), rows, names, levels=levels, grey=False), file=None, labels=labels)
    return made if model is None else made.of_columns(model)


def _conditional(
    frame: Frame,
    levels: int | None,
    columns: Sequence[str],
    label: str | None,
    model: Columns | None,
    context: Sequence[str],
) -> Dataset:
    """Return a data frame some of whose columns are the contexts of the others."""
    if not columns and model and model.names and frame.names:
        columns = [frame.names[place] for place in frame.places(model)]
    taken = apart(context, columns, label, frame.names, frame.width, WHERE)
    held = chosen(context, frame.names, frame.width, WHERE)
    names = None if frame.names is None else tuple(frame.names[place] for place in held)
    values = frame.rows(held)
    made = _of_frame(frame, levels, taken, label, model)
    return replace(made, contexts=contexts_of(values, names, WHERE, len(values)))
