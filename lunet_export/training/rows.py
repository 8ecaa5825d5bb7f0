"""The rows that a run is measured by, in data space, grey levels with noise that is the same in every run."""

import numpy as np
from numpy.typing import NDArray

from lunet_export import noise
from lunet_export.data import Dataset
from lunet_export.training.gaussian import Gaussian

Array = NDArray[np.float64]

# Seeds of dequantisation noise. That of validation is the same in every epoch, so that epochs compare.
_GAUSSIAN_SEED, VALIDATION_SEED, _EXAMPLE_SEED = 2, 1, 4
_TEST_SEED = 1000  # of the first draw
_TEST_DRAWS = 10
_EXAMPLES = 8


def training_rows(data: Dataset) -> Array:
    """The training rows, (N, D)."""
    return _continuous(data, data.train, _GAUSSIAN_SEED)


def gaussian_of(data: Dataset) -> Gaussian:
    """The full-covariance Gaussian of the training rows, dequantised once."""
    return Gaussian.fit(training_rows(data), data.preprocessing)


def validation_rows(data: Dataset) -> Array:
    """The validation rows, (N, D)."""
    return _continuous(data, data.valid, VALIDATION_SEED)


def draws_of(data: Dataset) -> int:
    """How many draws of the dequantisation noise the test rows are evaluated with; vectors have none."""
    return _TEST_DRAWS if data.preprocessing else 1


def rows_to_test(data: Dataset, number: int) -> Array:
    """The test rows with the noise of draw `number`, (N, D)."""
    return _continuous(data, data.test, _TEST_SEED + number)


def examples_of(data: Dataset) -> Array | None:
    """A few test rows for the model file; None of a user's own rows, which never leave their machine inside a model."""
    return _continuous(data, data.test[:_EXAMPLES], _EXAMPLE_SEED) if data.public else None


def _continuous(data: Dataset, rows: NDArray[np.generic], seed: int) -> Array:
    """Rows in data space, (N, D), grey levels with the noise of `seed`.

    Grey levels are dequantised in float32, in which networks take them: 255.99999999 would round to 256 there, and
    that is outside the domain.
    """
    uniform = noise.uniform(seed, range(len(rows)), data.dim)
    return data.continuous(rows, uniform.astype(np.float32) if data.preprocessing else uniform).astype(np.float64)
