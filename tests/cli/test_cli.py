"""The commands: what they print, what they write, and the exit code of everything that can go wrong."""

import json
import shutil
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from lunet_cli.main import app
from lunet_export import ExportedFlow, checkpoint
from lunet_export.flows import LUNet
from lunet_export.preprocessing import NAMED
from tests.networks import network
from tests.test_checkpoint import authors_state

SMALL = network(16, 3, preprocessing=NAMED["digits"])


def run(*arguments) -> "tuple[int, str, str]":
    """Exit code, stdout, stderr. An error that is not ours would be raised here, so no traceback can hide."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A model file and its exported folder, made once by the command line."""
    folder = tmp_path_factory.mktemp("originals")
    path = folder / "small.pt"
    checkpoint.write(path, LUNet.from_weights(SMALL), image_shape=(4, 4), training={"dataset": "demo"}, examples=None)
    assert run(path, "-o", folder / "small")[0] == 0
    return folder


@pytest.fixture
def model(originals, tmp_path):
    return Path(shutil.copy(originals / "small.pt", tmp_path))


@pytest.fixture
def ready(originals, tmp_path):
    return Path(shutil.copytree(originals / "small", tmp_path / "small"))


# The way through


def test_the_whole_way(tmp_path):
    model, folder = tmp_path / "toy.pt", tmp_path / "toy"
    code, out, err = run("train", "two-moons", "-o", model, "--epochs", 2, "--blocks", 3, "--paper-convention")
    assert (code, "LU-Net, test" in out, "full-covariance Gaussian" in out) == (0, True, True)
    assert "as the released code would print it" in out
    assert err.strip() == f"next: lunet-export {model}"  # quiet where no terminal is
    code, out, err = run(model, "-o", folder)
    assert (code, "density.onnx: density" in out) == (0, True)
    assert err.strip().endswith(f"lunet-export sample {folder} -n 64 -o grid.png")
    assert run("check", folder, "--model", model)[0] == 0
    assert run("sample", folder, "-n", 500, "-o", tmp_path / "grid.png")[0] == 0
    assert pixels(tmp_path / "grid.png").shape[0] >= 300


def test_train_prints_json(tmp_path):
    code, out, _ = run("train", "two-moons", "-o", tmp_path / "m.pt", "--epochs", 1, "--blocks", 2, "--json")
    document = json.loads(out)
    assert (code, document["dataset"], document["epochs"], document["best_epoch"]) == (0, "two-moons", 1, 1)
    assert {"test", "gaussian_test", "paper_convention", "test_nats", "valid"} <= document.keys()


def test_train_refuses_to_overwrite_a_model(model):
    before = model.read_bytes()
    code, _, err = run("train", "two-moons", "-o", model)
    assert (code, "--resume, --force or another -o" in err, model.read_bytes() == before) == (2, True, True)


def test_train_refuses_to_overwrite_its_companions(tmp_path):
    (tmp_path / "m.png").write_text("mine")
    code, _, err = run("train", "two-moons", "-o", tmp_path / "m.pt")
    assert (code, "m.png exists already" in err) == (2, True)
    assert (tmp_path / "m.png").read_text() == "mine"


def test_a_closed_pipe_is_no_failed_check(ready, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((3000, 16)))
    command = f"{sys.executable} -c 'from lunet_cli.main import main; main()' score {ready} {tmp_path / 'x.npy'}"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -1"], capture_output=True, text=True, check=False
    )
    assert (done.returncode in (0, 141), done.stderr) == (True, "")


def test_closed_streams_are_no_traceback(ready):
    command = f"{sys.executable} -c 'from lunet_cli.main import main; main()' inspect {ready} >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


