"""The suite under other kernels: what a setting asks for, and that a failure under one is a failure of all."""

import os

import pytest

from tests import kernels
from tests.kernels import KERNELS, SETTINGS, Active, run

NEWEST = Active("AVX512", "SkylakeX", "X86_V4", "OFF", "AVX512", "1")
OLDEST = Active("DEFAULT", "Katmai", "baseline", "COMPATIBLE", "SSE4.1", "1")


@pytest.fixture
def suite(tmp_path):
    """A test that passes, one that is skipped, and one that fails where it is told to."""
    file = tmp_path / "test_small.py"
    file.write_text(
        "import os, pytest\n"
        "def test_right(): pass\n"
        "def test_skipped(): pytest.skip('no reason')\n"
        "def test_wrong(): assert os.environ['OMP_NUM_THREADS'] != '2'\n"
        "def test_compiled(): assert not os.path.exists(os.environ['TORCHINDUCTOR_CACHE_DIR'])\n"
    )
    return [str(file), "-p", "no:cacheprovider", "-p", "no:xdist"]


def test_every_set_of_kernels_runs_with_one_and_two_threads():
    assert set(SETTINGS) == {f"{name}-{threads}" for name in KERNELS for threads in (1, 2)}
    assert len(SETTINGS) >= 4


def test_a_setting_is_its_own_whatever_the_shell_says(monkeypatch):
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    native, oldest = (SETTINGS[name].environment() for name in ("native-2", "sse-1"))
    assert "ATEN_CPU_CAPABILITY" not in native
    assert (oldest["ATEN_CPU_CAPABILITY"], oldest["OPENBLAS_CORETYPE"]) == ("default", "Prescott")
    assert (native["OMP_NUM_THREADS"], oldest["OMP_NUM_THREADS"]) == ("2", "1")
    assert native["PATH"] == os.environ["PATH"]


def test_counts_are_pytests_and_a_failure_is_one(suite):
    lines = []
    assert run(SETTINGS["sse-1"], suite, lines.append, lambda environment: OLDEST)
    assert not run(SETTINGS["native-2"], suite, lines.append, lambda environment: NEWEST)
    assert lines[0] == (
        "sse-1: PyTorch DEFAULT, MKL COMPATIBLE, oneDNN SSE4.1, OpenBLAS Katmai, NumPy baseline, threads 1"
    )
    assert lines[1].startswith("sse-1: passed: 3 passed, 0 failed, 1 skipped, ")
    assert lines[3].startswith("native-2: FAILED (pytest ended with 1): 2 passed, 1 failed, 1 skipped, ")


def test_kernels_that_are_not_there_are_no_pass(suite):
    """Planted: a switch that PyTorch does not follow."""
    lines = []
    assert not run(SETTINGS["sse-1"], suite, lines.append, lambda environment: NEWEST)
    assert lines[-1] == "sse-1: not run: PyTorch has AVX512 here and not DEFAULT"


def test_one_setting_that_fails_fails_all(monkeypatch, capsys):
    monkeypatch.setattr(kernels, "run", lambda setting, arguments, say: setting.threads == 1)
    assert kernels.main(["sse-1", "avx2-1", "--", "tests/flows", "-x"]) == 0
    assert kernels.main(["sse-1", "avx2-2"]) == 1
    with pytest.raises(SystemExit):
        kernels.main(["neon-1"])
    assert "expected settings of native-1" in capsys.readouterr().err
