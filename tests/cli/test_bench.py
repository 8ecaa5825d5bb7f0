"""`lunet-export bench`: what it prints, writes and refuses. It runs for a moment; nothing here looks at a time."""

import builtins
import csv
import json
import sys

import pytest
import torch
from PIL import Image

from lunet_cli.bench import parse_batches
from lunet_export import checkpoint
from tests.cli.conftest import run
from tests.networks import network

QUICK = ("--seconds", 0.05, "--batch", "1,3", "--threads", 1, "--provider", "cpu")


@pytest.fixture(autouse=True)
def _traced(monkeypatch):
    """The front end of `torch.compile` alone: compiling in earnest takes a minute."""
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **settings: real(f, backend="eager", **settings))


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_bench_compares_with_pytorch_and_the_floor(ready, model, threads):
    code, out, err = run("bench", ready, "--model", model, *QUICK, "--batch", 3, "--solver", "fused", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")  # quiet where no terminal is
    runners = ["ONNX Runtime, cpu", "eager PyTorch", "torch.compile", "floor"]
    rows = document["rows"]
    assert {row["batch"] for row in rows} == {3}
    assert [row["runner"] for row in rows if row["direction"] == "density"] == runners
    assert [r["runner"] for r in rows if r["direction"] == "sampling"] == [runners[0], "solver fused", *runners[1:]]
    assert [row["faster"] is None for row in rows[:4]] == [True, False, False, True]
    assert [row["times_floor"] is None for row in rows[:4]] == [False, False, False, True]
    assert {"p50", "p90", "p95", "p99"} <= document["rows"][0]["time"].keys()
    assert {"onnxruntime", "torch", "threads", "processor", "opening"} <= document.keys()
    assert (document["tf32"], document["torch_threads"]) == ("not used", 1)
    assert {"density, batch 1", "sampling, batch 3"} <= document["compile_seconds"].keys()
    assert document["graphs"]["sampling"]["bytes"] == (ready / "sampling.onnx").stat().st_size
    assert document["graphs"]["density"]["nodes"] > 0
    assert document["peak_memory"] is None or document["peak_memory"]["batch"] == 3


def test_bench_writes_csv_and_a_plot_beside_its_table(ready, tmp_path):
    code, out, _ = run("bench", ready, *QUICK, "--csv", tmp_path / "new" / "b.csv", "--plot", tmp_path / "b.png")
    assert code == 0
    for words in ("p99", "over the floor", "answers were checked first", "TF32 not used", "nodes", "read and verified"):
        assert words in out
    with (tmp_path / "new" / "b.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["direction"], row["batch"]) for row in rows[::2]] == [
        ("density", "1"),
        ("sampling", "1"),
        ("density", "3"),
        ("sampling", "3"),
    ]
    with Image.open(tmp_path / "b.png") as picture:
        assert min(picture.size) > 300
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["b.csv"]


def test_bench_prints_markdown(ready):
    code, out, _ = run("bench", ready, *QUICK, "--warmup", 0, "--markdown")
    lines = out.splitlines()
    assert (code, lines[0].startswith("| milliseconds per call | p50 |")) == (0, True)
    assert {line.count("|") for line in lines[:10]} == {10}
    assert "answers were checked first" in lines[-1]


def test_bench_leaves_the_floor_out_where_onnx_is_not_installed(ready, monkeypatch):
    real = builtins.__import__

    def without_onnx(name, *rest):
        if name.partition(".")[0] == "onnx":
            raise ModuleNotFoundError("No module named 'onnx'", name="onnx")
        return real(name, *rest)

    for name in [name for name in sys.modules if name.startswith("lunet_export.graphs")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_onnx)
    code, out, _ = run("bench", ready, *QUICK, "--json")
    assert (code, {row["runner"] for row in json.loads(out)["rows"]}) == (0, {"ONNX Runtime, cpu"})


@pytest.mark.parametrize("how", ["asked", "no compiler"])
def test_bench_without_torch_compile(ready, model, monkeypatch, threads, how):
    def no_compiler(function, **_):
        def call(rows):
            raise RuntimeError("No working C++ compiler found")

        return call

    monkeypatch.setattr(torch, "compile", no_compiler)
    options = ["--no-compile"] if how == "asked" else []
    code, out, err = run("bench", ready, "--model", model, *QUICK, *options, "--json")
    document = json.loads(out)
    assert (code, document["compile_seconds"]) == (0, {})
    assert {row["runner"] for row in document["rows"]} == {"ONNX Runtime, cpu", "eager PyTorch", "floor"}
    assert err.count("\n") == (0 if how == "asked" else 1)
    assert how == "asked" or "torch.compile is not timed. Expected torch.compile to run; it says: No working" in err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--batch", "1,x"], "Expected --batch of positive numbers such as 1,64; got 1,x."),
        (["--batch", "0"], "Expected --batch of positive numbers"),
        (["--solver", "fused"], "Expected --model beside --solver"),
        (["--markdown", "--json"], "Expected one of --markdown and --json; got both."),
        (["--plot", "latency.txt"], "Expected --plot of .png, .svg, .pdf; got latency.txt."),
        (["--csv", "."], "Expected a file for --csv; . is a folder."),
    ],
)
def test_bad_options_get_a_sentence(ready, tmp_path, monkeypatch, options, sentence):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    code, out, err = run("bench", ready, *options)
    words = " ".join(err.replace("│", " ").split())
    assert (code, out == "" or "--json" in options, sentence in words) == (2, True, True)
    assert sorted(tmp_path.iterdir()) == before


def test_an_unknown_solver_and_another_model_are_refused(ready, model, tmp_path, threads):
    code, out, err = run("bench", ready, "--model", model, *QUICK, "--no-compile", "--solver", "fused,magic")
    assert (code, out, "magic" in err) == (2, "", True)
    torch.save({}, tmp_path / "other.pt")
    assert run("bench", ready, "--model", tmp_path / "other.pt", *QUICK)[0] == 2
    checkpoint.write_weights(tmp_path / "plane.pt", network(2, 2), image_shape=None, training={}, examples=None)
    code, _, err = run("bench", ready, "--model", tmp_path / "plane.pt", *QUICK)
    assert (code, "Expected the model that small was exported from" in err) == (2, True)


def test_an_unwritable_plot_stops_before_anything_is_timed(ready, tmp_path):
    (tmp_path / "file").write_text("mine")
    code, out, err = run("bench", ready, *QUICK, "--plot", tmp_path / "file" / "b.png")
    assert (code, out, f"{tmp_path / 'file'} is a file" in err) == (2, "", True)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_wrong_answer_is_not_timed(ready, rewrite, tmp_path):
    """The vectors say something else, hashes in order."""
    from lunet_export.files.reading import sha256

    vectors = json.loads((ready / "vectors.json").read_text())
    vectors["density"]["log_prob"][2] += 0.01
    data = json.dumps(vectors).encode()
    (ready / "vectors.json").write_bytes(data)
    rewrite(ready, lambda document: document["sha256"].update({"vectors.json": sha256(data)}))
    code, out, err = run("bench", ready, *QUICK, "--csv", tmp_path / "b.csv")
    assert (code, out, "Expected right answers before timing" in err) == (1, "", True)
    assert not (tmp_path / "b.csv").exists()


def test_batches_are_numbers_each_once():
    assert parse_batches(" 1, 64,1") == [1, 64]
