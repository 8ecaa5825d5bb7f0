"""Rows as people have them: tables with names, of which some columns are taken."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from lunet_export import checkpoint, data
from lunet_export.columns import Columns, chosen
from lunet_export.errors import DataError
from tests.cli.conftest import run

TABLE = {
    "id": list(range(60)),
    "mass": (np.linspace(0.5, 2.5, 60) ** 2).tolist(),
    "kind": ["giant", "dwarf"] * 30,
    "radius": np.sin(np.arange(60.0)).tolist(),
}
TAKEN = np.stack([TABLE["radius"], TABLE["mass"]], axis=1)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = pa.table(TABLE)
    pyarrow.parquet.write_table(table, "stars.parquet")
    pyarrow.feather.write_feather(table, "stars.feather")
    lines = [",".join(map(repr, row)).replace("'", "") for row in zip(*TABLE.values(), strict=True)]
    (tmp_path / "stars.csv").write_text("\n".join([",".join(TABLE), *lines]) + "\n")
    np.save("stars.npy", np.stack([TABLE["id"], TABLE["mass"], TABLE["radius"]], axis=1))
    return tmp_path


def every_row(found):
    """The rows of all splits, in the order of their first number."""
    rows = np.concatenate([found.train, found.valid, found.test])
    return rows[np.argsort(rows[:, 1])]


@pytest.mark.parametrize("name", ["stars.parquet", "stars.feather", "stars.csv"])
def test_columns_are_taken_by_name_in_the_order_that_is_given(name, here):
    found = data.load(name, columns=("radius", "mass"))
    assert (found.columns, found.dim) == (("radius", "mass"), 2)
    np.testing.assert_array_equal(every_row(found), TAKEN)


@pytest.mark.parametrize(("name", "columns"), [("stars.npy", ("3", "2")), ("stars.csv", ("4", "2"))])
def test_columns_are_taken_by_number_counted_from_one(name, columns, here):
    np.testing.assert_array_equal(every_row(data.load(name, columns=columns)), TAKEN)


def test_every_kind_of_file_gives_one_model(here):
    """The splits, the digest of the data and so the model are those of the same numbers."""
    sets = [data.load(f"stars.{kind}", columns=("mass", "radius")) for kind in ("parquet", "feather", "csv")]
    assert len({found.digest() for found in sets}) == 1
    for kind in ("parquet", "csv"):
        options = ["--columns", "mass,radius", "--epochs", "1", "-o", f"{kind}.pt"]
        assert run("train", f"stars.{kind}", *options)[0] == 0
    one, other = (checkpoint.read(here / f"{kind}.pt").weights.digest() for kind in ("parquet", "csv"))
    assert one == other


def test_the_commands_take_them(here):
    chosen = ("--columns", "mass,radius")
    assert run("train", "stars.parquet", *chosen, "--epochs", "1", "-o", "m.pt")[0] == 0
    assert run("m.pt", "-o", "m")[0] == 0
    for name in ("stars.parquet", "stars.csv"):
        assert run("diagnose", "m.pt", name, *chosen)[0] == 0
        assert run("certify", "m", name, *chosen)[0] == 0
        assert run("score", "m", name, *chosen)[0] == 0
    first, second = (run("score", "m", name, *chosen, "--json")[1] for name in ("stars.parquet", "stars.csv"))
    assert '"log_prob' in first
    assert first.split('"log_prob', 1)[1] == second.split('"log_prob', 1)[1]


WRONG = {
    "another name": (
        "stars.csv",
        ("mass", "radios"),
        "Expected `columns` of id, mass, kind, .* Did you mean radius",
    ),
    "a number beyond": ("stars.npy", ("4",), r"Expected `columns` of 1 \.\. 3 in stars\.npy; got '4'"),
    "zero": ("stars.npy", ("0",), "got '0'"),
    "twice": ("stars.csv", ("mass", "2"), "each column once"),
    "words": ("stars.csv", ("mass", "kind"), r"column 3 \(kind\) is 'giant', not a number"),
    "words of Parquet": ("stars.parquet", ("mass", "kind"), r"column 3 \(kind\) is"),
    "words, nothing chosen": ("stars.csv", (), "leave its column out by `columns`"),
    "a named set": ("digits", ("1",), "Expected neither `columns` nor `label` for digits"),
}


@pytest.mark.parametrize(("name", "columns", "sentence"), WRONG.values(), ids=WRONG)
def test_a_column_that_cannot_be_taken_is_named(name, columns, sentence, here):
    with pytest.raises(DataError, match=sentence):
        data.load(name, columns=columns)


def test_a_name_that_is_a_number_is_a_name(tmp_path):
    assert chosen(("2", "1"), ("2", "3", "1"), 3, tmp_path) == [0, 2]


LABELLED = ("stars.parquet", "stars.csv")


@pytest.mark.parametrize("name", LABELLED)
def test_a_label_belongs_to_no_row_and_is_split_with_the_rows(name, here):
    found = data.load(name, columns=("id", "radius"), label="kind")
    labels = found.classes()
    assert (found.columns, labels.names) == (("id", "radius"), ("dwarf", "giant"))
    for part in ("train", "valid", "test"):
        rows, codes = getattr(found, part), getattr(labels, part)
        np.testing.assert_array_equal(codes, (rows[:, 0] + 1) % 2)  # giants have even numbers


def test_whole_numbers_are_sorted_by_size(tmp_path):
    rows = np.stack([np.arange(40.0), np.array([10, 9, 2, 2] * 10)], axis=1)
    np.save(tmp_path / "x.npy", rows)
    labels = data.load(str(tmp_path / "x.npy"), label="2").classes()
    assert labels.names == ("2", "9", "10")
    assert data.load(str(tmp_path / "x.npy"), label="2").dim == 1


LABEL_FAULTS = {
    "not there": ("stars.csv", "sort", "Expected `columns` of id, mass, kind, radius"),
    "fractions": ("stars.csv", "mass", "Expected words or whole numbers in the label column mass .* row 1"),
    "of Parquet": ("stars.parquet", "mass", "Expected words or whole numbers in the label column mass"),
    "a named set": ("digits", "kind", "Expected neither `columns` nor `label` for digits"),
}


@pytest.mark.parametrize(("name", "label", "sentence"), LABEL_FAULTS.values(), ids=LABEL_FAULTS)
def test_a_label_that_is_none_is_named(name, label, sentence, here):
    with pytest.raises(DataError, match=sentence):
        data.load(name, columns=("radius",), label=label)


@pytest.mark.parametrize("name", LABELLED)
def test_a_network_per_class_of_own_data(name, tmp_path, monkeypatch):
    """Two lobes that the radius tells apart: Bayes' rule finds them again."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    kind = rng.choice(["dwarf", "giant"], 400)
    table = {"mass": rng.standard_normal(400), "radius": rng.standard_normal(400) + 8 * (kind == "giant"), "kind": kind}
    pyarrow.parquet.write_table(pa.table(table), "stars.parquet")
    pyarrow.csv.write_csv(pa.table(table), "stars.csv")
    chosen = ("--label", "kind")
    assert run("train", name, *chosen, "--per-class", "--epochs", "1", "-o", "k.pt")[0] == 0
    assert run("k.pt", "-o", "k")[0] == 0
    code, out, _ = run("classify", "k", name, *chosen, "--json")
    assert (code, json.loads(out)["accuracy"]) == (0, 1.0)
    assert run("sample", "k", "-n", "3", "--label", "giant", "-o", "x.npy")[0] == 0


def test_a_table_of_fewer_columns_is_not_cured_by_choosing_some():
    model = Columns(3, ("mass", "radius", "height"))
    with pytest.raises(
        DataError, match=r"it lacks column 3 \(height\)\. It has mass, radius\. Give a table with 3 columns\."
    ):
        model.places(["mass", "radius"], "two.csv", "Choose.")
    with pytest.raises(DataError, match=r"It has mass, radius, age\. Choose\."):
        model.places(["mass", "radius", "age"], "three.csv", "Choose.")
