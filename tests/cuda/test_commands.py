"""Commands on the pretended GPU, which computes nothing: what they find, and that they do not believe its numbers."""

import json
import subprocess

import pytest

from tests.cuda.conftest import PYTHON, machine
from tests.cuda.graphs import ROOT
from tests.cuda.test_failures import COMMAND

#: The lines of a benchmark, its answers not judged.
LINES = """
import json
from lunet_export import ExportedFlow
from lunet_export.bench import latency
latency.__globals__["validate_answers"] = lambda *_: None
flow = ExportedFlow("exported/digits", provider="cuda")
rows = latency(flow, {}, batches=[1, 8], seconds=0.02)
print(json.dumps([row.as_json() for row in rows]))
"""
MISSPELT = """
from lunet_export import ExportedFlow
from lunet_export.errors import ProviderError
try:
    ExportedFlow("exported/toy2d", provider="cuda", cuda={"use_tf3": True})
except ProviderError as error:
    print(error.exit_code, error)
"""
UNKNOWN = """
from lunet_export import ExportedFlow
from lunet_export.errors import ProviderError
from lunet_export.runtime.cuda import CudaOptions
CudaOptions.for_session = lambda self, *, cuda_graph: {"use_tf3": "0"}
try:
    ExportedFlow("exported/toy2d", provider="cuda")
except ProviderError as error:
    print(error.exit_code, error)
"""

#: Rows of one GPU for a flow on another, and what the second one waits for.
SECOND = """
import os
from pathlib import Path
from lunet_export import ExportedFlow
from lunet_export.errors import BadInputError
log = Path(os.environ["CUDASTANDIN_LOG"])
first = ExportedFlow("exported/toy2d", provider="cuda").on_device.sample(3, seed=0)
for cuda_graph in (False, True):
    device = ExportedFlow("exported/toy2d", provider="cuda", cuda={"device_id": 1}, cuda_graph=cuda_graph).on_device
    log.write_text("")
    print(device.sample(3, seed=0).__dlpack_device__(), "SYNC cuCtxSynchronize 1" in log.read_text().splitlines()[0])
    for rows in (first, first.ortvalue):
        try:
            device.density(rows)
        except BadInputError as error:
            print(error)
"""


@pytest.fixture
def on_gpu(standin):
    def run(program: str, *arguments: str, **settings) -> subprocess.CompletedProcess[str]:
        command = [PYTHON, "-c", program, *arguments]
        return subprocess.run(
            command, env=machine(standin, cc=86, **settings), cwd=ROOT, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize(("options", "tf32"), [([], "off"), (["--tf32"], "on")])
def test_the_self_test_finds_everything_but_right_numbers(on_gpu, options, tf32, tmp_path):
    report = tmp_path / "gpu.json"
    arguments = ["check", "exported/digits", "--provider", "cuda", "--report", str(report), *options]
    done = on_gpu(COMMAND, *arguments)
    assert done.returncode == 1, done.stderr
    assert "golden: density, log_prob" in done.stderr
    found = json.loads(report.read_text())
    assert (found["provider"], found["passed"]) == ("cuda", False)
    assert found["gpu"]["placement"] == {
        "density": {"CUDAExecutionProvider": 47},
        "sampling": {"CUDAExecutionProvider": 112},
    }
    assert found["gpu"]["tf32"] == tf32
    assert {ways for row in found["gpu"]["latency"] for ways in row["ways"]} == {"arrays", "IO binding", "CUDA graph"}
    assert found["machine"]["driver"]["devices"][0]["name"] == "Stand-in GPU"
    assert found["machine"]["attempts"][1]["runs"] is True
    assert any(check["name"] == "device: replayed = launched, batch 256, x" for check in found["checks"])


def test_wrong_answers_are_not_timed(on_gpu):
    done = on_gpu(COMMAND, "bench", "exported/digits", "--provider", "cuda", "--seconds", "0.05")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Expected right answers before timing" in done.stderr


def test_host_and_device_are_timed_apart(on_gpu):
    done = on_gpu(LINES)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["runner"] for row in rows[:3]] == ["ONNX Runtime, cuda", "+ IO binding", "+ CUDA graph"]
    assert len(rows) == 2 * 2 * 3
    for row in rows:
        apart = row["apart"]
        assert (apart is None) == (row["runner"] == "ONNX Runtime, cuda")
        assert apart is None or (apart["device"] is None) == (row["runner"] == "+ IO binding")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (MISSPELT, "Expected CUDA options of device_id, memory_limit, arena, tf32; got 'use_tf3'"),
        (UNKNOWN, "Expected an ONNX Runtime that knows the CUDA option use_tf3; this one does not"),
    ],
)
def test_misspelt_options_do_not_become_the_cpu(on_gpu, program, words):
    done = on_gpu(program)
    assert done.stdout.startswith(f"3 {words}"), (done.stdout, done.stderr)


def test_the_second_gpu_is_awaited_and_the_first_ones_tensors_are_refused(on_gpu, tmp_path):
    done = on_gpu(SECOND, devices=2, log=tmp_path / "log")
    refused = "Expected a tensor on cuda:1, where the flow runs; got one elsewhere. Move it there."
    assert done.stdout.splitlines() == ["(2, 1) True", refused, refused] * 2, done.stderr


def test_a_report_is_written_where_the_arena_is_too_small(on_gpu, tmp_path):
    report = tmp_path / "gpu.json"
    arguments = ["check", "exported/digits", "--provider", "cuda", "--memory-limit", "1", "--report", str(report)]
    done = on_gpu(COMMAND, *arguments)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, "--memory-limit" in line) == (3, True), line
    assert json.loads(report.read_text())["passed"] is False
