"""The exit code and the one sentence of everything that can go wrong, and that nothing is left behind."""

import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch

from lunet_export import checkpoint
from lunet_export.errors import OutOfMemoryError
from lunet_export.installation import install_extra
from lunet_export.layers import triangular
from lunet_export.runtime import doctor
from tests.cli.conftest import run
from tests.families import realnvp
from tests.networks import network
from tests.test_checkpoint import authors_state

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
    np.save(tmp_path / "flat.npy", np.ones(50))
    rng = np.random.default_rng(0)
    np.save(tmp_path / "grey.npy", rng.integers(0, 17, (60, 16), dtype=np.uint8))
    np.save(tmp_path / "few.npy", rng.integers(0, 17, (15, 16), dtype=np.uint8))
    np.save(tmp_path / "dead.npy", np.full((60, 16), 3.5))
    np.save(tmp_path / "wild.npy", rng.uniform(0, 20, (60, 16)))
    np.save(tmp_path / "vectors.npy", rng.standard_normal((60, 3)))
    coupled = realnvp.dense(16, 4, preprocessing="digits"), realnvp.convolutional(4, 2)
    others = dict(zip(("coupled.pt", "convolved.pt"), coupled, strict=True))
    for name, weights in {"wide.pt": network(5, 2), "affine.pt": network(3, 1), **others}.items():
        checkpoint.write_weights(tmp_path / name, weights, image_shape=None, training={}, examples=None)
    (tmp_path / "broken.json").write_text('{"epochs": [{"epoch": 1}], "gaussian_test": 1.0}')
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
        "Expected a command (train, import, recalibrate, export, inspect, format, check, verify, sign, diagnose, "
        "certify, replay, doctor, sample, score, classify, plot, bench, triton, embed, demo-page, serve) "
        "or a model file",
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
    "wrong width": (["score", "{small}", "{narrow.npy}"], 2, "those of {narrow.npy} have 15. Choose"),
    "NaN in x": (["score", "{small}", "{nan.npy}"], 2, "row 0 (from 0), column 1 is nan"),
    "outside the domain": (["score", "{small}", "{outside.npy}"], 2, "Expected x in [0, 17)"),
    "scores into a model": (["score", "{small}", "{one.npy}", "-o", "{small.pt}"], 2, "Expected -o of .csv, .parquet"),
    "too many samples": (["sample", "{small}", "-n", "99999999999999", "-o", "{out}/x.npy"], 2, "ask for fewer"),
    "missing data": (["score", "{small}", "{out}/none.npy"], 2, "does not exist"),
    "wrong latent": (["sample", "{small}", "--latent", "{narrow.npy}", "-o", "{out}/x.npy"], 2, "Expected z of shape"),
    "unknown picture": (["sample", "{small}", "-o", "{out}/x.gif"], 2, "Expected -o of .png, .parquet"),
    "negative temperature": (["sample", "{small}", "--temperature", "-1", "-o", "{out}/x.npy"], 2, "temperature"),
    "inspect nothing": (["inspect", "{out}/none"], 2, "does not exist"),
    "inspect no graph": (["inspect", "{text.onnx}"], 2, "Expected an ONNX graph"),
    "bench nonsense": (["bench", "{small}", "--batch", "1,x"], 2, "Expected --batch"),
    "train nothing": (["train", "cifar", "-o", "{out}/m.pt"], 2, "Expected a data set"),
    "train a set with its own levels": (
        ["train", "digits", "--levels", "17", "-o", "{out}/m.pt"],
        2,
        "Expected no --levels for digits",
    ),
    "train without files": (
        ["train", "mnist", "--data-dir", "{out}", "-o", "{out}/m.pt"],
        2,
        "a file of the MNIST database",
    ),
    "train on a few": (["train", "{one.npy}", "-o", "{out}/m.pt"], 2, "at least 10 rows"),
    "train with nonsense": (["train", "digits", "--epochs", "0", "-o", "{out}/m.pt"], 2, "a positive number of epochs"),
    "train with alpha 2": (["train", "digits", "--alpha", "2", "-o", "{out}/m.pt"], 2, "alpha in (0, 1)"),
    "train from nothing": (["train", "digits", "--from", "{out}/none.pt", "-o", "{out}/m.pt"], 2, "does not exist"),
    "train from another width": (
        ["train", "digits", "--from", "{small.pt}", "-o", "{out}/m.pt"],
        2,
        "Expected a model to start from with the data's 64 dimensions",
    ),
    "train from a model with blocks": (
        ["train", "digits", "--from", "{small.pt}", "--blocks", "2", "-o", "{out}/m.pt"],
        2,
        "Expected no --blocks, --alpha, --activation or --width with --from",
    ),
    "train with half a penalty": (
        ["train", "digits", "--reg", "balance", "-o", "{out}/m.pt"],
        2,
        "Expected a regulariser and its weight together",
    ),
    "train with two averages": (
        ["train", "digits", "--average", "0.9", "-o", "{out}/m.pt"],
        2,
        "Expected no average beside schedule-free",
    ),
    "train into a picture": (["train", "digits", "-o", "{out}/m.png"], 2, "ends in .pt"),
    "train with 0 levels": (["train", "{one.npy}", "--levels", "0", "-o", "{out}/m.pt"], 2, "at least 2 grey levels"),
    "resume from nothing": (["train", "digits", "--resume", "-o", "{out}/m.pt"], 2, "Train without --resume"),
    "score no images": (["score", "{small}", "{out}/none-ubyte.gz"], 2, "does not exist"),
    "sample into a folder": (["sample", "{small}", "-o", "{small}.npy"], 2, "is a folder or a device"),
    "train on nothing": (["train", "digits", "--device", "abacus", "-o", "{out}/m.pt"], 2, "Expected a device"),
    "cuda missing": (["check", "{small}", "--provider", "cuda"], 3, "an ONNX Runtime with CUDA"),
    "doctor without cuda": (["doctor", "--provider", "cuda"], 3, "an ONNX Runtime with CUDA"),
    "misspelt option": (["check", "{small}", "--tf3"], 2, "No such option: --tf3"),
    "memory limit of nothing": (["check", "{small}", "--memory-limit", "0"], 2, "memory-limit"),
    "unknown arena": (["sample", "{small}", "--arena", "big", "-o", "{out}/x.npy"], 2, "arena"),
    "cuda graph on the cpu": (
        ["sample", "{small}", "--provider", "cpu", "--cuda-graph", "-o", "{out}/x.npy"],
        2,
        "Expected a provider of cuda or auto",
    ),
    "cuda graph on what is there": (
        ["sample", "{small}", "--cuda-graph", "-o", "{out}/x.npy"],
        2,
        "Expected CUDA for --cuda-graph; auto took cpu",
    ),
    "workers of no engine": (
        ["sample", "{small}", "--workers", "2", "-o", "{out}/x.npy"],
        2,
        "Expected --engine ray beside --workers; got local",
    ),
    "cluster of no engine": (
        ["score", "{small}", "{one.npy}", "--address", "auto"],
        2,
        "Expected --engine ray beside --address; got local",
    ),
    "draws of floats": (["score", "{small}", "{one.npy}", "--draws", "3"], 2, "Expected grey levels of an image model"),
    "draws of floats, in parts": (
        ["score", "{small}", "{one.npy}", "--draws", "3", "-o", "{out}/z"],
        2,
        "Expected grey levels of an image model",
    ),
    "a seed below 0, of floats": (["score", "{small}", "{one.npy}", "--seed", "-3"], 2, "Expected a seed in [0, 2^64)"),
    "cuda missing, sample": (["sample", "{small}", "--provider", "cuda", "-o", "{out}/x.npy"], 3, "[gpu]"),
    "recalibrate into nothing": (["recalibrate", "{small.pt}", "{grey.npy}"], 2, "Missing option"),
    "recalibrate in place": (["recalibrate", "{small.pt}", "{grey.npy}", "-o", "{small.pt}"], 2, "exists already"),
    "recalibrate to no model": (["recalibrate", "{small.pt}", "{grey.npy}", "-o", "{out}/m.npy"], 2, "ends in .pt"),
    "recalibrate a folder": (["recalibrate", "{small}", "{grey.npy}", "-o", "{out}/m.pt"], 2, "is a folder"),
    "recalibrate on few rows": (
        ["recalibrate", "{small.pt}", "{few.npy}", "-o", "{out}/m.pt"],
        2,
        "Expected more than 16 training rows",
    ),
    "recalibrate on dead latents": (
        ["recalibrate", "{small.pt}", "{dead.npy}", "-o", "{out}/m.pt"],
        2,
        "Expected latents that vary in every direction",
    ),
    "recalibrate on another set": (
        ["recalibrate", "{small.pt}", "digits", "-o", "{out}/m.pt"],
        2,
        "rows of 16 dimensions, as the model has; digits has 64",
    ),
    "diagnose nothing": (["diagnose", "{out}/none.pt", "{grey.npy}"], 2, "does not exist"),
    "diagnose on nothing": (["diagnose", "{small.pt}", "{out}/none.npy"], 2, "does not exist"),
    "diagnose on an unknown set": (["diagnose", "{small}", "digts"], 2, "Expected a data set (mixture"),
    "diagnose on another set": (["diagnose", "{small}", "two-moons"], 2, "Expected rows of 16 dimensions"),
    "diagnose on other levels": (
        ["diagnose", "{small.pt}", "{grey.npy}", "--levels", "20"],
        2,
        "Expected rows for a model with 17 grey levels; grey has 20",
    ),
    "diagnose outside the domain": (["diagnose", "{small}", "{wild.npy}"], 2, "Expected x in [0, 17)"),
    "diagnose an altered folder": (["diagnose", "{altered}", "{grey.npy}"], 2, "was altered or damaged"),
    "diagnose a folder's settings": (
        ["diagnose", "{small}", "{grey.npy}", "--preprocess", "paper"],
        2,
        "Expected neither --latent-stats nor --preprocess",
    ),
    "certify nothing": (["certify", "{out}/none.pt"], 2, "does not exist"),
    "certify on nothing": (["certify", "{small.pt}", "{out}/none.npy"], 2, "does not exist"),
    "certify no rows": (["certify", "{small.pt}", "--rows", "0"], 2, "--rows"),
    "certify on another width": (
        ["certify", "{small}", "digits"],
        2,
        "rows of 16 dimensions, as the model has; digits has 64",
    ),
    "certify outside the domain": (["certify", "{small.pt}", "{wild.npy}"], 2, "Expected x in [0, 17)"),
    "certify an altered folder": (["certify", "{altered}"], 2, "was altered or damaged"),
    "certify a folder's settings": (
        ["certify", "{small}", "--preprocess", "paper"],
        2,
        "Expected neither --latent-stats nor --preprocess",
    ),
    "plot no picture": (["diagnose", "{small}", "{grey.npy}", "--plot", "{out}/x.pt"], 2, "Expected --plot FILE.png"),
    "plot an unknown kind": (["plot", "magic", "{small.pt}", "-o", "{out}/x.png"], 2, "'magic' is not one of"),
    "plot to no picture": (["plot", "samples", "{small.pt}", "-o", "{out}/x.pt"], 2, "Expected -o FILE.png"),
    "plot nowhere": (["plot", "samples", "{small.pt}"], 2, "Missing option"),
    "plot nothing": (["plot", "samples", "{out}/none.pt", "-o", "{out}/x.png"], 2, "does not exist"),
    "plot without data": (
        ["plot", "latents", "{small}", "-o", "{out}/x.png"],
        2,
        "Expected a data set behind the model",
    ),
    "plot samples of data": (["plot", "samples", "{small}", "digits", "-o", "{out}/x.png"], 2, "Expected no data set"),
    "plot paths of vectors": (
        ["plot", "interpolation", "{wide.pt}", "{grey.npy}", "-o", "{out}/x.png"],
        2,
        "Expected a model of images to interpolate; wide has rows of 5 numbers",
    ),
    "plot too many paths": (
        ["plot", "interpolation", "{small.pt}", "{grey.npy}", "-n", "9", "-o", "{out}/x.png"],
        2,
        "Expected 18 test images for 9 pairs; grey has 6",
    ),
    "plot the density of images": (
        ["plot", "density", "{small}", "{grey.npy}", "-o", "{out}/x.png"],
        2,
        "Expected a model of 2 dimensions to map its density; small has 16",
    ),
    "plot the activations of a folder": (
        ["plot", "activations", "{small}", "{grey.npy}", "-o", "{out}/x.png"],
        2,
        "activations to look into; small has none: the density graph returns z and log_prob only",
    ),
    "plot the activations of couplings": (
        ["plot", "activations", "{coupled.pt}", "{grey.npy}", "-o", "{out}/x.png"],
        2,
        "coupled has none: no layer of this model is an activation",
    ),
    "certify couplings": (["certify", "{coupled.pt}"], 2, "Expected layers whose stretch is bounded to certify"),
    "recalibrate couplings": (
        ["recalibrate", "{coupled.pt}", "{grey.npy}", "-o", "{out}/x.pt"],
        2,
        "got a RealNVP that ends with DenseCoupling",
    ),
    "solvers of couplings": (
        ["inspect", "--solvers", "{coupled.pt}"],
        2,
        "Expected a model with LU layers for a comparison of solvers",
    ),
    "a solver for couplings": (["{coupled.pt}", "--solver", "fused", "-o", "{out}/x"], 2, "which solves nothing"),
    "convolutions in float64": (
        ["{convolved.pt}", "--dtype", "float64", "-o", "{out}/x"],
        2,
        "Expected float32 for a convolutional RealNVP; got float64",
    ),
    "train couplings in blocks": (
        ["train", "digits", "--flow", "realnvp", "--blocks", "3", "-o", "{out}/m.pt"],
        2,
        "Expected neither --blocks nor --alpha for a RealNVP",
    ),
    "train couplings with signs": (
        ["train", "digits", "--flow", "realnvp-dense", "--signs", "random", "-o", "{out}/m.pt"],
        2,
        "Expected no signs for a RealNVP; only LU-Net has it",
    ),
    "train couplings without a schedule": (
        ["train", "digits", "--flow", "realnvp-dense", "--schedule", "schedule-free", "-o", "{out}/m.pt"],
        2,
        "Expected adam with a schedule of linear, one-cycle or constant",
    ),
    "train couplings a class": (
        ["train", "digits", "--flow", "realnvp", "--per-class", "-o", "{out}/m.pt"],
        2,
        "Expected --flow lunet with --per-class; got realnvp",
    ),
    "train convolutions of vectors": (
        ["train", "two-moons", "--flow", "realnvp", "-o", "{out}/m.pt"],
        2,
        "Expected images for --flow realnvp; two-moons holds vectors",
    ),
    "train couplings from an LU-Net": (
        ["train", "digits", "--flow", "realnvp-dense", "--from", "{wide.pt}", "-o", "{out}/m.pt"],
        2,
        "Expected a model to start from with the data's 64 dimensions",
    ),
    "train an LU-Net with a width": (
        ["train", "digits", "--width", "9", "-o", "{out}/m.pt"],
        2,
        "Expected no --width for lunet",
    ),
    "plot no activations": (
        ["plot", "activations", "{affine.pt}", "{vectors.npy}", "-o", "{out}/x.png"],
        2,
        "Expected a network with activations; affine has one block",
    ),
    "plot latents of another set": (
        ["plot", "latents", "{small}", "two-moons", "-o", "{out}/x.png"],
        2,
        "Expected rows of 16 dimensions",
    ),
    "plot the curve of a folder": (
        ["plot", "curve", "{small}", "-o", "{out}/x.png"],
        2,
        "Expected a model file with its history beside it",
    ),
    "plot no history": (["plot", "curve", "{small.pt}", "-o", "{out}/x.png"], 2, "small.history.json beside its model"),
    "plot a broken history": (["plot", "curve", "{broken.json}", "-o", "{out}/x.png"], 2, "Expected a history"),
    "plot a number of curves": (["plot", "curve", "{small.pt}", "-n", "3", "-o", "{out}/x.png"], 2, "Expected no -n"),
    "plot a folder's settings": (
        ["plot", "samples", "{small}", "--preprocess", "paper", "-o", "{out}/x.png"],
        2,
        "Expected neither --latent-stats nor --preprocess",
    ),
    "sample into a file's folder": (
        ["sample", "{small}", "-o", "{one.npy}/deep/x.npy"],
        2,
        "one.npy/deep/x.npy into; {one.npy} is a file",
    ),
    "plot into a file's folder": (
        ["plot", "samples", "{small}", "-o", "{one.npy}/x.png"],
        2,
        "Expected a folder to write {one.npy}/x.png into",
    ),
    "export onto a file": (["{small.pt}", "-o", "{one.npy}"], 2, "Expected a new folder; {one.npy} is a file"),
    "sample nothing": (["sample", "{out}/none", "-o", "{out}/x.npy"], 2, "none does not exist. Write one"),
    "sample a file": (["sample", "{one.npy}", "-o", "{out}/x.npy"], 2, "one.npy is a file. Write one"),
    "score numbers in no rows": (
        ["score", "{small}", "{flat.npy}"],
        2,
        "Expected rows of 16 numbers in {flat.npy}; it has shape (50,)",
    ),
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
    assert (got, fill(words) in flat, "Traceback" in stderr + stdout) == (code, True, False), stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_ctrl_c_is_130_with_a_sentence(ready, monkeypatch):
    from lunet_export.runtime import ExportedFlow

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ExportedFlow, "__init__", interrupt)
    code, _, err = run("sample", ready)
    assert (code, "Stopped by Ctrl-C" in err) == (130, True)


