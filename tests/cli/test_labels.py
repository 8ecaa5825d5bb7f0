"""The commands on one network given the class: digits with 2 epochs, the whole way and what goes wrong on it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lunet_export import ExportedClasses, ExportedFlow, checkpoint, data, noise
from lunet_export.checks.rounding import RoundingModel
from lunet_export.likelihood import bits_per_dim
from tests import tolerances
from tests.cli.conftest import run
from tests.conftest import once

NAMES = [str(digit) for digit in range(10)]
TRAIN = ("train", "digits", "--context-labels", "--epochs", 2, "--blocks", 2)
OF_TWO = "--context=0,0,1,0,0,0,0,0,0,0"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model of the digits given their class and its folder, made by the command line, and what that said."""

    def make(folder):
        trained = run(*TRAIN, "-o", folder / "given.pt")
        exported = run(folder / "given.pt", "-o", folder / "given")
        (folder / "said.json").write_text(json.dumps([trained, exported]))

    folder = once(tmp_path_factory, "digits-given", make)
    return folder, *map(tuple, json.loads((folder / "said.json").read_text()))


def allowed_of_bits(model):
    """What float32 may do to the mean bits/dim of the test rows: at most what it may do to that of the worst class."""
    weights, digits = checkpoint.read(model).weights, data.load("digits")
    x = digits.continuous(digits.test, noise.uniform(0, range(300), 64, draw=1)).astype(np.float32).astype(np.float64)
    each = [RoundingModel(weights, "float32").density(x, np.tile(one, (300, 1)))["log_prob"] for one in np.eye(10)]
    return bits_per_dim(-np.max(each, axis=0), 64).mean()


@pytest.fixture
def given(made, tmp_path):
    return Path(shutil.copy(made[0] / "given.pt", tmp_path)), Path(
        shutil.copytree(made[0] / "given", tmp_path / "given")
    )


def test_train_prints_the_mixture_and_its_accuracy(made):
    folder, (code, out, _), _ = made
    figures = checkpoint.read(folder / "given.pt").training
    assert code == 0
    assert "linear Gaussian, test" in out
    for name in ("accuracy", "gaussian_accuracy"):
        assert f"{figures[name]:.2%}" in out
    for name in ("mixture", "gaussian_mixture"):
        assert f"{figures[name]:.4f}" in out


def test_export_says_how_to_draw_without_a_context(made):
    folder, _, (code, _, err) = made
    assert code == 0
    assert err.strip().endswith(f"lunet-export sample {folder / 'given'} -n 64 -o grid.png")


def test_check_passes_with_and_without_the_model(given):
    model, folder = given
    assert run("check", folder)[0] == 0
    assert run("check", folder, "--model", model)[0] == 0


def test_classify_says_the_same_of_the_folder_and_of_the_file(given, tmp_path):
    model, folder = given
    of_folder, of_file = (
        json.loads(run("classify", source, "digits", "--json", "--plot", tmp_path / f"{source.name}.png")[1])
        for source in (folder, model)
    )
    assert [entry["name"] for entry in of_folder["classes"]] == NAMES
    assert of_folder["confusion"] == of_file["confusion"]
    tolerances.assert_within(of_folder["bits_per_dim"], of_file["bits_per_dim"], allowed_of_bits(model))
    assert (tmp_path / "given.png").exists()
    code, out, _ = run("classify", folder, "digits")
    assert (code, f"accuracy {of_folder['accuracy']:.2%} of 300 test rows" in out) == (0, True)
    assert of_folder["accuracy"] > 0.8


