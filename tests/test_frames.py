"""Data frames of pandas, Polars and pyarrow: the same rows from each, by name, and a sentence for what holds none."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from lunet_export.columns import Columns
from lunet_export.errors import DataError
from lunet_export.frames import Frame, is_frame

TABLE = {"id": [7, 8, 9], "mass": [0.5, 1.5, 2.5], "kind": ["a", "b", "a"], "age": [3, 1, 2]}
KINDS = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
STARS = Columns(2, ("age", "mass"))


@pytest.mark.parametrize("kind", KINDS)
def test_columns_are_taken_by_name_in_the_models_order(kind):
    found = KINDS[kind](TABLE)
    assert is_frame(found)
    frame = Frame(found)
    assert (frame.names, frame.width, frame.places(STARS)) == (("id", "mass", "kind", "age"), 4, [3, 1])
    rows = frame.rows(frame.places(STARS))
    np.testing.assert_array_equal(rows, [[3, 0.5], [1, 1.5], [2, 2.5]])
    assert rows.dtype == np.float64


@pytest.mark.parametrize("kind", KINDS)
def test_whole_numbers_stay_whole_and_missing_ones_are_nan(kind):
    whole = Frame(KINDS[kind]({"a": [1, 2], "b": [3, 4]}))
    assert whole.rows([0, 1]).dtype == np.int64
    gap = Frame(KINDS[kind]({"a": [1.0, None], "b": [3, 4]}))
    np.testing.assert_array_equal(gap.rows([0, 1]), [[1, 3], [np.nan, 4]])


def test_names_that_are_no_texts_are_none():
    frame = Frame(pd.DataFrame(np.arange(6).reshape(2, 3)))
    assert (frame.names, frame.places(Columns(3, ("a", "b", "c")))) == (None, [0, 1, 2])
    np.testing.assert_array_equal(frame.rows([2, 0]), [[2, 0], [5, 3]])


def test_what_is_no_frame():
    for other in (np.ones((2, 2)), [[1.0]], pd.Series([1.0]), pl.Series([1.0]), pa.array([1.0]), "x.csv", None):
        assert not is_frame(other)


WRONG = {
    "no column": (pd.DataFrame(), r"Expected columns of numbers in the data frame; it has none"),
    "twice": (pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), r"a name of its own .*; got a more than once"),
    "words": (
        pl.DataFrame({"a": [1.0], "b": ["x"]}),
        r"Expected numbers .*; column 2 \(b\) holds object\. Leave it out",
    ),
    "truth": (pd.DataFrame({"a": [True]}), r"column 1 \(a\) holds bool"),
    "times": (pl.DataFrame({"a": pl.Series([0], dtype=pl.Datetime)}), r"column 1 \(a\) holds datetime64"),
    "lists": (pl.DataFrame({"a": pl.Series([[1.0, 2.0]], dtype=pl.Array(pl.Float64, 2))}), r"holds arrays of shape"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_holds_no_rows_gets_a_sentence(name):
    given, sentence = WRONG[name]
    with pytest.raises(DataError, match=sentence):
        Frame(given).rows(range(len(given.columns)))
