"""Commands that evaluate a model take contexts: by the names of columns, from a file, or one for all rows."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import lunet_export
from lunet_export.api.models import model_of
from lunet_export.checks import reference
from lunet_export.data.dataset import split
from tests import tolerances
from tests.cli.conftest import run
from tests.conditional import DIM, WIDTH, lu_net
from tests.linear import DATA, fitted

NAMES, COLUMNS = ["mass", "age", "size"], ["w", "x", "y", "z"]
COUNT = 400


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model of named columns and contexts with its folder, rows of it, and their contexts beside and within."""
    folder = tmp_path_factory.mktemp("given")
    weights = lu_net()
    named = replace(weights, context=replace(weights.context, names=tuple(NAMES)))
    model = model_of(named).with_columns(COLUMNS)
    lunet_export.save(model, folder / "m.pt")
    lunet_export.export(folder / "m.pt", folder / "f")
    rng = np.random.default_rng(0)
    c = rng.uniform(-1, 2, (COUNT, WIDTH))
    x = reference.decode(weights, rng.standard_normal((COUNT, DIM)), c)
    np.save(folder / "x.npy", x)
    np.save(folder / "c.npy", c)
    np.save(folder / "few.npy", c[:7])
    pd.DataFrame(np.hstack([x, c]), columns=[*COLUMNS, *NAMES]).to_csv(folder / "t.csv", index=False)
    pd.DataFrame(np.hstack([x, c[:, :1]]), columns=[*COLUMNS, "mass"]).to_csv(folder / "lacks.csv", index=False)
    return folder, weights, x, c


def diagnosed(*arguments):
    code, out, said = run("diagnose", *arguments, "--json")
    assert code == 0, said
    return json.loads(out)


