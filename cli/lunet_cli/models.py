"""Model files and exported folders, opened for commands."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lunet_cli import output
from lunet_cli.arguments import in_options
from lunet_cli.options import NO_AUTHORS_OPTIONS, AuthorsOptions, DataOptions, RowsOptions, column_list
from lunet_cli.pipes import data_set
from lunet_export.api.models import validate_model_path
from lunet_export.columns import Columns
from lunet_export.files import exclusive
from lunet_export.preprocessing import NAMED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lunet_export.checkpoint import Checkpoint
    from lunet_export.data import Dataset
    from lunet_export.diagnostics import Source
    from lunet_export.diagnostics.classify import ClassSource
    from lunet_export.layers import Context
    from lunet_export.runtime import ExportedClasses, ExportedFlow
    from lunet_export.streaming.jobs import Work


def read_model(path: Path, authors: AuthorsOptions = NO_AUTHORS_OPTIONS) -> "Checkpoint":
    """Return the checkpoint in a file, and print what was assumed and noted."""
    from lunet_export import checkpoint

    preprocessing = NAMED[authors.preprocess.value]
    return _told(checkpoint.read(path, latent_stats=authors.latent_stats, preprocessing=preprocessing))


def _told(read: "Checkpoint") -> "Checkpoint":
    """Return the checkpoint; print what was assumed about it and how it was read."""
    for sentence in read.assumed:
        output.warn(sentence)
    for sentence in read.notes:
        output.remark(sentence)
    return read


@contextmanager
def new_model(target: Path, *, force: bool) -> Iterator[None]:
    """Lock a model file for this process, and validate its path again, as another process may have written it."""
    with exclusive(target):
        validate_model_path(target, force=force)
        yield


def where(opened: "ExportedFlow | ExportedClasses | Work") -> dict[str, str]:
    """Return where graphs run, for a document."""
    return {"provider": opened.provider, "provider_reason": in_options(opened.provider_reason)}


def where_in_words(opened: "ExportedFlow | ExportedClasses | Work") -> str:
    """Return where graphs run, for a sentence."""
    return f"provider {opened.provider} ({in_options(opened.provider_reason)})"


def open_source(path: Path, authors: AuthorsOptions) -> "Source":
    """Return a model file evaluated by the float64 reference, or an exported folder by its graphs on the CPU.

    Raises:
        BadInputError: if it cannot be read, or options of the authors' files are given with a folder.
    """
    from lunet_export.diagnostics import FolderSource

    if not path.is_dir():
        return source_of(read_model(path, authors), name=path.stem)
    authors.validate_without_folder(path)
    from lunet_export.runtime import ExportedFlow

    return FolderSource(ExportedFlow(path, provider="cpu"))


def source_of(read: "Checkpoint", *, name: str = "model") -> "Source":
    """Return a model evaluated by the float64 reference.

    Raises:
        CheckpointError: if it holds one network per class.
    """
    from lunet_export.diagnostics import WeightsSource

    return WeightsSource(
        read.weights,
        name=name,
        image_shape=read.image_shape,
        columns=read.columns,
        kind=read.kind,
        assumed=bool(read.assumed),
    )


def load_rows(
    source: "Source | ClassSource",
    name: str,
    options: DataOptions,
    *,
    label: str | None = None,
    context: "Context | None" = None,
    given: str | None = None,
) -> "Dataset":
    """Return the data set with this name, in this file or from stdin. Columns are matched by name if both have names.

    A conditional model with this `context` gets rows with the contexts that are `given`, or those in their columns.

    Raises:
        DataError, BadInputError: if it cannot be read, or contexts are missing or do not fit.
    """
    from lunet_export import diagnostics

    return data_set(
        name,
        lambda found: diagnostics.load(
            found,
            source.preprocessing,
            data_dir=options.data_dir,
            levels=options.levels,
            columns=column_list(options.columns),
            label=label,
            model=Columns(source.dim, source.columns),
            context=context,
            given=given,
        ),
    )


def given_rows(source: "Source", name: str, options: RowsOptions) -> "Dataset":
    """Return the data set with this name or in this file, with contexts for a conditional model.

    Raises:
        DataError, BadInputError: as `load_rows` does.
    """
    return load_rows(source, name, options, context=source.context, given=options.context)


def contexts_for(context: "Context | None", given: str | None, count: int) -> "NDArray[Any] | None":
    """Return the contexts of so many samples, (count, C), or the one of all, (1, C); None for a flow that takes none.

    Contexts beyond those of training get a warning.

    Raises:
        DataError, BadInputError: if contexts are missing or do not fit.
    """
    import numpy as np

    from lunet_export.data.given_context import given_context
    from lunet_export.runtime.rows import Rows

    if (found := given_context(context, given)) is None:
        return None
    found.validate_rows(count)
    contexts = found.read(0, count)
    contexts = contexts if contexts.dtype.kind == "f" else contexts.astype(np.float64)
    if (misfit := Rows(1, contexts.dtype, None, context=context).beyond(contexts)) is not None:
        output.warn(misfit.sentence)
    return contexts


def rows_for(source: "Source", name: str, options: RowsOptions) -> "Dataset":
    """Return the data set with this name or in this file; warn if the model was not made for its rows.

    Raises:
        DataError, BadInputError: if it cannot be read, or as `tell_misfit` raises.
    """
    rows = given_rows(source, name, options)
    tell_misfit(source, rows, seed=options.seed)
    return rows


def tell_misfit(source: "Source", rows: "Dataset", *, seed: int) -> None:
    """Warn if a model was not made for rows like these, or for such contexts.

    Raises:
        DataError: if the rows have another width or number of grey levels, or lie outside the domain.
    """
    from lunet_export.diagnostics import contexts_beyond, misfit

    for found in (misfit(source, rows, seed=seed), contexts_beyond(rows, source.context)):
        if found is not None:
            output.warn(found.sentence)
