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
latency.__globals__["refuse_wrong"] = lambda *_: None
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


@pytest.fixture
def on_gpu(standin):
    def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [PYTHON, "-c", program, *arguments]
        return subprocess.run(
            command, env=machine(standin, cc=86), cwd=ROOT, capture_output=True, text=True, check=False
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