FULL_DISK = {
    "train": ["train", "{grey.npy}", "--epochs", "1", "-o", "{out}/m.pt"],
    "export": ["{small.pt}", "-o", "{out}/f"],
    "sample": ["sample", "{small}", "-n", "500", "-o", "{out}/x.npy"],
    "recalibrate": ["recalibrate", "{small.pt}", "{grey.npy}", "-o", "{out}/m.pt"],
    "diagnose": ["diagnose", "{small.pt}", "{grey.npy}", "--plot", "{out}/q.png"],
    "plot": ["plot", "latents", "{small.pt}", "{grey.npy}", "-o", "{out}/q.png"],
}


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX resource limits")
@pytest.mark.parametrize("arguments", FULL_DISK.values(), ids=FULL_DISK)
def test_a_full_disk_is_exit_code_4_and_leaves_nothing(arguments, model, ready, tmp_path):
    """The operating system refuses every byte of a file past 2 kB, as a full disk would."""
    import resource

    out = tmp_path / "out"
    out.mkdir()
    np.save(tmp_path / "grey.npy", np.random.default_rng(0).integers(0, 17, (60, 16), dtype=np.uint8))
    names = {"{out}": out, "{small}": ready, "{small.pt}": model, "{grey.npy}": tmp_path / "grey.npy"}
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


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (MemoryError(), "Expected a size that fits this machine's memory"),
        (
            OverflowError("the sum of 3 numbers does not fit into a double"),
            "got larger ones: the sum of 3 numbers does not fit into a double.",
        ),
        (OutOfMemoryError.of("9 rows"), "Expected memory for 9 rows; there is less."),
    ],
    ids=["memory", "range", "ours"],
)
def test_too_little_memory_and_too_large_a_number_are_told_apart(monkeypatch, raised, words):
    def refuse(*_):
        raise raised

    monkeypatch.setattr(doctor, "examine", refuse)
    code, out, err = run("doctor")
    assert (code, out) == (2, "")
    assert words in " ".join(err.split())
    assert ("memory" in err) == isinstance(raised, MemoryError)


