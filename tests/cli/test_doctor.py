"""`doctor`, and `check` as the self-test of a GPU."""

import json
import sys

import pytest

from lunet_export import __version__
from lunet_export.runtime import doctor
from lunet_export.runtime.doctor import Attempt
from lunet_export.runtime.environment import Device, Driver, Library, Processors, Room
from tests.cli.conftest import run

CPU = Attempt("cpu", runs=True, problem=None, exact=True, seconds=0.05)
CUDA = Attempt("cuda", runs=True, problem=None, exact=True, seconds=0.5)
NO_CUDA = Attempt("cuda", runs=False, problem="Expected an NVIDIA driver 580 or newer; there is none.")
WRONG = Attempt("cuda", runs=True, problem="Expected exact products; the largest error is 1.0e+00.", exact=False)


@pytest.fixture
def machine(monkeypatch):
    def change(cuda, cpu=CPU, clash=None):
        report = doctor.Report(
            system="Linux 6.1, x86_64",
            python="3.11.7",
            packages={"onnxruntime-gpu": "1.31.1", "numpy": "2.4.6"},
            clash=clash,
            libraries=[Library("libcublas.so.13", None), Library("libcurand.so.10", "missing")],
            driver=Driver(13010, None, (Device(0, "NVIDIA A10", "8.6", 24 * 10**9),)),
            variables={"CUDA_VISIBLE_DEVICES": "0"},
            attempts=[cpu, cuda],
            processors=Processors(machine=8, usable=6),
            threads=6,
            room=Room(16 * 10**9, None, 2 * 10**9),
        )
        monkeypatch.setattr(doctor, "examine", lambda options: report)

    return change


@pytest.mark.parametrize(
    ("cuda", "asked", "code", "taken"),
    [
        (CUDA, "auto", 0, "cuda"),
        (CUDA, "cuda", 0, "cuda"),
        (NO_CUDA, "auto", 0, "cpu"),
        (NO_CUDA, "cpu", 0, "cpu"),
        (NO_CUDA, "cuda", 3, "cpu"),
        (WRONG, "cuda", 1, "cuda"),
        (WRONG, "auto", 1, "cuda"),
    ],
)
def test_the_exit_code_is_that_of_the_provider_that_was_asked_for(machine, cuda, asked, code, taken):
    machine(cuda)
    got, out, err = run("doctor", "--provider", asked, "--json")
    document = json.loads(out)
    assert (got, document["auto_takes"], document["asked"]) == (code, taken, asked)
    assert document["packages"]["onnxruntime-gpu"] == "1.31.1"
    assert bool(err) == bool(code)


def test_without_any_provider_auto_fails_too(machine):
    machine(NO_CUDA, Attempt("cpu", runs=False, problem="Expected a graph that ONNX Runtime can load."))
    code, out, err = run("doctor", "--json")
    assert (code, json.loads(out)["auto_takes"]) == (3, None)
    assert "a graph that ONNX Runtime can load" in " ".join(err.split())
    assert "auto takes nothing: neither runs" in " ".join(run("doctor")[1].split())


def test_without_onnxruntime_the_code_is_that_of_every_command(machine, ready, monkeypatch):
    machine(NO_CUDA, Attempt("cpu", runs=False, problem="Expected ONNX Runtime; it is not installed.", missing=True))
    code, _, err = run("doctor")
    assert (code, "Expected ONNX Runtime; it is not installed." in " ".join(err.split())) == (2, True)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert [run(*command)[0] for command in (["doctor"], ["check", ready])] == [2, 2]


@pytest.mark.parametrize("asked", ["auto", "cpu"])
def test_two_onnxruntimes_are_no_good_machine(machine, asked):
    machine(NO_CUDA, clash="Expected one ONNX Runtime; two are installed and overwrite each other.")
    code, out, err = run("doctor", "--provider", asked, "--json")
    assert (code, json.loads(out)["auto_takes"]) == (3, "cpu")
    assert "two are installed and overwrite each other" in " ".join(err.split())


