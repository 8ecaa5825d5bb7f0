"""The commands: what they print and what they write."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from lunet_cli.main import PANELS, app
from lunet_export import ExportedFlow
from lunet_export.graphs.solvers import SOLVERS
from lunet_export.preprocessing import NAMED
from tests.cli.conftest import run
from tests.conftest import ROOT
from tests.networks import network
from tests.test_checkpoint import authors_state


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


#: Options of a training that is short: no search for a start.
FEW = ("--epochs", 1, "--blocks", 2, "--init", "bend")

# The way through


def test_the_whole_way(tmp_path):
    model, folder = tmp_path / "toy.pt", tmp_path / "toy"
    code, out, err = run("train", "two-moons", "-o", model, "--epochs", 2, "--blocks", 3, "--paper-convention")
    assert (code, "LU-Net, test" in out, "full-covariance Gaussian" in out) == (0, True, True)
    assert "as the released code prints it" in out
    assert err.strip() == f"next: lunet-export {model}"  # quiet where no terminal is
    code, out, err = run(model, "-o", folder)
    assert (code, "density.onnx: density" in out) == (0, True)
    assert err.strip().endswith(f"lunet-export sample {folder} -n 64 -o grid.png")
    assert run("check", folder, "--model", model)[0] == 0
    assert run("sample", folder, "-n", 500, "-o", tmp_path / "grid.png")[0] == 0
    assert pixels(tmp_path / "grid.png").shape[0] >= 300


@pytest.mark.parametrize("activation", ["leaky-relu", "leaky-tanh"])
def test_the_whole_way_with_another_activation(tmp_path, activation):
    model, folder, again = tmp_path / "m.pt", tmp_path / "m", tmp_path / "again.pt"
    assert run("train", "two-moons", "-o", model, "--activation", activation, *FEW)[0] == 0
    assert run(model, "-o", folder, "--with-log-prob")[0] == 0
    assert run("check", folder, "--model", model)[0] == 0
    assert json.loads((folder / "manifest.json").read_text())["model"]["activation"] == activation
    assert ExportedFlow(folder, provider="cpu").manifest.document["training"]["activation"] == activation
    facts = json.loads(run("inspect", model, "--json")[1])
    assert facts["activation"] == activation
    assert run("train", "two-moons", "-o", again, "--from", model, "--epochs", 1)[0] == 0
    assert json.loads(run("inspect", again, "--json")[1])["activation"] == activation
    code, _, err = run("train", "two-moons", "-o", model, "--resume", *FEW)  # as leaky softplus
    assert (code, f"differs: activation {activation} (now leaky-softplus)" in err) == (2, True)
    for flow in ("jko", "realnvp-dense"):
        code, _, err = run("train", "two-moons", "--flow", flow, "--activation", activation, "-o", tmp_path / "x.pt")
        assert (code, "Expected no --activation for a" in err) == (2, True)


def test_the_whole_way_with_splines(tmp_path):
    model, folder, again = tmp_path / "m.pt", tmp_path / "m", tmp_path / "again.pt"
    splines = ("--activation", "spline")
    assert run("train", "two-moons", "-o", model, *splines, *FEW)[0] == 0
    assert run(model, "-o", folder, "--with-log-prob")[0] == 0
    assert run("check", folder, "--model", model)[0] == 0
    kinds = {"LULinear": 2, "SplineAutoregressive": 1}
    assert json.loads((folder / "manifest.json").read_text())["model"]["kinds"] == kinds
    assert ExportedFlow(folder, provider="cpu").manifest.document["training"]["activation"] == "spline"
    assert run("train", "two-moons", "-o", again, "--from", model, "--epochs", 1)[0] == 0
    assert json.loads(run("inspect", again, "--json")[1])["kinds"] == kinds
    for more, said in (
        (("--from", model, "--per-class"), "Expected no --activation spline with --per-class"),
        ((*splines, "--context-labels"), "Expected rows without contexts for an LU-Net with splines"),
        ((*splines, "--alpha", 0.2), "Expected no --alpha for an LU-Net with splines"),
        ((*splines, "--init", "greedy"), "Expected an init of bend, whiten, identity for an LU-Net with splines"),
    ):
        code, _, err = run("train", "digits", "-o", tmp_path / "x.pt", *more)
        assert (code, said in err) == (2, True), err


def test_train_prints_json(tmp_path):
    code, out, _ = run("train", "two-moons", "-o", tmp_path / "m.pt", *FEW, "--json")
    document = json.loads(out)
    assert (code, document["dataset"], document["epochs"], document["best_epoch"]) == (0, "two-moons", 1, 1)
    assert {"test", "gaussian_test", "paper_convention", "test_nats", "valid"} <= document.keys()


def test_train_refuses_to_overwrite_a_model(model):
    before = model.read_bytes()
    code, _, err = run("train", "two-moons", "-o", model)
    assert (code, "--resume, --force or another path" in err, model.read_bytes() == before) == (2, True, True)


def test_train_refuses_to_overwrite_its_companions(tmp_path):
    (tmp_path / "m.png").write_text("mine")
    code, _, err = run("train", "two-moons", "-o", tmp_path / "m.pt")
    assert (code, "m.png exists already" in err) == (2, True)
    assert (tmp_path / "m.png").read_text() == "mine"


def test_export_goes_to_runs_by_default_and_never_where_committed_folders_lie(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "exported" / "toy2d", tmp_path / "exported" / "small")
    code, _, err = run("export", model.name)
    assert (code, "lunet-export sample runs/small " in err) == (0, True)
    assert "/runs/" in (ROOT / ".gitignore").read_text().split()
    assert sorted(file.name for file in (tmp_path / "runs" / "small").iterdir()) == [
        "README.md",
        "density.onnx",
        "manifest.json",
        "sampling.onnx",
        "vectors.json",
    ]


@pytest.mark.parametrize(
    ("options", "solver"),
    [
        (["--solver", "fused"], "fused"),
        (["--solver", "rows"], "rows"),
        (["--solver", "meeting", "--tile", "3"], "meeting"),
        (["--solver", "auto", "--target", "cuda", "--batch", "64"], "fused"),
        (["--tile", "4"], "unrolled"),
        (["--dtype", "float64", "--tile", "auto"], "unrolled"),
        (["--dtype", "float16", "--solver", "inverse"], "inverse"),
        (["--with-log-prob", "--rng"], "unrolled"),
    ],
)
def test_export_options(model, tmp_path, options, solver):
    code, out, _ = run(model, "-o", tmp_path / "out", "--json", *options)
    document = json.loads(out)
    assert (code, document["passed"]) == (0, True)
    assert document["graphs"]["sampling"]["solver"]["name"] == solver
    assert {entry["solver"].split(" ")[0] for entry in document["alternatives"]} == set(SOLVERS)
    assert run("check", tmp_path / "out")[0] == 0
    code, out, _ = run("check", tmp_path / "out", "--model", model, "--json")
    assert (code, "golden: sampling with log_prob, x" in out) == (0, "--with-log-prob" in options)


def test_export_says_what_another_solver_would_gain(model, tmp_path):
    _, out, _ = run(model, "-o", tmp_path / "a")
    gain = out.splitlines()[-1]
    said = r"hint: --solver fused is about \d+ % faster and as accurate \(predicted for cpu, batch 1\)"
    assert re.fullmatch(said, gain), gain
    _, out, _ = run(model, "-o", tmp_path / "b", "--solver", "fused")
    assert (
        out.splitlines()[-1]
        == "--solver fused: no other solver that is accurate enough is faster (predicted for cpu, batch 1)"
    )


def test_inspect_shows_the_solvers_before_anything_is_exported(model, ready):
    code, out, _ = run("inspect", "--solvers", model, "--target", "cuda", "--batch", 8)
    assert (code, [name for name in SOLVERS if name not in out]) == (0, [])
    assert [
        word for word in ("GPU work items", "Mflop/row", "float32 error", "ms, cuda, batch 8") if word not in out
    ] == []
    document = json.loads(run("inspect", "--solvers", model, "--json")[1])
    assert (document["auto"], len(document["solvers"])) == ("fused", len(SOLVERS))
    assert {"nodes", "flops", "bytes", "work_items", "error", "share", "milliseconds"} <= document["solvers"][0].keys()
    code, _, err = run("inspect", "--solvers", ready)
    assert (code, "Expected a model file for --solvers" in err) == (2, True)


def test_export_of_the_authors_files(tmp_path):
    weights = network(16, 3)
    torch.save(authors_state(weights), tmp_path / "best.pth")
    torch.save({"latent_mean": torch.ones(16), "latent_covariance": 2 * torch.eye(16)}, tmp_path / "best_stats.pth")
    assert run(tmp_path / "best.pth", "-o", tmp_path / "plain")[0] == 0
    stats = ["--latent-stats", tmp_path / "best_stats.pth", "--preprocess", "paper"]
    assert run(tmp_path / "best.pth", "-o", tmp_path / "full", *stats)[0] == 0
    assert ExportedFlow(tmp_path / "plain", provider="cpu").manifest.preprocessing is None
    full = ExportedFlow(tmp_path / "full", provider="cpu").manifest
    assert (full.preprocessing, full.image_shape) == (NAMED["paper"], (4, 4))
    assert run("check", tmp_path / "full", "--model", tmp_path / "best.pth", *stats)[0] == 0
    assert run("check", tmp_path / "full", "--model", tmp_path / "best.pth")[0] == 2  # not that model


def test_check_prints_a_table_and_json(ready, model):
    code, out, _ = run("check", ready, "--provider", "cpu")
    assert code == 0
    assert "what is allowed there" in out
    assert "9 of 9 checks passed, provider cpu" in out
    code, out, _ = run("check", ready, "--model", model, "--json")
    document = json.loads(out)
    assert (code, document["passed"], len(document["checks"])) == (0, True, 27)  # golden, fresh, chain


def test_check_fails_on_a_wrong_answer(ready, rewrite):
    """The vectors say something else, hashes in order: the numerical check must end in exit code 1."""
    from lunet_export.files.reading import sha256

    vectors = json.loads((ready / "vectors.json").read_text())
    vectors["density"]["log_prob"][2] += 0.01
    data = json.dumps(vectors).encode()
    (ready / "vectors.json").write_bytes(data)
    rewrite(ready, lambda document: document["sha256"].update({"vectors.json": sha256(data)}))
    code, out, err = run("check", ready)
    assert (code, "FAILED" in out, "golden: density, log_prob" in err) == (1, True, True)
    assert "8 of 9 checks passed" in out
    code, out, _ = run("check", ready, "--json")
    assert (code, json.loads(out)["passed"]) == (1, False)


def test_sample_writes_what_the_flow_draws(ready, tmp_path):
    code, out, _ = run("sample", ready, "-n", 5, "--seed", 3, "--temperature", 0.5, "-o", tmp_path / "x.npy")
    flow = ExportedFlow(ready, provider="cpu")
    x = np.load(tmp_path / "x.npy")
    np.testing.assert_array_equal(x, flow.sample(5, seed=3, temperature=0.5))
    assert (code, x.dtype, "5 samples" in out) == (0, np.float32, True)
    np.save(tmp_path / "z.npy", flow.latent(2, seed=9))
    assert run("sample", ready, "--latent", tmp_path / "z.npy", "-o", tmp_path / "y.npy")[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), flow.sample(2, seed=9))


def test_pictures_are_floor_and_clip(ready, tmp_path):
    assert run("sample", ready, "-n", 9, "-o", tmp_path / "grid.png")[0] == 0
    picture = pixels(tmp_path / "grid.png")
    x = ExportedFlow(ready, provider="cpu").sample(9, seed=0).reshape(9, 4, 4)
    factor = picture.shape[0] // (3 * 6 + 2)
    small = picture[::factor, ::factor]
    image = small[2 + 6 : 2 + 6 + 4, 2 + 12 : 2 + 12 + 4]  # row 1, column 2: number 5
    np.testing.assert_array_equal(image, np.round(np.floor(x[5]) * 255 / 16))


def test_score_prints_rows_and_their_mean(ready, tmp_path):
    flow = ExportedFlow(ready, provider="cpu")
    floats = flow.sample(4, seed=1)
    np.save(tmp_path / "x.npy", floats)
    code, out, _ = run("score", ready, tmp_path / "x.npy")
    lines = out.splitlines()
    assert (code, lines[0], len(lines)) == (0, "row,log_prob_nats,bits_per_dim", 6)
    first = [float(field) for field in lines[1].split(",")]
    log_prob = float(flow.log_prob(floats)[0])
    np.testing.assert_allclose(first, [0, log_prob, -log_prob / 16 / np.log(2)], rtol=1e-5)
    assert "mean of 4 rows" in lines[-1]
    grey = np.floor(floats).astype(np.uint8).reshape(4, 4, 4)
    np.save(tmp_path / "grey.npy", grey)
    code, out, _ = run("score", ready, tmp_path / "grey.npy", "--draws", 3, "--seed", 5, "--json")
    document = json.loads(out)
    assert (code, document["draws"], document["rows"], len(document["per_row"]["log_prob"])) == (0, 3, 4, 4)
    assert run("score", ready, tmp_path / "grey.npy", "-o", tmp_path / "scores.csv")[0] == 0
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 5


def test_inspect_reads_folders_graphs_and_models(ready, model):
    for path, words in (
        (ready, ["unrolled", "Gemm 18", "float32"]),
        (ready / "sampling.onnx", ["Gemm 18", "lunet.solver", "unrolled tile=8"]),
        (model, ["free_parameters", "816", "demo"]),
    ):
        code, out, _ = run("inspect", path)
        assert (code, [word for word in words if word not in out]) == (0, [])
        assert json.loads(run("inspect", path, "--json")[1])


@pytest.mark.parametrize("name", ["digits", "digits/sampling.onnx", "digits.pt", "digits-classes", "digits-classes.pt"])
def test_inspect_fits_a_screen_and_all_shows_the_rest(name):
    path = ROOT / "exported" / name
    code, out, err = run("inspect", path)
    assert (code, len(out.splitlines()) <= 24) == (0, True)
    code, whole, said = run("inspect", path, "--all")
    left = len(whole.splitlines()) > len(out.splitlines())
    assert (code, said, f"next: lunet-export inspect {path} --all" in err) == (0, "", left)
    if path.is_dir():
        words = ("noise.generator", "versions.torch", "sha256.density.onnx")
        assert [word for word in words if word not in whole] == []
        assert [word for word in ("model.sha256_weights", "passed at export", "training.test") if word not in out] == []


# Help


def test_help_fits_a_screen():
    _, out, _ = run("--help")
    assert len(out.splitlines()) <= 52
    assert run("--version")[1].startswith("lunet-export ")


def test_help_begins_with_an_example_and_lists_commands_in_panels():
    _, out, _ = run("--help")
    top, *panels = re.split(r"╭─ (\w+) ─", out)
    assert "Example: lunet-export train digits -o m.pt" in top
    assert panels[::2] == ["Options", *PANELS]
    for name, listed in zip(panels[2::2], panels[3::2], strict=True):
        found = re.findall(r"│ ([a-z-]+)  ", listed)
        assert found == [command.__name__.rstrip("_").replace("_", "-") for command in PANELS[name]]


@pytest.mark.parametrize("arguments", [["-h"], ["train", "-h"], ["inspect", "-h"], ["demo-page", "-h"]])
def test_help_has_a_short_name(arguments):
    code, out, _ = run(*arguments)
    assert (code, out) == run(*arguments[:-1], "--help")[:2]
    assert (code, "Usage: lunet-export" in out or "Usage: root" in out) == (0, True)


@pytest.mark.parametrize("command", ["sample", "score", "bench", "export"])
def test_options_of_providers_and_clusters_have_panels_of_their_own(command):
    usual, *rest = re.split(r"╭─ (?!Arguments|Options)", run(command, "--help")[1])
    apart = {"--provider", "--device-id", "--memory-limit", "--workers", "--address", "--latent-stats", "--mass"}
    assert [option for option in apart if f"{option} " in usual] == []
    assert any(option in panel for panel in rest for option in apart)


def test_help_lists_the_words_that_an_option_takes():
    def listed(command, option):
        found = re.search(rf"\[?{option} .*?<(.*?)>", re.sub(r"\x1b\[[0-9;]*m", "", wide(command)), re.DOTALL)
        return found and found[1].split(" | ")

    assert listed("export", "--solver") == [*SOLVERS, "auto"]
    assert listed("bench", "--solver") == [*SOLVERS]
    for command in ("export", "inspect"):
        assert listed(command, "--dtype") == ["float32", "float64", "float16"]
    assert listed("sample", "--provider") == ["auto", "cpu", "cuda"]
    assert listed("train", "--flow") == ["lunet", "realnvp", "realnvp-dense", "jko"]


def wide(command) -> str:
    return CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "300", "TERMINAL_WIDTH": "300"}).stdout


def test_words_that_are_none_are_refused_as_before(model):
    code, _, err = run(model, "--solver", "fussed")
    assert (code, "Expected a solver" in err, "fussed" in err) == (2, True, True)
    code, _, err = run(model, "--dtype", "float23")
    assert (code, "Expected a dtype of float32, float64, float16; got float23." in err) == (2, True)


@pytest.mark.slow
def test_the_module_is_the_program():
    done = subprocess.run(
        [sys.executable, "-m", "lunet_export", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, run("--version")[1])


def test_importing_the_package_imports_no_command():
    code = "import sys, lunet_export; raise SystemExit('lunet_cli' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("sc", "score"),
        ("sample x --prov", "--provider"),
        ("m.pt --dty", "--dtype"),
        ("export --dtype float6", "float64"),
    ],
)
def test_shells_complete_commands_options_and_words(typed, found):
    words = f"lunet-export {typed}"
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-m", "lunet_export"],
        env={**os.environ, **asked, "_LUNET_EXPORT_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, found, "")


@pytest.mark.slow
def test_completion_is_installed_and_shown(tmp_path):
    """By a shell, as its name is found by that of the process above."""
    for option, found in (("--show-completion", "complete -o default -F _lunet_export"), ("--install-completion", "")):
        done = subprocess.run(
            ["bash", "-c", f"{sys.executable} -m lunet_export {option}; exit $?"],
            env={**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, found in done.stdout) == (0, True), done.stderr
    assert "lunet-export" in (tmp_path / ".bash_completions" / "lunet-export.sh").read_text()


COMMANDS = [
    "train",
    "import",
    "recalibrate",
    "export",
    "inspect",
    "format",
    "check",
    "verify",
    "sign",
    "diagnose",
    "certify",
    "replay",
    "doctor",
    "sample",
    "score",
    "classify",
    "plot",
    "bench",
    "triton",
    "embed",
    "demo-page",
    "serve",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(command):
    code, out, _ = run(command, "--help")
    assert (code, f"Example: lunet-export {'model.pt' if command == 'export' else command}" in out) == (0, True)


def test_the_list_of_commands_is_complete():
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert [name.replace("_", "-") for name in names] == COMMANDS


def test_the_console_script_runs():
    done = subprocess.run(
        [sys.executable, "-c", "from lunet_cli.main import main; main()", "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.startswith("lunet-export ")) == (0, True)