def test_export_goes_to_exported_by_default(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("export", model.name)[0] == 0
    assert sorted(file.name for file in (tmp_path / "exported" / "small").iterdir()) == [
        "density.onnx",
        "manifest.json",
        "sampling.onnx",
        "vectors.json",
    ]


@pytest.mark.parametrize("options", [["--solver", "fused"], ["--tile", "4"], ["--dtype", "float64", "--tile", "auto"]])
def test_export_options(model, tmp_path, options):
    code, out, _ = run(model, "-o", tmp_path / "out", "--json", *options)
    document = json.loads(out)
    assert (code, document["passed"]) == (0, True)
    assert document["graphs"]["sampling"]["solver"]["name"] == ("fused" if "fused" in options else "unrolled")
    assert all(check["eager"] is not None for check in document["checks"])


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
    assert "allowed there" in out
    assert "9 of 9 checks passed, provider cpu" in out
    code, out, _ = run("check", ready, "--model", model, "--json")
    document = json.loads(out)
    assert (code, document["passed"], len(document["checks"])) == (0, True, 27)  # golden, fresh, chain


def test_check_fails_on_a_wrong_answer(ready, rewrite):
    """The vectors say something else, hashes in order: the numerical check must end in exit code 1."""
    from lunet_export.files import sha256

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


def test_bench_compares_with_eager(ready, model):
    code, out, _ = run("bench", ready, "--model", model, "--batch", "1,3", "--seconds", 0.05, "--json")
    document = json.loads(out)
    assert (code, len(document["rows"])) == (0, 8)  # two runners, two directions, two batches
    assert {"onnxruntime", "torch", "threads", "processor"} <= document.keys()
    assert [row["faster"] is None for row in document["rows"][:2]] == [True, False]
    code, out, _ = run("bench", ready, "--batch", "2", "--seconds", 0.05)
    assert (code, "p99" in out, "answers checked first" in out) == (0, True, True)


# What goes wrong: (arguments, exit code, words of the sentence). Names in braces are made by the fixture below.


@pytest.fixture
def things(ready, model, tmp_path, rewrite):
    state = authors_state(network(4, 2))
    state["final_lu_block.0.weight"][1, 1] = 0
    torch.save(state, tmp_path / "zero.pth")
    state["final_lu_block.0.weight"][1, 1] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    torch.save(OrderedDict([("lu_layers.0.weight", torch.eye(2))]), tmp_path / "inverse.pth")
    torch.save({"x": subprocess.Popen}, tmp_path / "code.pt")
    (tmp_path / "empty.pt").touch()
    (tmp_path / "truncated.pt").write_bytes(model.read_bytes()[:500])
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "plain").mkdir()
    (tmp_path / "small.npy").mkdir()
    np.save(tmp_path / "narrow.npy", np.ones((3, 15)))
    np.save(tmp_path / "nan.npy", np.full((2, 16), np.nan))
    np.save(tmp_path / "outside.npy", np.full((2, 16), 20.0))
    np.save(tmp_path / "one.npy", np.ones((1, 16)))
    altered = tmp_path / "altered"
    altered.mkdir()
    for file in ready.iterdir():
        (altered / file.name).write_bytes(file.read_bytes())
    (altered / "density.onnx").write_bytes((altered / "density.onnx").read_bytes() + b"\0")
    return {path.name: path for path in tmp_path.iterdir()}


