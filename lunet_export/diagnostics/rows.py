"""The rows of a data set as a model's density takes them."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lunet_export import data, noise
from lunet_export.classes import Classes
from lunet_export.columns import Columns, listed, usable
from lunet_export.data import Contexts, Dataset, Labels, Part, arrays
from lunet_export.data.contexts import contexts_of
from lunet_export.data.dataset import SPLITS
from lunet_export.data.given_context import GivenContext, given_context
from lunet_export.data.own import columns_for
from lunet_export.diagnostics.source import Source
from lunet_export.errors import BadInputError, DataError
from lunet_export.layers import Context
from lunet_export.preprocessing import Logit, dequantize
from lunet_export.runtime.misfit import MadeFor, Misfit
from lunet_export.runtime.rows import Rows

Array = NDArray[np.float64]
T = TypeVar("T")

_MOST_THREADS = 8
BATCH = 1000
_LOOKED_AT = 256  # number of test rows whose latents are checked
TRAIN, TEST = 0, 1  # noise draw of each split, so that splits do not share noise


def load(
    name: str,
    preprocessing: Logit | None,
    *,
    data_dir: Path,
    levels: int | None,
    columns: Sequence[str] = (),
    label: str | None = None,
    model: Columns | None = None,
    context: Context | None = None,
    given: str | None = None,
) -> Dataset:
    """Return the data set of that name or file as `train` takes it; integers have the grey levels of the model.

    Args:
        name: Name of a set, or a path as `lunet_export.data.load` takes it.
        preprocessing: Pre-processing of the model.
        data_dir: Folder of the MNIST files.
        levels: Number of grey levels of a file of integers; None takes the model's.
        columns: Columns of a file, as `lunet_export.data.load` takes them.
        label: Column of the rows' classes in a file.
        model: Columns of the model; without `columns` they are taken by their names.
        context: Context of a conditional model.
        given: Contexts of the rows: numbers separated by commas, or the path of a file of one or of one per row; None
            takes the columns of the rows' own file that have the names of the context, or the labels of the rows where
            the context names classes.

    Raises:
        DataError: if `lunet_export.data.load` raises it, or as `GivenContext` does.
        BadInputError: if a conditional model is given no contexts, another one some, or their number differs.
    """
    own = name not in data.NAMES
    classes = context.classes if context is not None and given is None else None
    contexts = given_context(context, given, name if own else None) if classes is None else None
    if contexts is not None and contexts.rows > 1 and not own:
        raise DataError(
            f"Expected one context for all rows of {name}, whose order is its own; {contexts.given} has "
            f"{contexts.rows}. Give `context` numbers."
        )
    path = Path(name)
    if preprocessing and levels is None and name not in data.NAMES and path.suffix in arrays.SUFFIXES:
        taken = columns if model is None else columns_for(model, path, columns)
        levels = preprocessing.levels if arrays.read(path, taken).dtype.kind in "ui" else None
    loaded = data.load(name, data_dir=data_dir, levels=levels, columns=columns, label=label, model=model)
    if classes is not None:
        return _given_labels(loaded, classes)
    return loaded if contexts is None else _with_contexts(loaded, contexts)


def _given_labels(dataset: Dataset, classes: Classes) -> Dataset:
    """Return the rows with contexts that name their classes, those of a model."""
    labels = dataset.labels
    if labels is None:
        raise DataError(
            f"Expected labels or `context` for a model whose contexts name classes; {dataset.name} has no labels. Give "
            "`context`, one for all rows or a file of one per row."
        )
    validate_class_names(labels, classes.names, dataset)
    train, valid, test = (classes.contexts(numbers) for numbers in (labels.train, labels.valid, labels.test))
    return replace(dataset, contexts=Contexts(None, train, valid, test, classes=classes))


def validate_class_names(labels: Labels, names: Sequence[str], dataset: Dataset) -> None:
    """Raise unless labels are of the classes of a model, in their order.

    Raises:
        DataError: if they are of others.
    """
    if labels.names != tuple(names):
        raise DataError(
            f"Expected data of the model's classes, {', '.join(names)}; {dataset.name} has "
            f"{', '.join(labels.names)}. Give the data that it was trained on."
        )


def _with_contexts(dataset: Dataset, given: GivenContext) -> Dataset:
    """Return the rows with these contexts: one for all, or one for each in the order of their file."""
    counts = [len(dataset.part(split)) for split in SPLITS]
    given.validate_rows(sum(counts))
    found, names = given.read(0, sum(counts)), given.context.names
    if given.rows == 1:
        one = found.astype(np.float64)
        return replace(dataset, contexts=Contexts(names, *(np.repeat(one, count, axis=0) for count in counts)))
    return replace(dataset, contexts=contexts_of(found, names, given.given, sum(counts)))


def validate_rows(dataset: Dataset, preprocessing: Logit | None, dim: int, context: Context | None = None) -> None:
    """Raise unless these are rows of the kind that the model was made for.

    Grey levels need a model with their pre-processing; floats in [0, levels) may be given to such a model too. Rows for
    a conditional model have contexts of its width.

    Raises:
        DataError: if the width, the number of grey levels or that of the contexts' columns differs.
        BadInputError: if floats are outside the model's domain.
    """
    if dataset.dim != dim:
        names = f" ({listed(dataset.columns)})" if dataset.columns else ""
        raise DataError(
            f"Expected rows of {dim} dimensions, as the model has; {dataset.name} has {dataset.dim}{names}. Give the "
            "model's data, or choose columns by `columns`."
        )
    given, wanted = (p.levels if p else None for p in (dataset.preprocessing, preprocessing))
    if given is not None and given != wanted:
        have = f"{wanted} grey levels" if wanted else "no pre-processing"
        raise DataError(
            f"Expected rows for a model with {have}; {dataset.name} has {given} grey levels. "
            "Give its own data, `levels`, or the authors' best.pth with `preprocess='paper'`."
        )
    _validate_contexts(dataset, context)
    if dataset.preprocessing is None:
        domain = Rows(dim, np.dtype(np.float64), preprocessing, names=dataset.names)
        for split in (dataset.train, dataset.test):
            domain.data(split)


def _validate_contexts(dataset: Dataset, context: Context | None) -> None:
    wanted, found = (None if given is None else given.dim for given in (context, dataset.contexts))
    if found == wanted:
        of_model, of_rows = (None if given is None else usable(given.names) for given in (context, dataset.contexts))
        if of_model and of_rows and of_model != of_rows:
            raise DataError(
                f"Expected the contexts {listed(of_model)}, in this order; {dataset.name} has {listed(of_rows)}."
            )
        return
    if wanted is None:
        raise DataError(f"Expected rows without contexts for a model that takes none; {dataset.name} has contexts.")
    have = f"contexts of width {found}" if found else "none"
    raise DataError(
        f"Expected rows with contexts of width {wanted}, as the model takes them; {dataset.name} has {have}. Give "
        "them by `context`."
    )


def misfit_of(dataset: Dataset, preprocessing: Logit | None, dim: int, context: Context | None = None) -> Misfit | None:
    """Return why the numbers of these rows are not what the model was made for, if they show it.

    Raises:
        DataError: if `validate_rows` raises it.
    """
    validate_rows(dataset, preprocessing, dim, context)
    if dataset.preprocessing is not None:
        return None
    return MadeFor(dim, preprocessing).of_rows(dataset.test)


def contexts_beyond(dataset: Dataset, context: Context | None) -> Misfit | None:
    """Return the misfit of contexts of training or test rows that lie outside those of the model's training."""
    if dataset.contexts is None:
        return None
    both = np.concatenate([dataset.contexts.train, dataset.contexts.test])
    return Rows(dataset.dim, np.dtype(np.float64), None, context=context).beyond(both)