def test_sample_draws_a_class_by_name_the_mixture_or_a_context(given, tmp_path):
    _, folder = given
    classes, flow = (kind(folder, provider="cpu") for kind in (ExportedClasses, ExportedFlow))

    def drawn(*choices):
        assert run("sample", folder, "-n", 12, "-o", tmp_path / "x.npy", "--force", *choices)[0] == 0
        return np.load(tmp_path / "x.npy")

    np.testing.assert_array_equal(drawn("--label", "2"), classes.sample(12, seed=0, label="2"))
    np.testing.assert_array_equal(drawn("--label", "2"), flow.sample(12, seed=0, context=np.eye(10)[2]))
    np.testing.assert_array_equal(drawn(OF_TWO), drawn("--label", "2"))
    np.testing.assert_array_equal(drawn(), classes.sample(12, seed=0))
    document = json.loads(run("sample", folder, "-n", 12, "-o", tmp_path / "y.npy", "--json")[1])
    assert document["labels"] == classes.labels(12, seed=0).tolist()
    code, out, _ = run("sample", folder, "-n", 12, "-o", tmp_path / "grid.png")
    assert (code, "20 samples (12 rounded up to whole rows, one per class)" in out) == (0, True)
    code, _, _ = run("sample", folder, "-n", 12, "-o", tmp_path / "rows.csv", "--with-log-prob")
    lines = (tmp_path / "rows.csv").read_text().splitlines()
    assert (code, lines[0].split(",")[-2:], len(lines)) == (0, ["label", "log_prob"], 13)


def test_score_gives_the_mixture_with_its_classes_or_one_class(given, tmp_path):
    _, folder = given
    rows = data.load("digits").test[:6]
    np.save(tmp_path / "rows.npy", rows)
    classes, flow = (kind(folder, provider="cpu", threads=1) for kind in (ExportedClasses, ExportedFlow))
    x = classes.dequantize(rows)
    found = json.loads(run("score", folder, tmp_path / "rows.npy", "--json", "--threads", 1)[1])["per_row"]
    np.testing.assert_array_equal(np.float32(found["log_prob"]), classes.log_prob(x))
    assert found["class"] == [NAMES[number] for number in classes.classify(x)]
    found = json.loads(run("score", folder, tmp_path / "rows.npy", OF_TWO, "--json", "--threads", 1)[1])["per_row"]
    np.testing.assert_array_equal(np.float32(found["log_prob"]), flow.log_prob(x, context=np.eye(10)[2]))
    assert "class" not in found
    half = "--context=0,0,.5,.5,0,0,0,0,0,0"
    assert "1 in its place and 0 elsewhere" in run("score", folder, tmp_path / "rows.npy", half)[2]
    code, out, _ = run("score", folder, tmp_path / "rows.npy", "--with", folder)
    assert (code, "log_prob_1" in out) == (0, True)


def test_other_commands_take_the_labels_of_the_rows_as_contexts(given, tmp_path):
    model, _ = given
    code, out, _ = run("diagnose", model, "digits", "--json")
    found = json.loads(out)
    assert code == 0
    seen = checkpoint.read(model).training
    one_draw = tolerances.of_estimate(seen["test_spread"], 1)
    tolerances.assert_within(found["model"]["test"]["bits_per_dim"], seen["test"], one_draw)
    code, out, _ = run("certify", model, "digits", "--rows", 5, "--json")
    assert (code, json.loads(out)["contexts"] > 1) == (0, True)
    np.save(tmp_path / "rows.npy", data.load("digits").test)
    code, _, err = run("diagnose", model, tmp_path / "rows.npy")
    assert (code, "Expected labels or --context for a model whose contexts name classes" in err) == (2, True)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("sample", "given", "--label", "12"), "Expected a class of 0 .. 9 or one of 0, 1, 2"),
        (("sample", "given", "--label", "2", OF_TWO), "Expected --label or --context, which names the class itself"),
        (("sample", "given", "--context", "1,0"), "Expected 10 finite numbers separated by commas"),
        (("train", "two-moons", "--context-labels"), "Expected class labels; this data set has none."),
        (("train", "digits", "--context-labels", "--per-class"), "got both. Leave one out."),
        (("train", "digits", "--context-labels", "--flow", "jko"), "Expected rows without contexts for jko"),
        (("classify", "plain.pt", "digits"), "got one network, whose contexts name no classes."),
    ],
)
def test_wrong_input_is_one_sentence(command, sentence, given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    read = checkpoint.read(Path(__file__).parents[2] / "exported" / "digits.pt")
    checkpoint.write_checkpoint(tmp_path / "plain.pt", read)
    code, _, err = run(*command)
    assert code == 2
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