FAILURES = {
    "missing model": (["{out}/none.pt"], 2, "does not exist"),
    "no such command": (
        ["chekc", "x"],
        2,
        "Expected a command (train, export, check, sample, score, inspect, bench) or a model file; got chekc",
    ),
    "empty model": (["{empty.pt}", "-o", "{out}/f"], 2, "is empty"),
    "truncated model": (["{truncated.pt}", "-o", "{out}/f"], 2, "truncated, damaged"),
    "pickled code": (["{code.pt}", "-o", "{out}/f"], 2, "asks to run code"),
    "zero on a diagonal": (["{zero.pth}", "-o", "{out}/f"], 2, "got 0 at position 1"),
    "NaN on a diagonal": (["{nan.pth}", "-o", "{out}/f"], 2, "got nan at [1, 1]"),
    "authors' inverse": (["{inverse.pth}", "-o", "{out}/f"], 2, "Export best.pth"),
    "existing folder": (["{small.pt}", "-o", "{small}"], 2, "--force"),
    "someone's folder": (["{small.pt}", "-o", "{out}", "--force"], 2, "exists and holds keep.txt"),
    "tile too large": (["{small.pt}", "-o", "{out}/f", "--tile", "9"], 2, "Expected a tile from 1 to 8"),
    "tile no number": (["{small.pt}", "-o", "{out}/f", "--tile", "x"], 2, "Expected --tile N or auto"),
    "unknown solver": (["{small.pt}", "-o", "{out}/f", "--solver", "magic"], 2, "Expected a solver of"),
    "unknown dtype": (["{small.pt}", "-o", "{out}/f", "--dtype", "int8"], 2, "Expected a dtype of"),
    "preprocess for ours": (["{small.pt}", "-o", "{out}/f", "--preprocess", "paper"], 2, "records its own"),
    "missing folder": (["check", "{out}/none"], 2, "Expected an exported folder"),
    "altered folder": (["check", "{altered}"], 2, "was altered or damaged"),
    "altered folder, sample": (["sample", "{altered}", "-o", "{out}/x.npy"], 2, "was altered or damaged"),
    "empty folder": (["check", "{plain}"], 2, "Expected manifest.json"),
    "another model": (["check", "{small}", "--model", "{zero.pth}"], 2, "got 0 at position 1"),
    "wrong width": (["score", "{small}", "{narrow.npy}"], 2, "Expected x of shape (N, 16); got (3, 15)"),
    "NaN in x": (["score", "{small}", "{nan.npy}"], 2, "row 0, column 0 is nan"),
    "outside the domain": (["score", "{small}", "{outside.npy}"], 2, "Expected x in [0, 17)"),
    "scores into a model": (["score", "{small}", "{one.npy}", "-o", "{small.pt}"], 2, "Expected -o FILE.csv"),
    "too many samples": (["sample", "{small}", "-n", "99999999999999", "-o", "{out}/x.npy"], 2, "Ask for less"),
    "missing data": (["score", "{small}", "{out}/none.npy"], 2, "does not exist"),
    "wrong latent": (["sample", "{small}", "--latent", "{narrow.npy}", "-o", "{out}/x.npy"], 2, "Expected z of shape"),
    "unknown picture": (["sample", "{small}", "-o", "{out}/x.gif"], 2, "Expected -o FILE.png or FILE.npy"),
    "negative temperature": (["sample", "{small}", "--temperature", "-1", "-o", "{out}/x.npy"], 2, "temperature"),
    "inspect nothing": (["inspect", "{out}/none"], 2, "does not exist"),
    "inspect no graph": (["inspect", "{text.onnx}"], 2, "Expected an ONNX graph"),
    "bench nonsense": (["bench", "{small}", "--batch", "1,x"], 2, "Expected --batch"),
    "train nothing": (["train", "cifar", "-o", "{out}/m.pt"], 2, "Expected a data set"),
    "train without files": (["train", "mnist", "--data-dir", "{out}", "-o", "{out}/m.pt"], 2, "published at"),
    "train on a few": (["train", "{one.npy}", "-o", "{out}/m.pt"], 2, "at least 10 rows"),
    "train with nonsense": (["train", "digits", "--epochs", "0", "-o", "{out}/m.pt"], 2, "positive epochs"),
    "train with alpha 2": (["train", "digits", "--alpha", "2", "-o", "{out}/m.pt"], 2, "alpha in (0, 1)"),
    "train into a picture": (["train", "digits", "-o", "{out}/m.png"], 2, "ends in .pt"),
    "train with 0 levels": (["train", "{one.npy}", "--levels", "0", "-o", "{out}/m.pt"], 2, "at least 2 grey levels"),
    "resume from nothing": (["train", "digits", "--resume", "-o", "{out}/m.pt"], 2, "Train without --resume"),
    "score no images": (["score", "{small}", "{out}/none-ubyte.gz"], 2, "does not exist"),
    "sample into a folder": (["sample", "{small}", "-o", "{small}.npy"], 2, "is a folder or a device"),
    "train on nothing": (["train", "digits", "--device", "abacus", "-o", "{out}/m.pt"], 2, "Expected a device"),
    "cuda missing": (["check", "{small}", "--provider", "cuda"], 3, "CUDAExecutionProvider"),
    "cuda missing, sample": (["sample", "{small}", "--provider", "cuda", "-o", "{out}/x.npy"], 3, "lunet-export[gpu]"),
    "unwritable": (["sample", "{small}", "-o", "/proc/nothing/x.npy"], 4, "The operating system refused"),
}


