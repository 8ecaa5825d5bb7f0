"""The doctor tries each provider and believes no one."""

import numpy as np
import pytest

from lunet_export.graphs import builder, floor
from lunet_export.runtime import doctor, environment
from lunet_export.runtime.cuda import CudaOptions
from lunet_export.runtime.environment import Device, Driver, Library


def test_its_graph_is_what_the_builder_makes():
    assert doctor._PRODUCT.read_bytes() == builder.serialize(floor.product(doctor._SIZE))


def test_this_machine():
    report = doctor.examine()
    cpu, cuda = report.attempts
    assert (cpu.provider, cpu.runs, cpu.problem, cpu.exact) == ("cpu", True, None, True)
    assert cpu.seconds > 0
    assert cuda.provider == "cuda"
    assert cuda.runs or cuda.problem.startswith("Expected")
    assert "onnx" in report.packages
    assert report.as_json()["attempts"][0]["runs"] is True


def tf32(array):
    """float32 with the last 13 bits cut off."""
    return (array.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


@pytest.mark.parametrize(
    ("device", "asked", "exact", "problem"),
    [
        (lambda a, b: a @ b, False, True, None),
        (lambda a, b: tf32(a) @ tf32(b), False, False, "rounded to TF32, which was not asked for"),
        (lambda a, b: tf32(a) @ tf32(b), True, False, None),
        (lambda a, b: a + b, False, False, "cannot be trusted"),
        (lambda a, b: np.full_like(a, np.nan), True, False, "the largest error is inf"),
    ],
)
def test_answers_are_judged(monkeypatch, device, asked, exact, problem):
    monkeypatch.setattr(doctor, "open_sessions", lambda *_, **__: ([None], None))
    monkeypatch.setattr(doctor, "run", lambda session, outputs, feeds: [device(feeds["a"], feeds["b"])])
    attempt = doctor.attempt("cuda", CudaOptions(tf32=asked))
    assert (attempt.runs, attempt.exact) == (True, exact)
    assert (attempt.problem is None) if problem is None else (problem in attempt.problem)


def test_what_is_missing_is_in_the_report(monkeypatch):
    monkeypatch.setattr(environment, "libraries", lambda: [Library("libcurand.so.10", "missing")])
    monkeypatch.setattr(environment, "driver", lambda: Driver(13000, None, (Device(0, "NVIDIA A10", "8.6", 24),)))
    monkeypatch.setattr(environment, "packages", lambda: {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    report = doctor.examine().as_json()
    assert report["libraries"] == [{"name": "libcurand.so.10", "problem": "missing"}]
    assert report["driver"]["devices"][0]["capability"] == "8.6"
    assert "overwrite each other" in report["clash"]
    assert report["variables"]["CUDA_VISIBLE_DEVICES"] == "0"
