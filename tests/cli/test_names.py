"""Names of columns travel: from the rows into the model, its folder and its samples, and back by name."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lunet_export import checkpoint
from lunet_export.artifact import read_manifest
from lunet_export.streaming import SampleJob
from lunet_export.streaming.jobs import Place
from tests.cli.conftest import run
from tests.conftest import once
from tests.networks import CLASS_NAMES, PRIORS, mixture, network

NAMES = ("mass", "radius, km", "age")
KNOWN = {"image_shape": None, "training": {}, "examples": None}
CLASSES = sorted(CLASS_NAMES)  # as the column of a file has them
N = 40


def folders(factory):
    """Models with and without names, of one network and of three, and their exports."""

    def fill(folder):
        for suffix, columns in (("", NAMES), ("-plain", None), ("-odd", ("log_prob", "label", "x_1"))):
            model = folder / f"m{suffix}.pt"
            checkpoint.write_weights(model, network(3, 2), **KNOWN, columns=columns)
            members = [folder / f"{number}{suffix}.pt" for number in range(3)]
            for path, member in zip(members, mixture(3, 2).components, strict=True):
                checkpoint.write_weights(path, member, **KNOWN, columns=columns)
            classes = folder / f"c{suffix}.pt"
            checkpoint.write_classes(classes, members, names=CLASSES, priors=PRIORS, training={})
            for path in (model, classes):
                assert run(path, "-o", path.with_suffix(""))[0] == 0

    return once(factory, "cli-names", fill)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return folders(tmp_path_factory)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ok(*arguments):
    code, out, err = run(*arguments)
    assert (code, err) == (0, ""), err
    return out


def table_of(path):
    """The columns of a .csv as texts, by name."""
    with path.open(newline="", encoding="utf-8") as file:
        first, *lines = csv.reader(file)
    return dict(zip(first, zip(*lines, strict=True), strict=True))


def write(table, path):
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(table)
        lines.writerows(zip(*table.values(), strict=True))


def shuffled(path, target):
    """The same table with its columns in another order, and one of words among them."""
    table = table_of(path)
    write({"kind": ["dwarf"] * N, **dict(reversed(table.items()))}, target)
    return table


@pytest.mark.parametrize("model", ["m", "c", "m-odd", "c-odd", "m-plain", "c-plain"])
def test_samples_are_scored_again_in_any_order(model, made, here):
    """To the digits of the table of scores."""
    ok("sample", made / model, "-n", N, "--seed", 3, "--with-log-prob", "-o", "s.csv")
    wanted = {"": NAMES, "-odd": ("log_prob", "label", "x_1"), "-plain": ("x_1", "x_2", "x_3")}[model[1:]]
    of_class = ["label"] if model[0] == "c" else []
    odd = model.endswith("-odd")
    beside = [f"{name}_" if odd else name for name in (*of_class, "log_prob")]
    told = shuffled(here / "s.csv", here / "t.csv")
    assert list(told) == [*wanted, *beside]
    for name in ("s.csv", "t.csv"):
        ok("score", made / model, name, "-o", f"{name}.scores.csv", "--force")
        found = table_of(here / f"{name}.scores.csv")["log_prob_nats"]
        assert list(found) == [f"{float(one):.6f}" for one in told["log_prob_" if odd else "log_prob"]]
    assert SampleJob(str(made / model), N).x_names == (None if model.endswith("-plain") else wanted)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ""])
def test_tables_and_parts_of_samples_have_a_column_of_each_name(suffix, made, here):
    ok("sample", made / "m", "-n", N, "-o", f"s{suffix}", "--with-log-prob")
    path = next((here / "s").glob("part-*")) if not suffix else here / f"s{suffix}"
    table = pa.ipc.open_file(path).read_all() if suffix == ".arrow" else pq.read_table(path)
    assert table.column_names == [*NAMES, "log_prob"]
    flow = Place("cpu").open(str(made / "m"))
    np.testing.assert_array_equal(np.stack(table.columns[:3], axis=1), flow.sample(N, seed=0))
    pq.write_table(table.select([3, 2, 1, 0]), here / "t.parquet")
    ok("score", made / "m", "t.parquet", "-o", "scores.parquet")
    assert pq.read_table(here / "scores.parquet")["log_prob"].equals(table["log_prob"])
    ok("sample", made / "m", "-n", N, "-o", "x.npy")
    np.testing.assert_array_equal(np.load(here / "x.npy"), flow.sample(N, seed=0))


def test_a_model_without_names_keeps_its_list(made, here):
    ok("sample", made / "m-plain", "-n", N, "-o", "s.parquet")
    table = pq.read_table(here / "s.parquet")
    assert (table.column_names, table.schema.field("x").type.list_size) == (["x"], 3)
    ok("score", made / "m", "s.parquet")  # a list has no names: by position


def rows_in(made, here):
    """The same rows by name in another order beside words, and by position."""
    ok("sample", made / "c", "-n", N, "-o", "s.csv")
    table = shuffled(here / "s.csv", here / "t.csv")
    x = np.stack([np.float64(table[name]) for name in NAMES], axis=1)
    np.save(here / "x.npy", x)
    return [CLASSES[int(label)] for label in table["label"]]


def test_every_command_takes_the_models_columns_by_name(made, here):
    labels = rows_in(made, here)
    for command in (
        ("diagnose", made / "m.pt", "{}"),
        ("diagnose", made / "m", "{}", "--against", "{}"),
        ("certify", made / "m.pt", "{}", "--rows", 2),
        ("score", made / "m", "{}"),
        ("score", made / "m", "{}", "--with", made / "m-plain"),
    ):
        by_name, by_place = (
            json.loads(ok(*(str(part).format(f"{name}") for part in command), "--json")) for name in ("t.csv", "x.npy")
        )
        assert _without_data(by_name) == _without_data(by_place)
    ok("plot", "latents", made / "m.pt", "t.csv", "-o", "latents.png")
    for name in ("t.csv", "x.npy"):
        run("recalibrate", made / "m.pt", name, "-o", f"{name}.pt")
    one, other = (checkpoint.read(here / f"{name}.pt") for name in ("t.csv", "x.npy"))
    assert one.weights.digest() == other.weights.digest()
    assert one.columns == other.columns == NAMES
    write({**table_of(here / "t.csv"), "kind": labels}, here / "l.csv")
    assert json.loads(ok("classify", made / "c", "l.csv", "--label", "kind", "--json"))["rows"] == N // 10


def _without_data(found):
    told = ("dataset", "detection", "warnings", "flags", "rows_of", "local_of")
    return {name: value for name, value in found.items() if name not in told}


def test_what_a_table_lacks_is_said(made, here):
    write({"Mass": [1.0], "radius, km": [2.0], "id": [3.0]}, here / "x.csv")
    for command in (("score", made / "m"), ("diagnose", made / "m.pt"), ("recalibrate", made / "m.pt", "-o", "r.pt")):
        code, _, said = run(*command[:2], "x.csv", *command[2:])
        assert (code, said) == (
            2,
            "lunet-export: Expected the model's columns in x.csv; it lacks column 1 (mass), column 3 (age). Did you "
            "mean Mass? It has Mass, radius, km, id. Name the columns to take by --columns.\n",
        )
    ok("score", made / "m", "x.csv", "--columns", "1,2,3")
    code, _, said = run("score", made / "m-odd", "x.csv", "--columns", "label,x_1,log_prob")
    assert (code, "the model's order, log_prob, label, x_1; got label, x_1, log_prob" in said) == (2, True)


def test_a_row_that_is_no_number_is_told_by_its_column(made, here):
    np.save(here / "x.npy", np.array([[0, 0, 0], [0, np.nan, 0]]))
    for options in ((), ("--with", made / "m-plain")):
        code, _, said = run("score", made / "m", "x.npy", *options)
        assert (code, "row 1 (from 0)" in said, "column 2 (radius, km) is nan" in said) == (2, True, True)


def test_another_width_says_which_is_which(made, here):
    np.save(here / "x.npy", np.zeros((4, 2)))
    code, _, said = run("score", made / "m", "x.npy")
    assert (code, "Expected rows of 3 numbers, as the model m takes them; those of x.npy have 2" in said) == (2, True)


def test_models_of_other_columns_are_not_mixed(made, here):
    np.save(here / "x.npy", np.zeros((4, 3)))
    code, _, said = run("score", made / "m", "x.npy", "--with", made / "m-odd")
    assert (code, "Expected models of the same columns in one order" in said) == (2, True)


def test_names_are_shown_and_stay_in_the_folder(made):
    for path in ("m.pt", "m", "c.pt", "c"):
        assert "mass, radius, km, age" in run("inspect", made / path)[1]
    assert read_manifest(made / "m").document["model"]["columns"] == list(NAMES)
    assert "columns" not in read_manifest(made / "m-plain").document["model"]


def test_training_writes_the_names_of_its_table(here):
    rng = np.random.default_rng(0)
    write({"id": "a" * N, "mass": rng.normal(size=N), "age": rng.normal(size=N)}, here / "x.csv")
    settings = ("--epochs", 1, "--no-fallback", "--init", "bend", "--optimizer", "adam")
    assert run("train", "x.csv", "--columns", "age,mass", "-o", "m.pt", "--blocks", 2, *settings)[0] == 0
    assert run("train", "x.csv", "--from", "m.pt", "-o", "n.pt", *settings)[0] == 0
    assert checkpoint.read(here / "m.pt").columns == checkpoint.read(here / "n.pt").columns == ("age", "mass")


@pytest.mark.parametrize("label", [(), ("--label", "k")])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "does not exist"),
        (b"\xff\xfe\x00", "is not"),
        (b"", "it holds no rows"),
        (b"a,b,k\n1,2,x\n3\n", "is not"),
    ],
    ids=["missing", "bytes", "empty", "short"],
)
def test_a_csv_that_is_none_is_bad_input(content, sentence, label, here):
    if content is not None:
        (here / "x.csv").write_bytes(content)
    code, _, said = run("train", "x.csv", *label, "-o", "m.pt")
    assert (code, sentence in said) == (2, True), said