def misfit(source: Source, dataset: Dataset, *, seed: int) -> Misfit | None:
    """Return why these rows are not what the model was made for, by their numbers or by latents of the first test rows.

    Rows that the model cannot take have no latents; whatever computes all of them says why.

    Raises:
        DataError: if `validate_rows` raises it.
    """
    found = misfit_of(dataset, source.preprocessing, source.dim, source.context)
    if found is not None:
        return found
    first = over_batches(
        lambda x, c: (x, source.density(x, context=c)[0]),
        dataset,
        dataset.part("test")[:_LOOKED_AT],
        seed=seed,
        draw=TEST,
        on_rows=lambda n: None,
    )
    try:
        x, z = (np.concatenate(parts) for parts in zip(*first, strict=True))
    except BadInputError:
        return None
    return source.made_for.of_latents(x, z)


def over_batches(
    work: Callable[[Array, Array | None], T],
    dataset: Dataset,
    part: Part,
    *,
    seed: int,
    draw: int,
    on_rows: Callable[[int], None],
) -> Iterator[T]:
    """Yield what `work` makes of a part's rows in data space, float64 (at most BATCH, D), in their order.

    Its second argument is the contexts of these rows; None if they have none. Integers are grey levels and get the
    noise of (seed, draw). Batches are computed in a few threads: NumPy's elementwise functions use one core each.
    `on_rows` is called with the number of rows after each batch.
    """

    def one(start: int) -> T:
        batch = part[start : start + BATCH]
        if dataset.preprocessing is None:
            return work(batch.rows.astype(np.float64), batch.contexts)
        uniform = noise.uniform(seed, range(start, start + len(batch)), dataset.dim, draw=draw)
        return work(dequantize(batch.rows, uniform).astype(np.float64), batch.contexts)

    starts = range(0, len(part), BATCH)
    pool = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1))
    try:
        for start, result in zip(starts, pool.map(one, starts), strict=True):
            yield result
            on_rows(min(BATCH, len(part) - start))
    finally:
        pool.shutdown(cancel_futures=True)
