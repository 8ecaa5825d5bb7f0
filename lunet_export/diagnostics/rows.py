"""The rows of a data set as a model's density takes them."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lunet_export import data, noise
from lunet_export.columns import Columns, listed
from lunet_export.data import Dataset, arrays
from lunet_export.data.own import columns_for
from lunet_export.diagnostics.source import Source
from lunet_export.errors import BadInputError, DataError
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

    Raises:
        DataError: if `lunet_export.data.load` raises it.
    """
    path = Path(name)
    if preprocessing and levels is None and name not in data.NAMES and path.suffix in arrays.SUFFIXES:
        taken = columns if model is None else columns_for(model, path, columns)
        levels = preprocessing.levels if arrays.read(path, taken).dtype.kind in "ui" else None
    return data.load(name, data_dir=data_dir, levels=levels, columns=columns, label=label, model=model)


def validate_rows(dataset: Dataset, preprocessing: Logit | None, dim: int) -> None:
    """Raise unless these are rows of the kind that the model was made for.

    Grey levels need a model with their pre-processing; floats in [0, levels) may be given to such a model too.

    Raises:
        DataError: if the width or the number of grey levels differs.
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
    if dataset.preprocessing is None:
        domain = Rows(dim, np.dtype(np.float64), preprocessing, names=dataset.names)
        for split in (dataset.train, dataset.test):
            domain.data(split)


def misfit_of(dataset: Dataset, preprocessing: Logit | None, dim: int) -> Misfit | None:
    """Return why the numbers of these rows are not what the model was made for, if they show it.

    Raises:
        DataError: if `validate_rows` raises it.
    """
    validate_rows(dataset, preprocessing, dim)
    if dataset.preprocessing is not None:
        return None
    return MadeFor(dim, preprocessing).of_rows(dataset.test)


def misfit(source: Source, dataset: Dataset, *, seed: int) -> Misfit | None:
    """Return why these rows are not what the model was made for, by their numbers or by latents of the first test rows.

    Rows that the model cannot take have no latents; whatever computes all of them says why.

    Raises:
        DataError: if `validate_rows` raises it.
    """
    found = misfit_of(dataset, source.preprocessing, source.dim)
    if found is not None:
        return found
    first = over_batches(
        lambda x: (x, source.density(x)[0]),
        dataset,
        dataset.test[:_LOOKED_AT],
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
    work: Callable[[Array], T],
    dataset: Dataset,
    split: NDArray[np.generic],
    *,
    seed: int,
    draw: int,
    on_rows: Callable[[int], None],
) -> Iterator[T]:
    """Yield what `work` makes of a split's rows in data space, float64 (at most BATCH, D), in their order.

    Integers are grey levels and get the noise of (seed, draw). Batches are computed in a few threads: NumPy's
    elementwise functions use one core each. `on_rows` is called with the number of rows after each batch.
    """

    def one(start: int) -> T:
        part = split[start : start + BATCH]
        if dataset.preprocessing is None:
            return work(part.astype(np.float64))
        uniform = noise.uniform(seed, range(start, start + len(part)), dataset.dim, draw=draw)
        return work(dequantize(part, uniform).astype(np.float64))

    starts = range(0, len(split), BATCH)
    pool = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1))
    try:
        for start, result in zip(starts, pool.map(one, starts), strict=True):
            yield result
            on_rows(min(BATCH, len(split) - start))
    finally:
        pool.shutdown(cancel_futures=True)
