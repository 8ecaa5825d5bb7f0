"""Rows whose likelihood has no bound are refused before training, and a model below the line is told."""

import numpy as np
import pytest

from lunet_export import data
from lunet_export.data import Dataset
from lunet_export.errors import DataError
from lunet_export.training.degenerate import refuse_degenerate

NORMAL = np.random.default_rng(0).standard_normal((60, 3))


def dataset(rows) -> Dataset:
    return Dataset("mine", rows, rows, rows)


def with_column(values) -> np.ndarray:
    return np.column_stack([NORMAL, values])


@pytest.mark.parametrize("value", [0.0, 3.5, -1e30])
def test_a_constant_column_is_named(value):
    with pytest.raises(DataError, match=r"^Expected columns that vary; column 3 of mine is constant"):
        refuse_degenerate(dataset(with_column(np.full(60, value))))


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (NORMAL[:, 0], r"column [03] of mine is a linear function of [03],"),
        (1e-6 * NORMAL[:, 1] - 7, r"column [13] of mine is a linear function of [13],"),
        (NORMAL @ [1, -2, 0.5], r"column \d of mine is a linear function of \d, \d, \d,"),
    ],
)
def test_a_column_that_follows_from_others_is_named(made, named):
    with pytest.raises(DataError, match=named):
        refuse_degenerate(dataset(with_column(made)))


def test_no_more_rows_than_columns_are_refused():
    with pytest.raises(DataError, match="more training rows than columns; mine has 3 for 3"):
        refuse_degenerate(dataset(NORMAL[:3]))


@pytest.mark.parametrize("noise", [1e-3, 1.0])
def test_columns_that_hang_together_by_noise_pass(noise):
    """Ill conditioned is no reason to refuse."""
    refuse_degenerate(dataset(with_column(NORMAL[:, 0] + noise * np.random.default_rng(1).standard_normal(60))))


def test_grey_levels_may_be_constant():
    refuse_degenerate(data.load("digits"))  # whose corners are always 0
