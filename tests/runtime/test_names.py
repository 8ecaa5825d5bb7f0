"""A model with names takes its columns from a data frame by them, in any order, and says them where one is wrong."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from lunet_export import ExportedClasses, ExportedFlow
from lunet_export.errors import BadInputError, DataError
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.runtime.scoring import score
from tests.networks import mixture, network, rows

NAMES = ("mass", "radius", "Größe, m")
SHUFFLED = ("Größe, m", "id", "mass", "radius")
FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}


def opened(weights, columns=NAMES):
    runner = ExportedClasses if hasattr(weights, "components") else ExportedFlow
    return runner(build_artifact(weights, Provenance("stars", columns=columns), ExportSettings()), provider="cpu")


@pytest.fixture(scope="module")
def flow():
    return opened(network(3, 2))


@pytest.fixture(scope="module")
def classes():
    return opened(mixture(3, 2))


@pytest.fixture
def x():
    return rows(network(3, 2), 40)


def shuffled(x, make):
    table = {**dict(zip(NAMES, x.T, strict=True)), "id": np.arange(len(x))}
    return make({name: table[name] for name in SHUFFLED})


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_a_frame_in_any_order_gives_the_bits_of_the_array(make, flow, classes, x):
    frame = shuffled(x, make)
    for method in (flow.log_prob, flow.encode, flow.accepts, classes.log_prob, classes.posterior, classes.classify):
        np.testing.assert_array_equal(method(frame), method(x))
    np.testing.assert_array_equal(score(flow, frame), score(flow, x))
    assert (flow.log_prob(x[:, [2, 0, 1]]) != flow.log_prob(x)).any()  # by position another answer


def test_names_are_told_and_travel_with_a_copy(flow, classes):
    assert flow.columns == classes.columns == pickle.loads(pickle.dumps(flow)).columns == NAMES
    assert opened(network(3, 2), None).columns is None
    assert "columns" not in opened(network(3, 2), None).manifest.document["model"]


def test_without_names_on_either_side_columns_go_by_position(flow, x):
    plain = opened(network(3, 2), None)
    known = flow.log_prob(x)
    np.testing.assert_array_equal(flow.log_prob(pd.DataFrame(x)), known)
    np.testing.assert_array_equal(plain.log_prob(pd.DataFrame(x, columns=["c", "b", "a"])), known)


def test_a_frame_that_lacks_a_column_says_which(flow, x):
    frame = pd.DataFrame(x, columns=["Mass", "radius", "Größe, m"])
    with pytest.raises(DataError, match=r"lacks column 1 \(mass\)\. Did you mean Mass\? It has Mass, radius, "):
        flow.log_prob(frame)


def test_a_number_that_is_none_is_told_by_its_column(flow, x):
    x[3, 1] = np.nan
    for given in (x, shuffled(x, pl.DataFrame)):
        assert np.flatnonzero(~flow.accepts(given)).tolist() == [3]
        for call in (flow.log_prob, lambda rows: score(flow, rows)):
            with pytest.raises(BadInputError, match=r"in x; row 3 \(from 0\), column 2 \(radius\) is nan"):
                call(given)


def test_latents_have_no_names(flow):
    with pytest.raises(BadInputError, match=r"in z; row 0 \(from 0\), column 3 is inf"):
        flow.decode([[0, 0, np.inf]])
