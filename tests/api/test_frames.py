"""Training on data frames: the model of the same numbers in an array, with names."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import lunet_export
from lunet_export.errors import DataError
from tests.api.conftest import OPTIONS, rows

FAST = {**OPTIONS, "epochs": 1}
FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}


def table():
    x = rows()
    kind = np.where(x[:, 0] < 0, "left", "right")
    return {"mass": x[:, 0], "kind": kind, "radius": x[:, 1], "id": np.arange(len(x))}


@pytest.fixture(scope="module")
def plain():
    return lunet_export.train(rows(), **FAST)


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_a_frame_gives_the_model_of_its_numbers_with_their_names(make, plain):
    model = lunet_export.train(make(table()), columns=["mass", 3], **FAST)
    assert (model.columns, plain.columns) == (("mass", "radius"), None)
    assert model.distribution.digest() == plain.distribution.digest()


def test_names_reach_the_folder_and_pick_the_columns_there(tmp_path):
    model = lunet_export.train(pd.DataFrame(table()), tmp_path / "m.pt", columns=["mass", "radius"], **FAST)
    again = lunet_export.save(model, tmp_path / "again.pt")
    with lunet_export.export(again, tmp_path / "m", provider="cpu") as flow:
        assert lunet_export.load(model.path).columns == again.columns == flow.columns == ("mass", "radius")
        found = flow.log_prob(pl.DataFrame(table()).select("id", "radius", "kind", "mass"))
        np.testing.assert_array_equal(found, flow.log_prob(rows()))


def test_training_goes_on_with_the_models_columns_in_any_order(plain):
    first = lunet_export.train(pd.DataFrame(table()), columns=["mass", "radius"], **FAST)
    shuffled = pd.DataFrame(table())[["id", "radius", "mass"]]
    on = {name: value for name, value in FAST.items() if name != "blocks"}
    found = lunet_export.train(shuffled, begin=first, **on)
    by_position = lunet_export.train(rows(), begin=plain, **on)
    assert found.columns == ("mass", "radius")
    assert found.distribution.digest() == by_position.distribution.digest()
    assert lunet_export.train(rows(), begin=first, **on).columns == ("mass", "radius")  # an array has them in order
    with pytest.raises(DataError, match=r"lacks column 2 \(radius\)\. Did you mean radii\?"):
        lunet_export.train(shuffled.rename(columns={"radius": "radii"}), begin=first, **on)
    with pytest.raises(DataError, match="the model's order, mass, radius; got radius, mass"):
        lunet_export.train(shuffled, begin=first, columns=["radius", "mass"], **on)


def test_classes_of_a_frame(tmp_path):
    frame = pd.DataFrame(table()).drop(columns="id")
    model = lunet_export.train(frame, tmp_path / "m.pt", label="kind", per_class=True, **FAST)
    assert (model.columns, model.distribution.names) == (("mass", "radius"), ("left", "right"))
    with lunet_export.export(model, tmp_path / "m", provider="cpu") as flow:
        assert (flow.columns, flow.classify(frame).shape) == (("mass", "radius"), (300,))


def test_an_index_that_pandas_named_is_refused():
    frame = pd.DataFrame(table())[["id", "mass", "radius"]].rename(columns={"id": "Unnamed: 0"})
    with pytest.raises(DataError, match=r"column 1 of rows has no name .* give df\.drop\(columns='Unnamed: 0'\)$"):
        lunet_export.train(frame, **FAST)


def test_whole_numbers_in_a_frame_are_no_grey_levels():
    counts = pd.DataFrame({"a": np.arange(300) % 7, "b": np.arange(300) % 11})
    assert lunet_export.train(counts, dequantize=True, **FAST).distribution.preprocessing is None
    levels = lunet_export.train(counts, levels=11, **FAST)
    assert (levels.distribution.preprocessing.levels, levels.columns) == (11, None)
