"""lunet.h with provider "cuda": every node there or a sentence, TF32 off. The pretended GPU's numbers are wrong."""

import json
import shutil
import subprocess
from pathlib import Path

import onnx
import pytest

from lunet_export.artifact import sealed
from lunet_export.embedding import write_project
from lunet_export.export import Provenance, export
from lunet_export.files.reading import sha256
from tests import conditional
from tests.cuda.conftest import WHEEL, machine
from tests.cuda.graphs import ROOT
from tests.cuda.journal import TF32, Counts

TOY = ROOT / "exported" / "toy2d"
OPENED = """
#define LUNET_IMPLEMENTATION
#include "lunet.h"
int main(int argc, char **argv)
{
    lunet_options options = {argv[2], "cuda", 1, 0, argc > 3};
    lunet *flow;
    int code = lunet_open(&flow, argv[1], &options);
    double x[4] = {0}, context[3] = {0}, log_prob;
    if (!code && lunet_context_dim(flow)) code = lunet_log_prob_given(flow, x, 1, context, 1, &log_prob, NULL);
    else if (!code) code = lunet_log_prob(flow, x, 1, &log_prob, NULL);
    puts(code ? lunet_error() : "ran");
    lunet_close(flow);
    return code;
}
"""

#: Its size of a batch is computed on the CPU, where a small graph of shapes belongs.
ON_THE_CPU = """
<ir_version: 8, opset_import: ["" : 18]>
faulty (float[batch, 2] x) => (float[batch] log_prob, float[batch, 2] z) <int64 first = {0}, int64[1] axis = {1}> {
    shape = Shape (x)
    n = Gather (shape, first)
    scale = Cast <to = 1> (n)
    z = Mul (x, scale)
    log_prob = ReduceSum <keepdims = 0> (z, axis)
}
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    """replay.c, and one that only opens and runs once."""
    folder = tmp_path_factory.mktemp("c") / "project"
    write_project("c", TOY, folder)
    (folder / "opened.c").write_text(OPENED)
    for name in ("replay", "opened"):
        command = ["gcc", "-std=c11", "-O1", f"{name}.c", "-o", name, "-lm", "-ldl"]
        subprocess.run(command, cwd=folder, check=True)
    return folder


def run(program: Path, folder: Path, *arguments: object, standin: Path | None, **settings: object):
    return subprocess.run(
        [program, folder, *map(str, arguments)],
        env=machine(standin, cc=86, **settings),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def library(providers) -> Path:
    return providers / f"libonnxruntime.so.{WHEEL}"


@pytest.mark.parametrize("tf32", [False, True])
def test_it_runs_on_the_gpu_and_tf32_is_off_unless_asked_for(tf32, programs, library, standin, tmp_path):
    log = tmp_path / "log"
    done = run(programs / "opened", TOY, library, *["tf32"] * tf32, standin=standin, log=log)
    assert (done.returncode, done.stdout) == (0, "ran\n"), done.stdout
    counts = Counts.of(log.read_text().splitlines())
    assert counts.products >= 13  # one product per block
    assert counts.downloads >= 1
    assert (TF32 in counts.math_modes) == tf32


def test_contexts_run_on_the_gpu_too(programs, library, standin, tmp_path):
    export(conditional.lu_net(), tmp_path / "f", Provenance("c"))
    done = run(programs / "opened", tmp_path / "f", library, standin=standin, log=tmp_path / "log")
    assert (done.returncode, done.stdout) == (0, "ran\n"), done.stdout
    counts = Counts.of((tmp_path / "log").read_text().splitlines())
    assert counts.products >= 6  # one per LU layer and one per affine map of the context, of which there are 3 each


def test_replay_does_not_believe_what_the_pretended_gpu_computes(programs, library, standin):
    done = run(programs / "replay", TOY, "cuda", library, standin=standin)
    assert done.returncode in (1, 2), done.stdout
    assert f"runtime ONNX Runtime {WHEEL}, cuda" in done.stdout
    assert "FAILED" in done.stdout or "Expected finite" in done.stderr


def test_without_cuda_it_is_refused_in_one_line(programs, library):
    done = run(programs / "opened", TOY, library, standin=None)
    (line,) = done.stdout.splitlines()
    assert (done.returncode, line.startswith("Expected ONNX Runtime to run on CUDA")) == (3, True), line


def test_a_node_that_cuda_does_not_have_is_no_silent_fallback(programs, library, standin, tmp_path):
    folder = tmp_path / "toy2d"
    shutil.copytree(TOY, folder)
    graph = onnx.parser.parse_model(ON_THE_CPU).SerializeToString()
    (folder / "density.onnx").write_bytes(graph)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["density.onnx"], manifest["bytes"]["density.onnx"] = sha256(graph), len(graph)
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    done = run(programs / "opened", folder, library, standin=standin)
    assert done.returncode == 3, done.stdout
    assert "fallback" in done.stdout or "CPU" in done.stdout
