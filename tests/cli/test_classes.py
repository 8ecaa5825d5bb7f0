"""The commands on one network per class: digits with 2 epochs, the whole way and what goes wrong on it."""

import csv
import json
import shutil
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lunet_export import ExportedClasses, checkpoint, data
from tests.cli.conftest import run
from tests.conftest import once

NAMES = [str(digit) for digit in range(10)]
TRAIN = ("train", "digits", "--per-class", "--epochs", 2, "--blocks", 2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model with a network a digit and its folder, made by the command line, and what that said."""

    def make(folder):
        trained = run(*TRAIN, "-o", folder / "digits10.pt")
        exported = run(folder / "digits10.pt", "-o", folder / "digits10")
        (folder / "said.json").write_text(json.dumps([trained, exported]))

    folder = once(tmp_path_factory, "digits10", make)
    return folder, *map(tuple, json.loads((folder / "said.json").read_text()))


@pytest.fixture
def ten(made, tmp_path):
    return Path(shutil.copy(made[0] / "digits10.pt", tmp_path)), Path(
        shutil.copytree(made[0] / "digits10", tmp_path / "digits10")
    )


def test_train_prints_a_line_a_class_and_the_mixture(made):
    folder, (code, out, err), _ = made
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert [line[0] for line in lines[1:11]] == NAMES
    figures = checkpoint.read(folder / "digits10.pt")
    for line, member in zip(lines[1:11], figures.members, strict=True):
        assert line[2:4] == [f"{member.training['test']:.4f}", f"{member.training['gaussian_test']:.4f}"]
    assert f"{figures.training['accuracy']:.2%}" in out
    assert f"{figures.training['gaussian_accuracy']:.2%}" in out
    assert "means over 10 draws of the noise" in out
    assert err.strip().splitlines()[-1] == f"next: lunet-export {folder / 'digits10.pt'}"


def test_train_prints_json_and_resumes_to_the_same(made, tmp_path):
    folder, _, _ = made
    shutil.copytree(folder / "digits10.classes", tmp_path / "m.classes")
    for name in ("9.resume.pt", "9.pt", "8.resume.pt"):
        (tmp_path / "m.classes" / name).unlink()
    code, out, _ = run(*TRAIN, "-o", tmp_path / "m.pt", "--resume", "--json")
    document = json.loads(out)
    assert (code, document["dataset"], document["names"], len(document["classes"])) == (0, "digits", NAMES, 10)
    ours, theirs = (checkpoint.read(path) for path in (tmp_path / "m.pt", folder / "digits10.pt"))
    assert ours.mixture.digest() == theirs.mixture.digest()
    assert document["accuracy"] == theirs.training["accuracy"]


def test_train_refuses_to_overwrite_a_model_or_its_classes(ten, tmp_path):
    model, _ = ten
    assert run(*TRAIN, "-o", model)[0] == 2
    (tmp_path / "new.classes").mkdir()
    (tmp_path / "new.classes" / "0.resume.pt").touch()
    code, _, err = run(*TRAIN, "-o", tmp_path / "new.pt")
    assert (code, "0.resume.pt exists already. Give --resume, --force or another path." in err) == (2, True)


def test_export_says_what_it_wrote(made):
    folder, _, (code, out, err) = made
    assert (code, "10 classes: 0, 1, 2" in out, "sampling_9.onnx" in out) == (0, True, True)
    assert err.strip().endswith(f"lunet-export sample {folder / 'digits10'} -n 64 -o grid.png")
    assert len(list((folder / "digits10").iterdir())) == 14


def test_export_prints_json(ten, tmp_path):
    document = json.loads(run(ten[0], "-o", tmp_path / "out", "--json", "--solver", "fused")[1])
    assert (document["passed"], len(document["graphs"])) == (True, 11)
    assert document["graphs"]["sampling_3"]["solver"]["name"] == "fused"


@pytest.mark.parametrize("with_model", [False, True])
def test_check_passes(ten, with_model):
    model, folder = ten
    code, out, _ = run("check", folder, *(["--model", model] if with_model else []))
    assert code == 0
    assert ("\nfresh\n" in out) == with_model
    assert "\n  class 3, sampling, x " in out
    assert ("class 3, chain without pre-processing" in out) == with_model
    assert "\n  mixture, posterior " in out


def test_check_finds_a_wrong_number(ten, tmp_path, rewrite):
    from lunet_export.files.reading import sha256

    _, folder = ten
    vectors = json.loads((folder / "vectors.json").read_text())
    vectors["density"]["class_log_prob"][2][5] += 1
    (folder / "vectors.json").write_text(json.dumps(vectors))
    digest = sha256((folder / "vectors.json").read_bytes())
    rewrite(folder, lambda d: d["sha256"].update({"vectors.json": digest}))
    code, out, err = run("check", folder, "--json", "--report", tmp_path / "report.json")
    failed = [entry["name"] for entry in json.loads(out)["checks"] if not entry["passed"]]
    assert (code, failed) == (1, ["golden: class 5, log_prob"])
    assert "1 of 54 are not: golden: class 5, log_prob" in err
    assert json.loads((tmp_path / "report.json").read_text())["manifest"]["model"]["kind"] == "lunet-classes"


def test_a_picture_has_a_row_a_class(ten, tmp_path):
    code, out, _ = run("sample", ten[1], "-n", 25, "-o", tmp_path / "grid.png", "--json")
    assert (code, json.loads(out)["labels"]) == (0, [digit for digit in range(10) for _ in range(3)])
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size[1] / picture.size[0] == pytest.approx((10 * 10 + 2) / (3 * 10 + 2))


def test_numbers_are_those_of_the_mixture_or_of_a_class(ten, tmp_path):
    flow = ExportedClasses(ten[1], provider="cpu")
    for options, label in (([], None), (["--label", "7"], 7)):
        document = json.loads(
            run("sample", ten[1], "-n", 12, "--seed", 5, *options, "-o", tmp_path / "x.npy", "--force", "--json")[1]
        )
        np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), flow.sample(12, seed=5, label=label))
        assert document["labels"] == ([7] * 12 if options else flow.labels(12, seed=5).tolist())
    np.save(tmp_path / "z.npy", flow.latent(3, seed=1))
    assert run("sample", ten[1], "--latent", tmp_path / "z.npy", "--label", 2, "-o", tmp_path / "y.npy")[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), flow.sample(3, seed=1, label=2))


def test_score_adds_the_class_and_its_posterior(ten, tmp_path):
    _, folder = ten
    rows = data.load("digits").test[:5]
    np.save(tmp_path / "rows.npy", rows)
    assert run("score", folder, tmp_path / "rows.npy", "-o", tmp_path / "rows.csv", "--draws", 2)[0] == 0
    lines = list(csv.DictReader(StringIO((tmp_path / "rows.csv").read_text())))
    document = json.loads(run("score", folder, tmp_path / "rows.npy", "--draws", 2, "--json")[1])["per_row"]
    assert [line["class"] for line in lines] == document["class"]
    np.testing.assert_array_equal(document["confidence"], np.max(document["posterior"], axis=1))
    for line, posterior in zip(lines, document["posterior"], strict=True):
        assert sum(posterior) == pytest.approx(1)
        assert float(line["confidence"]) == pytest.approx(max(posterior), abs=1e-6)
        assert [float(line[f"posterior_{number}"]) for number in range(10)] == pytest.approx(posterior, abs=1e-6)


def test_score_of_classes_is_the_same_by_every_way(ten, tmp_path):
    """In memory, a piece at a time, into a file and into parts: one table, with the same columns."""
    _, folder = ten
    np.save(tmp_path / "rows.npy", data.load("digits").test[:5])
    arguments = ("score", folder, tmp_path / "rows.npy")
    held, pieces = (json.loads(run(*arguments, *more, "--json")[1]) for more in ((), ("--invalid", "nan")))
    assert (held["per_row"], held["mean"]) == (pieces["per_row"], pieces["mean"])
    assert held["standard_error"] == pieces["standard_error"]
    assert held["standard_error"]["bits_per_dim"] > 0
    for target in ("file.parquet", "parts"):
        assert run(*arguments, "-o", tmp_path / target)[0] == 0
        found = pq.read_table(tmp_path / target).to_pydict()
        assert {name: list(values) for name, values in found.items()} == held["per_row"]
    assert run(*arguments)[1].splitlines()[:-1] == run(*arguments, "--invalid", "nan")[1].splitlines()[:-1]
    assert all("standard error" in run(*arguments, *more)[1] for more in ((), ("--invalid", "nan")))


def test_classify_counts_and_draws(ten, tmp_path):
    model, folder = ten
    code, out, _ = run("classify", folder, "digits", "--plot", tmp_path / "confusion.png")
    assert (code, "of 300 test rows" in out) == (0, True)
    with Image.open(tmp_path / "confusion.png") as picture:
        assert min(picture.size) > 300
    ours, theirs = (json.loads(run("classify", source, "digits", "--json")[1]) for source in (folder, model))
    assert (ours["provider"], theirs["provider"]) == ("cpu", "reference")
    assert ours["accuracy"] == pytest.approx(theirs["accuracy"], abs=0.01)
    assert ours["accuracy"] > 0.9
    assert np.sum(ours["confusion"]) == 300
    code, out, _ = run("classify", folder, "digits", "--against", "digits")
    assert (code, "log p against digits" in out, "AUROC 0.5000" in out) == (0, True, True)


def test_inspect_shows_both(ten):
    model, folder = ten
    assert json.loads(run("inspect", folder, "--json")[1])["classes"][3]["name"] == "3"
    assert "classes.3.certificate.data.lip_forward" in run("inspect", folder, "--all")[1]
    document = json.loads(run("inspect", model, "--json")[1])
    assert [entry["name"] for entry in document["classes"]] == NAMES
    assert "classes.9.training.best_epoch" in run("inspect", model, "--all")[1]


FOLDER_OF_CLASSES = "Expected a folder with one network; this one holds one network per class"
MODEL_OF_CLASSES = "Expected a model of one network;"
FAILURES = {
    "bench": (["bench", "{folder}"], FOLDER_OF_CLASSES),
    "triton": (["triton", "{folder}", "-o", "{out}/repository"], FOLDER_OF_CLASSES),
    "diagnose": (["diagnose", "{folder}", "digits"], FOLDER_OF_CLASSES),
    "certify": (["certify", "{folder}"], FOLDER_OF_CLASSES),
    "plot": (["plot", "samples", "{folder}", "-o", "{out}/x.png"], FOLDER_OF_CLASSES),
    "diagnose a model": (["diagnose", "{model}", "digits"], MODEL_OF_CLASSES),
    "certify a model": (["certify", "{model}"], MODEL_OF_CLASSES),
    "recalibrate a model": (["recalibrate", "{model}", "digits", "-o", "{out}/x.pt"], MODEL_OF_CLASSES),
    "plot a model": (["plot", "samples", "{model}", "-o", "{out}/x.png"], MODEL_OF_CLASSES),
    "solvers of a model": (["inspect", "--solvers", "{model}"], MODEL_OF_CLASSES),
    "a class out of range": (
        ["sample", "{folder}", "--label", "10", "-o", "{out}/x.png"],
        "Expected a class of 0 .. 9 or one of 0, 1,",
    ),
    "a label for one network": (
        ["sample", "{single}", "--label", "1", "-o", "{out}/x.png"],
        "Expected no --label; ",
    ),
    "latents of no class": (
        ["sample", "{folder}", "--latent", "{z}", "-o", "{out}/x.npy"],
        "Expected --label beside --latent",
    ),
    "CUDA graphs": (["sample", "{folder}", "--cuda-graph", "-o", "{out}/x.png"], "Expected no --cuda-graph"),
    "classify one network": (
        ["classify", "{single}", "digits"],
        "Expected a folder with one network per class; this one holds one network",
    ),
    "classify a model of one network": (
        ["classify", "{member}", "digits"],
        "Expected a model with one network per class;",
    ),
    "classify without labels": (["classify", "{folder}", "two-moons"], "Expected class labels; this data set has none"),
    "classify missing data": (["classify", "{folder}", "mnist", "--data-dir", "{out}"], "Expected train-images-idx3"),
    "a plot of another kind": (["classify", "{folder}", "digits", "--plot", "x.jpg"], "Expected --plot FILE.png"),
    "check with one of the classes": (
        ["check", "{folder}", "--model", "{member}"],
        "Expected the model that digits10 was exported from",
    ),
    "check of one network with all classes": (
        ["check", "{single}", "--model", "{model}"],
        "Expected the model that small was exported from",
    ),
    "a graph that draws": (["{model}", "--rng", "-o", "{out}/f"], "Expected neither --rng nor --hutchinson"),
    "pre-processing": (
        ["{model}", "--preprocess", "paper", "-o", "{out}/f"],
        "neither --latent-stats nor --preprocess",
    ),
    "train without labels": (["train", "two-moons", "--per-class", "-o", "{out}/m.pt"], "Expected class labels"),
    "resume nothing": (
        ["train", "digits", "--per-class", "--resume", "-o", "{out}/m.pt"],
        "0.resume.pt to resume from",
    ),
    "train with nonsense": (
        ["train", "digits", "--per-class", "--epochs", 0, "-o", "{out}/m.pt"],
        "a positive number of epochs",
    ),
}


@pytest.mark.parametrize(("arguments", "sentence"), FAILURES.values(), ids=FAILURES)
def test_what_cannot_be_says_so_in_a_sentence(made, ready, tmp_path, arguments, sentence):
    out = tmp_path / "out"
    out.mkdir()
    np.save(tmp_path / "z.npy", np.zeros((1, 64)))
    places = {
        "folder": made[0] / "digits10",
        "model": made[0] / "digits10.pt",
        "member": made[0] / "digits10.classes" / "3.pt",
        "single": ready,
        "z": tmp_path / "z.npy",
        "out": out,
    }
    code, _, err = run(*(str(argument).format(**places) for argument in arguments))
    assert (code, err.startswith(f"lunet-export: {sentence}") or sentence in err) == (2, True), err
    assert list(out.iterdir()) == []


def test_missing_label_files_matter_to_classes_alone(tmp_path):
    from tests.data.test_data import write_idx

    images = np.random.default_rng(0).integers(0, 256, (5020, 2, 2), dtype=np.uint8)
    write_idx(tmp_path / "train-images-idx3-ubyte", images)
    write_idx(tmp_path / "t10k-images-idx3-ubyte", images[:20])
    arguments = ("train", "mnist", "--data-dir", tmp_path, "--epochs", 1, "--blocks", 1)
    code, _, err = run(*arguments, "--per-class", "-o", tmp_path / "m10.pt")
    assert (code, "Expected train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz in" in err) == (2, True)
    assert not (tmp_path / "m10.classes").exists()
    assert run(*arguments, "-o", tmp_path / "m.pt")[0] == 0


def test_samples_of_a_mixture_as_csv_have_their_class(ten, tmp_path):
    assert run("sample", ten[1], "-n", 12, "--seed", 5, "-o", tmp_path / "x.csv")[0] == 0
    lines = list(csv.DictReader(StringIO((tmp_path / "x.csv").read_text())))
    flow = ExportedClasses(ten[1], provider="cpu")
    assert [int(line["label"]) for line in lines] == flow.labels(12, seed=5).tolist()
    np.testing.assert_array_equal([np.float32(line["x_64"]) for line in lines], flow.sample(12, seed=5)[:, 63])
