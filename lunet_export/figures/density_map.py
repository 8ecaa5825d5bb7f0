"""The density of a model of two dimensions on a grid, beside the one that its data were drawn from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.data import Dataset, toy
from lunet_export.diagnostics import entropy
from lunet_export.diagnostics.rows import BATCH, TEST, over_batches, validate_rows
from lunet_export.diagnostics.source import Source
from lunet_export.errors import BadInputError

Array = NDArray[np.float64]

CELLS = 300  # per side
_SHARES = (0.1, 0.5, 0.9)  # of the rows, at which a density is mapped
_MARGIN = 0.12  # share of the data's width, on each side


@dataclass(frozen=True)
class DensityMap:
    """This is p(x), or p(x | c), at the middles of the cells of a window, row i for x2, column j for x1.

    Attributes:
        window: [[low 1, high 1], [low 2, high 2]].
        model: Density of the model in each cell.
        truth: Density that the data were drawn from; None if it is unknown.
        samples: Samples of the model, (n, 2).
        rows: Number of test rows.
        test_nats: Mean -log p of the test rows, in nats.
        entropy: Entropy of the data; None if it is unknown, as that of rows given contexts that vary.
        context: Context (C,) of the map and of the samples; None for a model that takes none.
    """

    window: Array
    model: Array
    truth: Array | None
    samples: Array
    rows: int
    test_nats: float
    entropy: entropy.Entropy | None
    context: Array | None = None

    def integral(self, density: Array) -> float:
        """Return the integral of a density over the window: 1 minus what lies outside, up to the width of the cells."""
        return float(density.mean() * np.prod(self.window[:, 1] - self.window[:, 0]))


def validate_two_dimensions(source: Source) -> None:
    """Raise unless the model has two dimensions.

    Raises:
        BadInputError: if it has another number.
    """
    if source.dim != 2:
        raise BadInputError(
            f"Expected a model of 2 dimensions to map its density; {source.name} has {source.dim}. "
            "Plot its samples or latents instead."
        )


def density_map(
    source: Source,
    dataset: Dataset,
    *,
    samples: int,
    seed: int,
    cells: int = CELLS,
    window: Array | None = None,
    context: Array | None = None,
    on_rows: Callable[[int], None] = lambda n: None,
) -> DensityMap:
    """Return the map, samples and figures of a model of two dimensions.

    Args:
        source: The model.
        dataset: Its data.
        samples: Number of samples.
        seed: Random seed of the samples and of the dequantization noise.
        cells: Number of cells per side of the grid.
        window: Window (2, 2) as in `DensityMap`; by default the test rows with a margin.
        context: Context (C,) of the map of a conditional model; by default the first of `shown_contexts`.
        on_rows: Function called with the number of rows after each batch, cells included.

    Raises:
        BadInputError: if the model has another number of dimensions.
        DataError: if the rows are of another kind than the model's.
    """
    validate_two_dimensions(source)
    validate_rows(dataset, source.preprocessing, source.dim, source.context)
    test = dataset.part("test")
    if context is None and test.contexts is not None:
        context = shown_contexts(test.contexts)[0]
    both = over_batches(
        lambda x, c: (x, source.density(x, context=c)[2]), dataset, test, seed=seed, draw=TEST, on_rows=on_rows
    )
    x, log_prob = (np.concatenate(part) for part in zip(*both, strict=True))
    if window is None:
        window = _window(x, source)
    one = test.contexts is None or bool((test.contexts == test.contexts[:1]).all())  # for all rows
    known = one and dataset.public and dataset.name in toy.DENSITIES
    model, truth = np.empty(cells * cells), np.empty(cells * cells)
    points = _middles(window, cells)
    for start in range(0, len(points), BATCH):
        part = slice(start, start + BATCH)
        model[part] = np.exp(source.density(points[part], context=context)[2])
        if known:
            truth[part] = np.exp(toy.log_density(dataset.name, points[part]))
        on_rows(len(points[part]))
    return DensityMap(
        window=window,
        model=model.reshape(cells, cells),
        truth=truth.reshape(cells, cells) if known else None,
        samples=source.decode(noise.normal(seed, range(samples), 2), context=context),
        rows=len(x),
        test_nats=-float(log_prob.mean()),
        entropy=entropy.of_data(dataset, x) if one else None,
        context=context,
    )


def shown_contexts(contexts: Array) -> Array:
    """Return a few of the contexts (N, C) to map a density at, (K, C): one if all are equal, else up to three.

    They are those of the rows at 10 %, 50 % and 90 % in the order of the first column that varies, none of them twice.
    """
    varies = (contexts != contexts[:1]).any(axis=0)
    if not varies.any():
        return contexts[:1]
    order = np.argsort(contexts[:, int(varies.argmax())], kind="stable")
    found = contexts[order[[int(share * (len(order) - 1)) for share in _SHARES]]]
    return found[np.sort(np.unique(found, axis=0, return_index=True)[1])]


def _window(x: Array, source: Source) -> Array:
    """Return a window around the rows, without a thousandth at each end; for images, their whole domain."""
    if source.preprocessing:
        return np.array([[0.0, source.preprocessing.levels]] * 2)
    low, high = np.quantile(x, [0.001, 0.999], axis=0)
    margin = _MARGIN * np.maximum(high - low, 1e-6)
    return np.stack([low - margin, high + margin], axis=1)


def _middles(window: Array, cells: int) -> Array:
    """Return the points (cells^2, 2), x1 running fastest."""
    step = (np.arange(cells) + 0.5) / cells
    first, second = (low + step * (high - low) for low, high in window)
    return np.stack([axis.ravel() for axis in np.meshgrid(first, second)], axis=1)
