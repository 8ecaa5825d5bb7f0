"""Rows whose likelihood has no bound are refused before training, and a model below the line is told."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lunet_export import data
from lunet_export.data import Dataset
from lunet_export.errors import DataError
from lunet_export.training.degenerate import validate_full_rank, warnings_of

NORMAL = np.random.default_rng(0).standard_normal((60, 3))


def dataset(rows) -> Dataset:
    return Dataset("mine", rows, rows, rows)


def with_column(values) -> np.ndarray:
    return np.column_stack([NORMAL, values])


@pytest.mark.parametrize("value", [0.0, 3.5, -1e30])
def test_a_constant_column_is_named(value):
    with pytest.raises(DataError, match=r"^Expected columns that vary; column 4 of mine is constant"):
        validate_full_rank(dataset(with_column(np.full(60, value))))


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (NORMAL[:, 0], r"column [14] of mine is a linear function of column [14],"),
        (1e-6 * NORMAL[:, 1] - 7, r"column [24] of mine is a linear function of column [24],"),
        (NORMAL @ [1, -2, 0.5], r"column \d of mine is a linear function of column \d, column \d, column \d,"),
    ],
)
def test_a_column_that_follows_from_others_is_named(made, named):
    with pytest.raises(DataError, match=named):
        validate_full_rank(dataset(with_column(made)))


def test_no_more_rows_than_columns_are_refused():
    with pytest.raises(DataError, match="more training rows than columns; mine has 3 for 3"):
        validate_full_rank(dataset(NORMAL[:3]))


@pytest.mark.parametrize("noise", [1e-3, 1.0])
def test_columns_that_hang_together_by_noise_pass(noise):
    """Ill conditioned is no reason to refuse."""
    validate_full_rank(dataset(with_column(NORMAL[:, 0] + noise * np.random.default_rng(1).standard_normal(60))))


def test_grey_levels_may_be_constant():
    validate_full_rank(data.load("digits"))  # whose corners are always 0


def loaded(path: Path, rows, header: str = "") -> Dataset:
    """What `train` reads from such a file."""
    if path.suffix == ".csv":
        np.savetxt(path, rows, fmt="%.9g", delimiter=",", header=header, comments="")
    else:
        np.save(path, rows)
    return data.load(str(path))


MANY = np.random.default_rng(0).standard_normal((800, 3))
COUNTS = np.random.default_rng(1).poisson(4, 800)
TOO_LOW = "the likelihood has no bound there, and bits/dim may come out far too low"


def beside(*columns) -> np.ndarray:
    return np.column_stack([MANY, *columns])


def test_what_is_continuous_is_not_warned_of(tmp_path):
    assert warnings_of(loaded(tmp_path / "mine.csv", MANY, "a,b,c")) == ()
    assert warnings_of(loaded(tmp_path / "mine.npy", MANY[:20])) == ()
    assert warnings_of(dataset(MANY)) == ()
    assert warnings_of(data.load("digits")) == ()  # which get noise


def test_counts_and_rounded_numbers_are_warned_of(tmp_path):
    (warning,) = warnings_of(loaded(tmp_path / "mine.csv", beside(COUNTS), "a,b,c,visits"))
    assert warning == (
        f"column 4 (visits) of mine takes 12 values in 640 rows, in steps of 1: {TOO_LOW}. Give `dequantize=True`, "
        "which adds uniform noise as wide as a step, or leave it out."
    )
    (warning,) = warnings_of(loaded(tmp_path / "mine.npy", beside(np.round(MANY[:, 0], 1), np.round(MANY[:, 1], 1))))
    assert ", in steps of 0.1, and 1 more column repeats its values: " in warning
    (warning,) = warnings_of(loaded(tmp_path / "mine.npy", np.round(MANY, 1)))
    assert ", and 2 more columns repeat their values: " in warning
    assert warning.endswith("or leave them out.")
    codes = np.random.default_rng(0).choice([0, 1.7, 9.3], 800)
    (warning,) = warnings_of(loaded(tmp_path / "mine.npy", beside(codes)))
    assert "column 4 of mine takes 3 values in 640 rows, 1.7 or more apart: " in warning


def test_grey_levels_in_a_csv_are_told_of_their_option(tmp_path):
    grey = np.random.default_rng(0).integers(0, 16, (800, 4))
    (warning,) = warnings_of(loaded(tmp_path / "mine.csv", grey))
    cure = " If the rows are images of grey levels, give `levels=16` instead."
    assert warning.endswith(f"or leave them out.{cure}")
    assert data.load(str(tmp_path / "mine.csv"), levels=16).preprocessing.levels == 16
    grey[:, 0] = 0
    with pytest.raises(DataError, match=f"has no bound.{cure} Leave it out: cut "):
        validate_full_rank(loaded(tmp_path / "mine.csv", grey))
    for others in (grey - 1, grey / 2, grey * 10_000):
        others[:, 0] = MANY[:, 0]
        assert "--levels" not in " ".join(warnings_of(loaded(tmp_path / "mine.npy", others.astype(float))))


def test_a_value_that_comes_often_is_warned_of(tmp_path):
    rain = np.where(MANY[:, 0] < 0, 0, np.exp(MANY[:, 1]))
    path = tmp_path / "mine.csv"
    (warning,) = warnings_of(loaded(path, beside(rain), "a,b,c,rain"))
    told, line = warning.split(" Or leave the column out: ")
    zeros = int((data.load(str(path)).train[:, 3] == 0).sum())
    assert told == (
        f"column 4 (rain) of mine is 0 in {zeros} of 640 rows, and varies freely in the others: {TOO_LOW}. Train on "
        "the others alone."
    )
    np.testing.assert_array_equal(pasted(line, path), loaded(path, beside(rain), "a,b,c,rain").train[:, :3])


def pasted(line: str, path: Path) -> np.ndarray:
    """The training rows of the file that a command of a sentence writes."""
    folder = str(Path(sys.executable).parent)  # where python is, once the environment is active
    subprocess.run(line, shell=True, check=True, cwd=path.parent, env={"PATH": f"{folder}:/usr/bin:/bin"})
    return data.load(str(path.with_name(f"{path.stem}-rows{path.suffix}"))).train


@pytest.mark.parametrize("name", ["mine.csv", "mine.npy", "my own 'rows' $1.npy", "my own 'rows'.csv"])
def test_copied_rows_are_warned_of(name, tmp_path):
    path = tmp_path / name
    (warning,) = warnings_of(loaded(path, np.concatenate([MANY, MANY[:400]]), "a,b,c"))
    told, line = warning.split(" Leave copies out: ")
    assert f" training rows of {path.stem} repeat" in told
    assert told.endswith(f" repeat others in all columns: {TOO_LOW}, and validation and test rows may be copies too.")
    assert len(pasted(line, path)) == 640


@pytest.mark.parametrize(("first", "name"), [(0, "id"), (1, "index"), (0, "t")])
@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize("suffix", [".csv", ".npy"])
def test_a_column_that_numbers_the_rows_is_warned_of(first, name, place, suffix, tmp_path):
    path = tmp_path / f"mine{suffix}"
    header = ["a", "b", "c"]
    header.insert(place, name)
    rows = np.insert(MANY, place, np.arange(first, 800 + first), axis=1)
    (warning,) = warnings_of(found := loaded(path, rows, ",".join(header)))
    told, line = warning.split(" Leave it out: ")
    called = f" ({name})" if suffix == ".csv" else ""
    numbers = "numbers the rows of its file, and is learnt like any other column."
    assert told == f"column {place + 1}{called} of mine {numbers}"
    validate_full_rank(found)
    np.testing.assert_array_equal(pasted(line, path), np.delete(found.train, place, axis=1))


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
@pytest.mark.parametrize("order", ["as it was", "shuffled", "filtered"])
def test_an_index_of_pandas_is_refused(name, order, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    of = {"as it was": np.arange(800), "shuffled": np.random.default_rng(0).permutation(800)}
    of["filtered"] = 3 * np.arange(800) + 2
    rows = np.insert(MANY, 0, of[order], axis=1)
    found = loaded(Path("mine.csv"), rows, f"{name},a,b,c")
    assert warnings_of(found) == ()  # one sentence is enough
    with pytest.raises(DataError) as refused:
        validate_full_rank(found)
    told, line = str(refused.value).split(", or run ")
    assert told == (
        "Expected columns of measurements; column 1 of mine has no name and numbers the rows, as pandas writes its "
        "index. Leave it out: write the file by df.to_csv('mine.csv', index=False)"
    )
    np.testing.assert_array_equal(pasted(line, tmp_path / "mine.csv"), found.train[:, 1:])


@pytest.mark.parametrize(
    ("column", "header"),
    [
        (np.arange(800)[::-1], "id,a,b,c"),
        (np.random.default_rng(0).permutation(800), "rank,a,b,c"),
        (np.arange(800) + 2, "year,a,b,c"),
        (np.arange(800) / 10, "t,a,b,c"),
        (np.random.default_rng(0).permutation(800) + 0.5, ",a,b,c"),
        (1000 * np.random.default_rng(1).random(800), ",a,b,c"),
    ],
)
def test_other_columns_number_nothing(column, header, tmp_path):
    found = loaded(tmp_path / "mine.csv", np.insert(MANY, 0, column, axis=1), header)
    assert (found.numbering, warnings_of(found)) == ((), ())
    validate_full_rank(found)


def test_no_line_is_told_that_would_not_work(tmp_path):
    """Of rows that are in no file, or in one that no short command cuts."""
    rows = beside(np.arange(800))
    counting = replace(dataset(rows), numbering=(3,))
    assert warnings_of(counting)[0].endswith("is learnt like any other column. Leave it out.")
    np.savez(tmp_path / "mine.npz", x=rows)
    assert warnings_of(data.load(str(tmp_path / "mine.npz")))[0].endswith(" Leave it out.")
    comma = loaded(tmp_path / "mine.csv", rows, '"a, in m",b,c,id')
    assert comma.column(0) == "column 1 (a, in m)"
    assert warnings_of(comma)[0].endswith(" Leave it out.")


def test_names_are_those_of_the_header(tmp_path):
    assert loaded(tmp_path / "a.csv", MANY, "a,b,c").columns == ("a", "b", "c")
    assert loaded(tmp_path / "b.csv", MANY, "a,b").columns is None  # of other columns
    (tmp_path / "c.csv").write_text("\n".join("1.5,2" for _ in range(20)))
    assert (data.load(str(tmp_path / "c.csv")).columns, dataset(MANY).columns) == (None, None)
    constant = loaded(tmp_path / "d.csv", beside(np.ones(800)), "a,b,c,d")
    with pytest.raises(DataError, match=r"column 4 \(d\) of d is constant, .* Leave it out: cut -d, -f1-3 "):
        validate_full_rank(constant)
