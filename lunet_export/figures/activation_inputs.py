"""What enters every activation, unit by unit, beside the curvature of f."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lunet_export import layers
from lunet_export.data import Dataset, Part
from lunet_export.diagnostics.activations import COLLAPSED, Activation, Tally
from lunet_export.diagnostics.rows import TEST, over_batches, validate_rows
from lunet_export.diagnostics.source import Source
from lunet_export.errors import BadInputError
from lunet_export.figures.histogram import Histogram

Array = NDArray[np.float64]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_MOST_NUMBERS = 5e7  # numbers kept at once; of more rows, the first are used
_FEWEST_ROWS = 200
_BINS = 80


@dataclass(frozen=True)
class UnitInputs:
    """This is one activation with what enters it, a (N, D).

    Attributes:
        f: The activation's layer.
        activation: Shares over all units, as `diagnose` prints them.
        quantiles: Quantiles of each unit over the rows at QUANTILES, (5, D), units sorted by their medians.
        active: Share of each of these units' rows off its branch, (D,).
        histogram: Histogram of all numbers over `window`.
        window: Interval that contains all of these quantiles and the curvature.
    """

    f: layers.Activation
    activation: Activation
    quantiles: Array
    active: Array
    histogram: Histogram
    window: tuple[float, float]

    @property
    def active_units(self) -> float:
        """Return the share of units with at least COLLAPSED of their rows off their branch."""
        return float((self.active >= COLLAPSED).mean())

    @property
    def collapsed(self) -> bool:
        """Return whether the activation is affine, by `diagnose`'s definition."""
        return self.activation.active < COLLAPSED


@dataclass(frozen=True)
class ActivationInputs:
    """These are the activations of a network in order, over `rows` test rows."""

    rows: int
    activations: tuple[UnitInputs, ...]


def activation_inputs(
    source: Source, dataset: Dataset, *, seed: int, on_rows: Callable[[int], None] = lambda n: None
) -> ActivationInputs:
    """Return what enters the activations.

    Args:
        source: A model file with at least two blocks.
        dataset: Its data; the test rows are used, for wide models the first of them.
        seed: Random seed of the dequantization noise.
        on_rows: Function called with the number of rows after each batch.

    Raises:
        BadInputError: if there are no activations, or they cannot be seen.
        DataError: if the rows are of another kind than the model's.
    """
    validate_activations(source)
    validate_rows(dataset, source.preprocessing, source.dim, source.context)
    activations = source.activations
    assert activations is not None  # else `validate_activations` raises

    def see(part: Part) -> list[list[Array]]:
        inputs = over_batches(lambda x, c: _inputs(source, x, c), dataset, part, seed=seed, draw=TEST, on_rows=on_rows)
        return list(inputs)

    test = dataset.part("test")
    count = len(see(test[:1])[0])
    if count == 0:
        raise BadInputError(
            f"Expected a network with activations; {source.name} has one block and none. It is affine by construction."
        )
    most = max(_FEWEST_ROWS, int(_MOST_NUMBERS / (source.dim * count)))
    rows = test[:most]
    stacked = [np.concatenate(part) for part in zip(*see(rows), strict=True)]
    tally = Tally(activations)
    for number, a in enumerate(stacked, 1):
        tally(number, a)
    found = zip(activations, tally.result(), tally.unit_shares(), stacked, strict=True)
    return ActivationInputs(len(rows), tuple(_unit_inputs(*entry) for entry in found))


def validate_activations(source: Source) -> None:
    """Raise unless what enters the activations can be seen.

    Raises:
        BadInputError: if the source has no activations, or is a folder.
    """
    if source.activations is None:
        raise BadInputError(f"Expected a model with activations to look into; {source.name} has none: {source.hidden}.")


def _inputs(source: Source, x: Array, context: Array | None) -> list[Array]:
    seen: list[Array] = []
    source.density(x, lambda number, a: seen.append(a), context=context)
    return seen


def _unit_inputs(f: layers.Activation, activation: Activation, active: Array, a: Array) -> UnitInputs:
    quantiles = np.quantile(a, QUANTILES, axis=0)
    order = np.argsort(quantiles[len(QUANTILES) // 2])
    quantiles = quantiles[:, order]
    low, high = min(-6.0, float(quantiles.min())), max(6.0, float(quantiles.max()))
    margin = 0.03 * (high - low)
    window = (low - margin, high + margin)
    return UnitInputs(f, activation, quantiles, active[order], Histogram.of(a, *window, bins=_BINS), window)
