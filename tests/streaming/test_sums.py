"""Sums are exact, whatever the numbers and however they are split."""

from fractions import Fraction
from math import fsum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunet_export.streaming.sums import exact_sum

#: Small enough that no sum of a few dozen overflows.
numbers = st.lists(st.floats(-1e306, 1e306), max_size=40)


@given(numbers)
def test_the_parts_add_up_to_the_sum_exactly(values):
    found = exact_sum(np.array(values))
    assert sum(map(Fraction, found)) == sum(map(Fraction, values))
    assert fsum(found) == fsum(values)


@given(numbers, st.integers(0, 40))
def test_pieces_side_by_side_give_the_sum_of_all(values, cut):
    pieces = exact_sum(np.array(values[:cut])) + exact_sum(np.array(values[cut:]))
    assert fsum(pieces) == fsum(values)


def test_sums_that_are_rounded_piece_by_piece_would_differ():
    values = [1.0, 2.0**-53, 2.0**-53]
    assert fsum([fsum(values[:2]), fsum(values[2:])]) != fsum(values)
    assert fsum(exact_sum(np.array(values[:2])) + exact_sum(np.array(values[2:]))) == fsum(values)


def test_many_numbers_are_few_parts():
    values = np.random.default_rng(0).normal(-300, 100, 100_000)
    assert len(exact_sum(values)) <= 4
    assert exact_sum(np.array([])) == []


@pytest.mark.parametrize("values", [[1.7e308, 1.7e308], [np.nan], [np.inf, 1.0]])
def test_what_has_no_sum_is_refused(values):
    with pytest.raises(OverflowError):
        exact_sum(np.array(values))