def test_a_missing_extra_is_named(ready, model, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [
        name for name in sys.modules if name.startswith(("lunet_export.checkpoint", "lunet_export.torch_layers"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    code, _, err = run("check", ready, "--model", model)
    assert (code, install_extra("train") in err) == (2, True)


def test_failed_export_prints_the_table(model, tmp_path, monkeypatch):
    monkeypatch.setattr(triangular, "product", lambda lower, upper: lower)
    code, out, err = run(model, "-o", tmp_path / "bad")
    assert (code, "FAILED" in out, "Nothing was written" in err) == (1, True, True)
    assert not (tmp_path / "bad").exists()


def test_a_closed_pipe_is_no_failed_check(ready, tmp_path):
    np.save(tmp_path / "x.npy", np.full((3000, 16), 8))
    command = f"{sys.executable} -c 'from lunet_cli.main import main; main()' score {ready} {tmp_path / 'x.npy'}"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -1"], capture_output=True, text=True, check=False
    )
    assert (done.returncode in (0, 141), done.stderr) == (True, "")


def test_closed_streams_are_no_traceback(ready):
    command = f"{sys.executable} -c 'from lunet_cli.main import main; main()' inspect {ready} >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


def test_a_path_that_is_nearly_one_is_suggested(tmp_path):
    """What lies beside it, by its own name: two long paths always share most of their letters."""
    (tmp_path / "rows.npy").write_bytes(b"")
    (tmp_path / "model.pt").write_bytes(b"")
    (tmp_path / "exports" / "digits").mkdir(parents=True)
    (tmp_path / "exports" / "digits" / "manifest.json").write_text("{}")
    for arguments, said in (
        (["train", tmp_path / "row.npy", "-o", tmp_path / "x.pt"], f"Did you mean {tmp_path / 'rows.npy'}?"),
        (["export", tmp_path / "modle.pt"], f"Did you mean {tmp_path / 'model.pt'}?"),
        (["inspect", tmp_path / "exprts"], f"Did you mean {tmp_path / 'exports'}?"),
        (["sample", tmp_path / "exprts"], f"Did you mean {tmp_path / 'exports'}?"),
        (["sample", tmp_path / "exports"], f"Give one of its folders: {tmp_path / 'exports' / 'digits'}."),
        (["export", tmp_path / "another.pt"], "does not exist. Make one with: lunet-export train DATA"),
    ):
        code, _, err = run(*arguments)
        assert (code, said in err) == (2, True), err
