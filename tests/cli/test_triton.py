"""`lunet-export triton`: what it prints, what it refuses, and that nothing is left behind."""

import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lunet_export.embedding import triton
from lunet_export.embedding.triton import IMAGE
from lunet_export.installation import install
from tests.cli.conftest import run
from tests.test_imports import loaded_by


def test_it_says_what_was_written_and_the_next_commands(ready, tmp_path):
    repository = tmp_path / "repo"
    code, out, err = run("triton", ready, "-o", repository)
    assert (code, out) == (
        0,
        f"{repository}/small-density/1/model.onnx: x [N, 16] -> log_prob [N, 1], z [N, 16]\n"
        f"{repository}/small-sampling/1/model.onnx: z [N, 16] -> x [N, 16]\n",
    )
    server, ready_, client, end = err.splitlines()
    assert server == (
        f"next: docker run -d --name small-triton -p 8000:8000 -p 8001:8001 --mount "
        f"type=bind,source={repository},target=/models,readonly {IMAGE} tritonserver --model-repository=/models"
    )
    assert ready_ == "next: curl -sf --retry 60 --retry-delay 1 --retry-all-errors localhost:8000/v2/health/ready"
    assert client == f"next: python -m lunet_export.embedding.triton_client small --replay {ready}"
    assert end == "next: docker rm -f small-triton"


@pytest.mark.parametrize("name", ["two words", "it's", 'a,"b"', "a:b", "$HOME (1)"])
def test_the_folders_of_the_lines_are_those_that_were_written(name, ready, tmp_path, monkeypatch):
    """As a shell and docker read them: words, then a line of CSV."""
    (tmp_path / name).mkdir()
    folder = ready.rename(tmp_path / name / "small")
    monkeypatch.chdir(tmp_path / name)
    code, _, err = run("triton", "small", "-o", "repo")
    server, _, client, _ = (shlex.split(line.removeprefix("next: ")) for line in err.splitlines())
    (fields,) = csv.reader([server[server.index("--mount") + 1]])
    source = dict(field.partition("=")[::2] for field in fields)["source"]
    assert (code, Path(source), Path(client[-1]).resolve()) == (0, tmp_path / name / "repo", folder)
    assert (Path(source) / "small-density" / "1" / "model.onnx").is_file()


def test_without_its_package_the_client_is_installed_first(ready, tmp_path, monkeypatch):
    monkeypatch.setattr(triton, "find_spec", lambda name: None)
    assert f"next: {install('tritonclient[grpc]')}" in run("triton", ready, "-o", tmp_path / "repo")[2].splitlines()


def test_cuda_says_that_tf32_is_off(ready, tmp_path):
    code, out, err = run("triton", ready, "-o", tmp_path / "repo", "--target", "cuda")
    assert (code, "TF32 is off: use_tf32 0" in out, "--gpus all" in err) == (0, True, True)
    assert 'key: "use_tf32" value: "0"' in (tmp_path / "repo" / "small-density" / "config.pbtxt").read_text()
    code, out, err = run("triton", ready, "-o", tmp_path / "repo", "--version", 2)
    assert (code, "small-density, small-sampling is not changed; --force" in err) == (0, True)
    code, out, _ = run("triton", ready, "-o", tmp_path / "cpu")
    _, kept, _ = run("triton", ready, "-o", tmp_path / "cpu", "--version", 2, "--target", "cuda")
    assert "TF32" not in out + kept  # the configuration that stays does not ask for CUDA


def test_json_lists_what_was_written(ready, tmp_path):
    code, out, err = run("triton", ready, "-o", tmp_path / "repo", "--name", "flow", "--version", 3, "--json")
    document = json.loads(out)
    assert (code, err, document["left_out"]) == (0, "", [])
    density, sampling = document["models"]
    assert density == {
        "name": "flow-density",
        "version": 3,
        "graph": "density",
        "file": str(tmp_path / "repo" / "flow-density" / "3" / "model.onnx"),
        "config": str(tmp_path / "repo" / "flow-density" / "config.pbtxt"),
        "config_kept": False,
        "inputs": {"x": [-1, 16]},
        "outputs": {"log_prob": [-1, 1], "z": [-1, 16]},
    }
    assert (sampling["inputs"], sampling["outputs"]) == ({"z": [-1, 16]}, {"x": [-1, 16]})


def test_random_sampling_is_left_out_with_a_reason(model, tmp_path):
    assert run(model, "-o", tmp_path / "all", "--rng")[0] == 0
    code, _, err = run("triton", tmp_path / "all", "-o", tmp_path / "repo")
    assert (code, "random_sampling is left out: it takes a shape" in err) == (0, True)


REFUSED = {
    "missing folder": (["{out}/none"], "Expected an exported folder"),
    "altered folder": (["{altered}"], "was altered or damaged"),
    "version exists": (["{small}"], "small-density does not have; 1 exists. Give --version 2, or --force"),
    "name of a path": (["{small}", "--name", "a/b"], "Give another --name"),
    "too large a batch": (["{small}", "--max-batch", "5000"], "--max-batch from 1 to 4096"),
    "version 0": (["{small}", "--version", "0"], "--version from 1"),
    "unknown target": (["{small}", "--target", "tpu"], "tpu"),
    "repository is a file": (["{small}", "-o", "{out}/keep.txt"], "is a file. Give another path"),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_refusals_get_one_sentence_and_leave_nothing(arguments, words, ready, tmp_path):
    out, altered = tmp_path / "out", tmp_path / "altered"
    altered.mkdir()
    for file in ready.iterdir():
        (altered / file.name).write_bytes(file.read_bytes())
    (altered / "sampling.onnx").write_bytes(b"\0")
    assert run("triton", ready, "-o", out)[0] == 0
    (out / "keep.txt").write_text("x")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    names = {"{out}": out, "{small}": ready, "{altered}": altered}
    for name, path in names.items():
        arguments = [argument.replace(name, str(path)) for argument in arguments]
    code, stdout, stderr = run("triton", "-o", out, *arguments)
    flat = " ".join(stderr.replace("│", " ").split())
    assert (code, words in flat, stdout, "Traceback" in stderr) == (2, True, "", False), stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX resource limits")
def test_a_full_disk_is_exit_code_4_and_leaves_nothing(ready, tmp_path):
    import resource

    command = [
        sys.executable,
        "-c",
        "from lunet_cli.main import main; main()",
        "triton",
        ready,
        "-o",
        tmp_path / "repo",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    assert (done.returncode, "The operating system refused" in done.stderr) == (4, True), done.stderr
    assert not (tmp_path / "repo").exists()


def test_it_needs_no_torch_onnx_or_protobuf(ready, tmp_path):
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from lunet_cli.main import app\n"
        f"assert CliRunner().invoke(app, ['triton', {str(ready)!r}, '-o', {str(tmp_path / 'repo')!r}]).exit_code == 0\n"
        "assert not {'google.protobuf', 'tritonclient', 'onnxruntime'} & set(sys.modules)"
    )
    assert loaded_by(code) <= {"typer"}
