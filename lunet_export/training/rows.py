"""The rows on which a run is evaluated, in data space; grey levels get noise that is the same in every run."""

import numpy as np
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.data import Dataset
from lunet_export.training.gaussian import Gaussian

Array = NDArray[np.float64]

# Seeds of dequantization noise. Validation has the same in every epoch, so that epochs can be compared.
_GAUSSIAN_SEED, VALIDATION_SEED, _EXAMPLE_SEED = 2, 1, 4
_TEST_SEED = 1000  # seed of the first draw
_TEST_DRAWS = 10
_EXAMPLES = 8


def training_rows(data: Dataset) -> Array:
    """Return the training rows, (N, D)."""
    return _continuous(data, data.train, _GAUSSIAN_SEED)


def gaussian_of(data: Dataset) -> Gaussian:
    """Return the Gaussian of the training rows, dequantized once, with their contexts if they have any."""
    return Gaussian.fit(training_rows(data), data.preprocessing, data.contexts)


def validation_rows(data: Dataset) -> Array:
    """Return the validation rows, (N, D)."""
    return _continuous(data, data.valid, VALIDATION_SEED)


def draws_of(data: Dataset) -> int:
    """Return how many draws of the dequantization noise the test rows are evaluated with; vectors have none."""
    return _TEST_DRAWS if data.preprocessing else 1


def rows_to_test(data: Dataset, number: int) -> Array:
    """Return the test rows with the noise of draw `number`, (N, D)."""
    return _continuous(data, data.test, _TEST_SEED + number)


def examples_of(data: Dataset) -> Array | None:
    """Return a few test rows for the model file.

    None for a user's own rows, which must not leave their machine, and for rows with contexts, which say nothing alone.
    """
    return _continuous(data, data.test[:_EXAMPLES], _EXAMPLE_SEED) if data.public and not data.contexts else None


def _continuous(data: Dataset, rows: NDArray[np.generic], seed: int) -> Array:
    """Return rows in data space, (N, D), grey levels with the noise of `seed`.

    Grey levels are dequantized in float32, the dtype in which networks take them: 255.99999999 would round to 256
    there, which is outside the domain.
    """
    uniform = noise.uniform(seed, range(len(rows)), data.dim)
    return data.continuous(rows, uniform.astype(np.float32) if data.preprocessing else uniform).astype(np.float64)
