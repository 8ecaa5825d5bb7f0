"""What the command line says where CUDA cannot run: one sentence with its cause, exit code 3, and nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cuda.conftest import PYTHON, WHEEL, machine
from tests.cuda.graphs import ROOT

COMMAND = "from lunet_cli.main import main; main()"
CPU_WHEEL = Path(sys.executable)


def sample(target: Path, environment: dict[str, str], *options: str, python: Path = PYTHON, provider: str = "cuda"):
    """One sample of the committed model."""
    arguments = ["sample", "exported/toy2d", "--provider", provider, "-n", "1", "-o", str(target), *options]
    return subprocess.run(
        [python, "-c", COMMAND, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture
def failing(tmp_path):
    """Sample, and what was said: the one line of the error."""

    def run(environment, *options, python=PYTHON) -> str:
        target = tmp_path / "x.npy"
        done = sample(target, environment, *options, python=python)
        assert (done.returncode, done.stdout) == (3, ""), done.stderr
        (line,) = done.stderr.splitlines()
        assert not target.exists()
        return line

    return run


def without(library: str, standin: Path, folder: Path) -> Path:
    """A copy of the stand-in that lacks one library."""
    shutil.copytree(standin, folder / "incomplete")
    (folder / "incomplete" / library).unlink()
    return folder / "incomplete"


def loads(library: str) -> bool:
    """True where the machine itself has this library."""
    command = [PYTHON, "-c", f"import ctypes; ctypes.CDLL({library!r})"]
    return subprocess.run(command, env=machine(None), capture_output=True, check=False).returncode == 0


def test_where_cuda_runs_nothing_is_said(standin, tmp_path):
    """The other tests can fail."""
    done = sample(tmp_path / "x.npy", machine(standin))
    assert (done.returncode, done.stderr) == (0, "")
    assert "provider cuda" in done.stdout
    assert (tmp_path / "x.npy").exists()


def test_no_cuda_libraries(failing):
    gone = [name for name in ("libcublas.so.13", "libcublasLt.so.13", "libcurand.so.10") if not loads(name)]
    if not gone:
        pytest.skip("needs a machine without the CUDA libraries")
    line = failing(machine(None))
    assert [name for name in gone if name not in line] == [], line


@pytest.mark.parametrize("library", ["libcublas.so.13", "libcublasLt.so.13", "libcudart.so.13", "libcurand.so.10"])
def test_one_library_is_missing(library, failing, standin, tmp_path):
    if loads(library):
        pytest.skip(f"needs a machine without {library}")
    line = failing(machine(without(library, standin, tmp_path)))
    others = {path.name for path in standin.iterdir()} - {library}
    if library != "libcudart.so.13":  # which the stand-ins of cuBLAS are linked to
        assert (library in line, [name for name in others if name in line]) == (True, []), line
    assert library in line


def test_no_driver(failing, standin, tmp_path):
    if loads("libcuda.so.1"):
        pytest.skip("needs a machine without NVIDIA's driver")
    line = failing(machine(without("libcuda.so.1", standin, tmp_path)))
    assert ("libcuda.so.1" in line, "driver" in line) == (True, True), line


def test_the_driver_is_too_old(failing, standin):
    line = failing(machine(standin, driver=12040))
    assert ("driver" in line, "12.4" in line) == (True, True), line


def test_there_is_no_device(failing, standin):
    line = failing(machine(standin, devices=0))
    assert ("driver" in line, "no device" in line) == (True, True), line


def test_the_device_does_not_exist(failing, standin):
    line = failing(machine(standin), "--device-id", "3")
    assert ("number 3" in line, "there are 1" in line) == (True, True), line


def test_another_device_is_taken_when_it_is_there(standin, tmp_path):
    done = sample(tmp_path / "x.npy", machine(standin, devices=4), "--device-id", "3")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("capability", "spelled"), [(70, "7.0"), (100, "10.0")])
def test_the_wheel_has_no_kernels_for_this_gpu(capability, spelled, failing, standin):
    line = failing(machine(standin, cc=capability))
    assert ("kernels" in line, f"compute capability {spelled}" in line, WHEEL in line) == (True, True, True), line


def test_both_packages_are_installed(failing, standin, tmp_path):
    """Where they overwrote each other, whatever else fails is of no interest."""
    described = tmp_path / "packages" / "onnxruntime-1.32.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime\nVersion: 1.32.0\n")
    environment = machine(standin, driver=12040)
    environment["PYTHONPATH"] += f":{described.parent}"
    line = failing(environment)
    assert f"onnxruntime 1.32.0 and onnxruntime-gpu {WHEEL} are installed" in line, line


def test_only_the_cpu_package_is_installed(failing, standin):
    ask = "import onnxruntime; print('CUDAExecutionProvider' in onnxruntime.get_available_providers())"
    if subprocess.run([CPU_WHEEL, "-c", ask], capture_output=True, text=True, check=True).stdout.strip() == "True":
        pytest.skip("needs the CPU's onnxruntime in the environment that runs the tests")
    line = failing(machine(standin), python=CPU_WHEEL)
    assert ("has none" in line, "pip uninstall -y onnxruntime && pip install" in line) == (True, True), line


def test_auto_takes_the_cpu_and_says_why(standin, tmp_path):
    done = sample(tmp_path / "x.npy", machine(standin, driver=12040), provider="auto")
    assert (done.returncode, done.stderr) == (0, "")
    assert ("provider cpu" in done.stdout, "CUDA 12.4 at most" in done.stdout) == (True, True), done.stdout


def test_doctor_sees_the_machine_and_is_not_fooled(standin):
    """Every device by its name, from the driver. No product is computed here, and it says so."""
    done = subprocess.run(
        [PYTHON, "-c", COMMAND, "doctor"],
        env=machine(standin, cc=120, devices=2),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.count("Stand-in GPU, compute capability 12.0")) == (1, 2), done.stdout
    assert "its answer is wrong" in done.stderr
