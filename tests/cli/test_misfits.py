"""Commands that take rows say it where a model was not made for them, on stderr and in --json, and end as before."""

import json

import numpy as np
import pytest
import torch

from lunet_export import checkpoint, data
from lunet_export.export import Provenance, export
from lunet_export.preprocessing import NAMED
from lunet_export.torch_layers import Flow
from tests.cli.conftest import run
from tests.conftest import ROOT
from tests.networks import network
from tests.test_checkpoint import authors_state

DIGITS = ROOT / "exported" / "digits"


def warnings_of(out: str, err: str) -> list[str]:
    """Those of a document, which stderr says too."""
    sentences = json.loads(out).get("warnings", [])
    said = [line for line in err.splitlines() if not line.startswith("next: ")]
    assert said == [f"lunet-export: warning: {sentence}" for sentence in sentences]
    return sentences


@pytest.fixture(scope="module")
def authors(tmp_path_factory):
    """A best.pth, whose file does not say that its images were pre-processed, and grey levels."""
    folder = tmp_path_factory.mktemp("authors")
    torch.save(authors_state(network(36, 4)), folder / "best.pth")
    np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (20, 6, 6), dtype=np.uint8))
    assert run(folder / "best.pth", "-o", folder / "plain")[0] == 0
    assert run(folder / "best.pth", "-o", folder / "paper", "--preprocess", "paper")[0] == 0
    return folder


@pytest.mark.parametrize("rows", [1, 20])
def test_grey_levels_for_a_model_without_preprocessing(authors, tmp_path, rows):
    np.save(tmp_path / "x.npy", np.load(authors / "images.npy")[:rows])
    code, out, err = run("score", authors / "plain", tmp_path / "x.npy", "--json")
    (sentence,) = warnings_of(out, err)
    assert sentence.startswith("Expected the input of a network without pre-processing; got whole numbers up to 2")
    assert "Export the authors' best.pth again with --preprocess paper" in sentence
    assert (code, json.loads(out)["mean"]["bits_per_dim"] > 100) == (0, True)
    code, out, err = run("score", authors / "paper", tmp_path / "x.npy", "--json")
    assert (code, warnings_of(out, err)) == (0, [])
    assert json.loads(out)["mean"]["bits_per_dim"] < 100


def test_the_warning_is_on_stderr_beside_the_table(authors):
    code, out, err = run("score", authors / "plain", authors / "images.npy")
    assert (code, "warning" in out, err.count("lunet-export: warning: ")) == (0, False, 1)
    assert out.splitlines()[-1].startswith("mean of 20 rows: ")


ROWS = {
    "as they are": (lambda grey: grey, None),
    "floats": (lambda grey: grey.astype(float), "got whole numbers, whose log p means something else"),
    "scaled": (lambda grey: grey / 16, "all of these rows lie in [0, 1]: they look scaled"),
    "uniform": (lambda grey: 16.5 * np.random.default_rng(0).random(grey.shape), "whose latents have |z|^2 / D near 1"),
}