@pytest.mark.parametrize("source", ["m.pt", "f"])
def test_contexts_are_those_of_the_rows_however_they_are_given(made, source):
    """The figure of the test rows is that of the reference, by the split that rows and contexts share."""
    folder, weights, x, c = made
    (_, _, of_x), (_, _, of_c) = (split(each, valid=COUNT // 10, test=COUNT // 10) for each in (x, c))

    def figure(context):
        allowed = (
            1e-10 if source == "m.pt" else tolerances.of_density(weights, of_x, context=context)["log_prob"].mean()
        )
        return pytest.approx(-reference.log_prob(weights, of_x, context).mean(), rel=0, abs=allowed)

    by_name = diagnosed(folder / source, folder / "t.csv")
    beside = diagnosed(folder / source, folder / "x.npy", "--context", folder / "c.npy")
    assert by_name["model"] == beside["model"]
    assert by_name["model"]["test"]["nats"] == figure(of_c)
    one = diagnosed(folder / source, folder / "x.npy", "--context", "0.5,0,1")
    assert one["model"]["test"]["nats"] == figure(np.full((len(of_x), 3), [0.5, 0.0, 1.0]))
    assert abs(one["model"]["test"]["nats"] - by_name["model"]["test"]["nats"]) > 0.1


WRONG = {
    "none": (["x.npy"], "Expected a --context for a conditional flow; got none. Give 3 numbers"),
    "too few numbers": (["x.npy", "--context", "1,2"], "Expected 3 finite numbers separated by commas as the context"),
    "too few rows": (
        ["x.npy", "--context", "few.npy"],
        "Expected one context, or one for each of 400 rows; few.npy has",
    ),
    "rows as contexts": (["t.csv", "--context", "x.npy"], "Expected contexts of 3 numbers in x.npy; its rows have 4"),
    "no such columns": (["lacks.csv"], "it lacks column 2 (age), column 3 (size)"),
    "a set of its own order": (["digits", "--context", "c.npy"], "Expected one context for all rows of digits"),
}


@pytest.mark.parametrize("command", ["diagnose", "recalibrate", "certify", "plot"])
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_context_is_one_sentence(made, tmp_path, monkeypatch, command, case):
    folder, *_ = made
    monkeypatch.chdir(folder)
    given, sentence = WRONG[case]
    before = ["plot", "latents"] if command == "plot" else [command]
    written = {"recalibrate": ["-o", tmp_path / "n.pt"], "plot": ["-o", tmp_path / "n.png"]}.get(command, [])
    code, out, said = run(*before, "m.pt", *given, *written)
    assert (code, out, said.count("\n")) == (2, "", 1), said
    assert sentence in said
    assert not list(tmp_path.iterdir())


def test_a_model_that_takes_none_refuses_one(model, tmp_path):
    np.save(tmp_path / "g.npy", np.zeros((20, 16), dtype=np.uint8))
    code, _, said = run("diagnose", model, tmp_path / "g.npy", "--context", "1")
    assert (code, "Expected no --context for a flow that takes none. Leave it out." in said) == (2, True)


@pytest.mark.parametrize(
    "command",
    [
        ("diagnose", "m.pt", "x.npy"),
        ("certify", "m.pt", "--rows", "4"),
        ("sample", "f", "-n", "4", "-o", "NEW.npy"),
        ("plot", "samples", "f", "-o", "NEW.png"),
    ],
    ids=lambda command: command[0],
)
def test_contexts_beyond_training_are_told(made, tmp_path, monkeypatch, command):
    monkeypatch.chdir(made[0])
    arguments = [word.replace("NEW", str(tmp_path / "new")) for word in command]
    code, _, said = run(*arguments, "--context", "0.5,9,1")
    assert (code, "column 2 (age) is not: it has 9 .. 9, and training had -1 .. 2" in said) == (0, True), said
    code, _, said = run(*arguments, "--context", "0.5,1,1", *(["--force"] if command[0] == "sample" else []))
    assert (code, "warning: Expected contexts" in said) == (0, False), said


def test_recalibrate_writes_a_conditional_model_that_everything_reads(made, tmp_path):
    folder, *_ = made
    before = diagnosed(folder / "m.pt", folder / "t.csv")
    code, out, said = run("recalibrate", folder / "m.pt", folder / "t.csv", "-o", tmp_path / "r.pt", "--json")
    assert code == 0, said
    gain = json.loads(out)["gain_nats"]
    after = diagnosed(tmp_path / "r.pt", folder / "t.csv")
    assert before["model"]["train"]["nats"] - after["model"]["train"]["nats"] == pytest.approx(gain, abs=1e-8)
    code, _, said = run("export", tmp_path / "r.pt", "-o", tmp_path / "f")
    assert code == 0, said
    code, out, said = run("check", tmp_path / "f", "--model", tmp_path / "r.pt", "--json")
    assert (code, json.loads(out)["passed"]) == (0, True), said


def test_certify_at_contexts(made):
    folder, *_ = made
    code, out, said = run("certify", folder / "m.pt", "--context", "0.5,0,1", "--rows", "8", "--json")
    assert code == 0, said
    one = json.loads(out)
    code, out, _ = run("certify", folder / "m.pt", folder / "t.csv", "--rows", "8", "--json")
    several = json.loads(out)
    assert (code, one["contexts"], several["contexts"]) == (0, 1, 8)
    assert one["violations"] == several["violations"] == []
    assert several["network"]["lip_forward"] != one["network"]["lip_forward"]
    code, out, _ = run("certify", folder / "f", "--context", "0.5,0,1")
    assert (code, "the bounds depend on the context; give the model file, with contexts" in out) == (0, True)
    code, _, said = run("certify", folder / "m.pt")
    assert (code, "Expected a --context for a conditional flow; got none" in said) == (2, True)


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    """A model of two dimensions, and rows with their contexts."""
    folder = tmp_path_factory.mktemp("plane")
    lunet_export.save(model_of(fitted(DATA)).with_columns(["u", "v"]), folder / "m.pt")
    table = np.hstack([DATA.train[:500], DATA.contexts.train[:500]])
    pd.DataFrame(table, columns=["u", "v", "age"]).to_csv(folder / "t.csv", index=False)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ("density", "m.pt", "t.csv"),
        ("density", "m.pt", "t.csv", "--context", "3"),
        ("latents", "m.pt", "t.csv"),
        ("samples", "m.pt", "--context", "3", "-n", "50"),
    ],
    ids=["densities", "density", "latents", "samples"],
)
def test_pictures_of_a_conditional_model(plane, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(plane)
    code, out, said = run("plot", *arguments, "-o", tmp_path / "p.png")
    assert (code, out.startswith("wrote")) == (0, True), said
    with Image.open(tmp_path / "p.png") as picture:
        assert len(np.unique(np.asarray(picture))) > 20


def test_activations_are_those_of_rows_with_their_contexts(made, tmp_path):
    folder, *_ = made
    code, _, said = run("plot", "activations", folder / "m.pt", folder / "t.csv", "-o", tmp_path / "p.png")
    assert (code, (tmp_path / "p.png").exists()) == (0, True), said


def test_a_curve_takes_no_context(made, tmp_path):
    code, _, said = run("plot", "curve", made[0] / "m.pt", "--context", "1,2,3", "-o", tmp_path / "p.png")
    assert (code, "Expected no --context for curve, which is of the history alone. Leave it out." in said) == (2, True)