@pytest.mark.parametrize(("arguments", "code", "words"), FAILURES.values(), ids=FAILURES)
def test_failures_get_one_sentence_and_leave_nothing(arguments, code, words, things, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "keep.txt").write_text("x")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fill(argument: str) -> str:
        argument = argument.replace("{out}", str(out))
        for name, path in things.items():
            argument = argument.replace(f"{{{name}}}", str(path))
        return argument

    got, stdout, stderr = run(*map(fill, arguments))
    flat = " ".join(stderr.replace("│", " ").split())
    assert (got, words in flat, "Traceback" in stderr + stdout) == (code, True, False), stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_ctrl_c_is_130_with_a_sentence(model, monkeypatch):
    from lunet_export.runtime import ExportedFlow

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ExportedFlow, "__init__", interrupt)
    code, _, err = run("sample", "anything")
    assert (code, "Stopped by Ctrl-C" in err) == (130, True)


FULL_DISK = {
    "train": ["train", "digits", "--epochs", "1", "-o", "{out}/m.pt"],
    "export": ["{small.pt}", "-o", "{out}/f"],
    "sample": ["sample", "{small}", "-n", "500", "-o", "{out}/x.npy"],
}


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX resource limits")
@pytest.mark.parametrize("arguments", FULL_DISK.values(), ids=FULL_DISK)
def test_a_full_disk_is_exit_code_4_and_leaves_nothing(arguments, model, ready, tmp_path):
    """The operating system refuses every byte of a file past 2 kB, as a full disk would."""
    import resource

    out = tmp_path / "out"
    out.mkdir()
    names = {"{out}": out, "{small}": ready, "{small.pt}": model}
    filled = []
    for argument in arguments:
        for name, path in names.items():
            argument = argument.replace(name, str(path))
        filled.append(argument)
    done = subprocess.run(
        [sys.executable, "-c", "from lunet_cli.main import main; main()", *filled],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    assert (done.returncode, "The operating system refused" in done.stderr) == (4, True), done.stderr
    assert "Traceback" not in done.stderr
    assert list(out.iterdir()) == []


def test_a_missing_extra_is_named(ready, model, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith(("lunet_export.checkpoint", "lunet_export.flows"))]:
        monkeypatch.delitem(sys.modules, name)
    code, _, err = run("check", ready, "--model", model)
    assert (code, "pip install 'lunet-export[train]'" in err) == (2, True)


def test_failed_export_prints_the_table(model, tmp_path, monkeypatch):
    from lunet_export.graphs import density

    monkeypatch.setattr(density, "product", lambda lower, upper: lower)
    code, out, err = run(model, "-o", tmp_path / "bad")
    assert (code, "FAILED" in out, "Nothing was written" in err) == (1, True, True)
    assert not (tmp_path / "bad").exists()


# Help


def test_help_fits_a_screen():
    _, out, _ = run("--help")
    assert len(out.splitlines()) <= 40
    assert run("--version")[1].startswith("lunet-export ")


COMMANDS = ["train", "export", "check", "sample", "score", "inspect", "bench"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(command):
    code, out, _ = run(command, "--help")
    assert (code, f"Example: lunet-export {'model.pt' if command == 'export' else command}" in out) == (0, True)


def test_the_list_of_commands_is_complete():
    assert [command.callback.__name__ for command in app.registered_commands] == COMMANDS


def test_the_console_script_runs():
    done = subprocess.run(
        [sys.executable, "-c", "from lunet_cli.main import main; main()", "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.startswith("lunet-export ")) == (0, True)