@pytest.mark.parametrize(("make", "sentence"), ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("suffix", ["npy", "csv"])
def test_score_of_digits(make, sentence, suffix, tmp_path):
    rows = make(data.load("digits").test[:40])
    if suffix == "npy":
        np.save(tmp_path / "x.npy", rows)
    else:
        np.savetxt(tmp_path / "x.csv", rows, delimiter=",", fmt="%d" if rows.dtype.kind == "u" else "%.18e")
    code, out, err = run("score", DIGITS, tmp_path / f"x.{suffix}", "--json")
    found = warnings_of(out, err)
    assert (code, [sentence in one for one in found]) == (0, [] if sentence is None else [True])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model file of each kind with its export, and a data set file for each."""
    folder = tmp_path_factory.mktemp("models")
    for name, preprocessing in (("images", NAMED["digits"]), ("vectors", None)):
        weights = network(16, 3, preprocessing=preprocessing)
        shape = (4, 4) if preprocessing else None
        path = folder / f"{name}.pt"
        checkpoint.write(path, Flow.of(weights), image_shape=shape, training={}, examples=None)
        export(weights, folder / name, Provenance(name, image_shape=shape))
    x = np.random.default_rng(0)
    np.save(folder / "images.npy", x.integers(0, 17, (400, 4, 4)))
    np.save(folder / "images-wrong.npy", x.integers(0, 17, (400, 16)) / 16)
    np.save(folder / "vectors.npy", x.standard_normal((400, 16)))
    np.save(folder / "vectors-wrong.npy", 1000 * x.standard_normal((400, 16)))
    return folder


def commands(source, rows, tmp_path):
    return {
        "diagnose": ["diagnose", source, rows],
        "certify": ["certify", source, rows],
        "plot": ["plot", "latents", source, rows, "-o", tmp_path / "p.png"],
        "recalibrate": ["recalibrate", source, rows, "-o", tmp_path / "new.pt"],
    }


@pytest.mark.parametrize("command", ["diagnose", "certify", "plot", "recalibrate"])
@pytest.mark.parametrize("kind", ["images", "vectors"])
@pytest.mark.parametrize("form", ["file", "folder"])
def test_commands_that_look_at_a_model(models, tmp_path, command, kind, form):
    if (command, form) == ("recalibrate", "folder"):
        return
    source = models / (f"{kind}.pt" if form == "file" else kind)
    code, out, err = run(*commands(source, models / f"{kind}.npy", tmp_path)[command], "--json")
    assert (code, warnings_of(out, err)) == (0, [])
    code, out, err = run(*commands(source, models / f"{kind}-wrong.npy", tmp_path)[command], "--json", *_force(command))
    (sentence,) = warnings_of(out, err)
    wanted = {"images": "all of these rows lie in [0, 1]: they look scaled", "vectors": "they are in other units"}
    assert (code, wanted[kind] in sentence) == (0, True)


def _force(command):
    return ["--force"] if command == "recalibrate" else []


def test_other_data_is_looked_at_by_its_numbers_alone(models):
    """Their log p is expected to be far off; that they are scaled is not."""
    options = ["diagnose", models / "images", models / "images.npy", "--json", "--against"]
    code, out, err = run(*options, models / "images-wrong.npy")
    assert (code, ["they look scaled" in one for one in warnings_of(out, err)]) == (0, [True])
    options = ["diagnose", models / "vectors", models / "vectors.npy", "--json", "--against"]
    code, out, err = run(*options, models / "vectors-wrong.npy")
    assert (code, warnings_of(out, err)) == (0, [])


def test_classify_looks_at_the_other_data(tmp_path):
    np.save(tmp_path / "x.npy", data.load("digits").test / 16)
    options = ["classify", ROOT / "exported" / "digits-classes", "digits", "--json"]
    code, out, err = run(*options)
    assert (code, warnings_of(out, err)) == (0, [])
    code, out, err = run(*options, "--against", tmp_path / "x.npy")
    assert (code, ["they look scaled" in one for one in warnings_of(out, err)]) == (0, [True])


def test_a_verifier_s_held_out_rows_are_looked_at(tmp_path):
    weights = network(16, 3, activation="leaky-relu")
    checkpoint.write(tmp_path / "m.pt", Flow.of(weights), image_shape=None, training={}, examples=None)
    x = np.random.default_rng(0).standard_normal((400, 16))
    for number, scale in enumerate((1, 1000)):
        np.save(tmp_path / "x.npy", scale * x)
        options = ["--for-verifier", "--data", tmp_path / "x.npy", "--json"]
        code, out, err = run(tmp_path / "m.pt", "-o", tmp_path / f"v{number}", *options)
        found = warnings_of(out, err)
        assert (code, ["they are in other units" in one for one in found]) == (0, [True] * number)


def test_a_failure_tells_what_was_warned_of_too(models, tmp_path):
    """Its document is the last word: the warning may be the cause."""
    x = np.full((400, 16), 1e3)
    x[:, 0] += np.random.default_rng(0).standard_normal(400)
    np.save(tmp_path / "x.npy", x)
    code, out, _ = run("recalibrate", models / "vectors.pt", tmp_path / "x.npy", "-o", tmp_path / "n.pt", "--json")
    document = json.loads(out)
    assert (code, document["passed"], len(document["warnings"])) == (2, False, 1)


def test_commands_that_take_no_rows_say_nothing(models):
    for arguments in (["check", models / "images"], ["bench", models / "images", "--seconds", "0.05", "--batch", "1"]):
        code, out, err = run(*arguments, "--json")
        assert (code, warnings_of(out, err)) == (0, [])