def test_the_table_names_what_is_there_and_what_is_not(machine):
    machine(NO_CUDA)
    _, out, _ = run("doctor")
    flat = " ".join(out.split())
    for words in (
        "processors 6 of 8 may be used",
        "threads 6, per session on the CPU",
        "memory 16.0 GB, unknown available",
        "disk 2.0 GB free here",
        "onnxruntime-gpu 1.31.1",
        "libcublas.so.13 loads",
        "libcurand.so.10 missing",
        "NVIDIA driver supports CUDA 13.1",
        "device 0 NVIDIA A10, compute capability 8.6, 24 GB",
        "CUDA_VISIBLE_DEVICES 0",
        "cpu runs: products exact, no TF32, session and first run in 0.05 s",
        "cuda does not run. Expected an NVIDIA driver 580 or newer; there is none.",
        "auto takes cpu",
    ):
        assert words in flat, words


def test_this_machine_is_examined_for_real():
    code, out, _ = run("doctor", "--json")
    assert code == 0
    document = json.loads(out)
    assert document["attempts"][0]["runs"] is True
    assert document["packages"]["lunet-export"] == __version__
    assert {"numpy", "onnx", "torch", "pyarrow", "ray"} <= set(document["packages"])
    assert document["variables"]["ORT_DISABLE_TELEMETRY"] == "1"
    assert document["processors"]["machine"] >= document["processors"]["usable"] > 0
    assert document["room"]["disk"] > 0


def test_the_self_test_of_a_gpu(ready, tmp_path, cuda_on_host):
    report = tmp_path / "gpu.json"
    code, out, _ = run("check", ready, "--provider", "cuda", "--report", report)
    assert code == 0, out
    assert "28 of 28 checks passed, provider cuda (asked for)" in out
    for words in ("density: 7 nodes on CUDAExecutionProvider", "TF32 off", "CUDA graph", "CUDA = CPU, x"):
        assert words in out, words
    document = json.loads(report.read_text())
    assert document["passed"] is True
    assert document["gpu"]["placement"]["sampling"] == {"CUDAExecutionProvider": 7}
    assert document["gpu"]["opening"]["first_run"] > 0
    assert document["machine"]["attempts"][0]["provider"] == "cpu"
    assert document["manifest"]["model"]["name"] == "small"
    assert len(document["checks"]) == 28


def test_a_report_is_written_when_the_answers_are_wrong(ready, tmp_path, cuda_on_host, monkeypatch):
    from lunet_export.runtime import ExportedFlow

    real = ExportedFlow.decode
    monkeypatch.setattr(
        ExportedFlow, "decode", lambda flow, z, **given: real(flow, z, **given) + (flow.provider == "cuda")
    )
    report = tmp_path / "gpu.json"
    code, _, err = run("check", ready, "--provider", "cuda", "--report", report)
    assert code == 1
    assert "Do not use this export on this GPU" in err
    assert json.loads(report.read_text())["passed"] is False


@pytest.mark.parametrize("options", [["--provider", "cuda"], ["--provider", "cuda", "--device-id", "3"]])
def test_a_report_is_written_when_cuda_does_not_open(ready, tmp_path, options):
    report = tmp_path / "gpu.json"
    code, out, err = run("check", ready, "--report", report, *options)
    document = json.loads(report.read_text())
    assert (code, out, document["passed"]) == (3, "", False)
    assert document["error"] in " ".join(err.split())
    assert (document["machine"]["attempts"][1]["runs"], document["manifest"]["dtype"]) == (False, "float32")


def test_a_report_that_cannot_be_written_is_refused_before_the_checks(ready, tmp_path):
    code, out, err = run("check", ready, "--report", tmp_path)
    assert (code, out) == (2, "")
    assert "Expected a file for --report" in " ".join(err.replace("│", " ").split())


def test_tf32_is_judged_by_its_own_tolerances(ready, cuda_on_host):
    code, out, _ = run("check", ready, "--provider", "cuda", "--tf32", "--json")
    document = json.loads(out)
    strict = json.loads(run("check", ready, "--provider", "cuda", "--json")[1])
    assert (code, document["gpu"]["tf32"], strict["gpu"]["tf32"]) == (0, "on", "off")
    assert document["checks"][0]["tolerance"] > 100 * strict["checks"][0]["tolerance"]
