"""The stand-in itself: it answers as the real libraries do, and says when it cannot stand in."""

import json
import subprocess

import pytest

from tests.cuda.conftest import PYTHON, machine
from tests.cuda.graphs import ROOT
from tests.cuda.standin import build as standin_build
from tests.cuda.standin.build import PROVIDER, BuildError, build

ASK = """
import ctypes, json
runtime, driver = ctypes.CDLL("libcudart.so.13"), ctypes.CDLL("libcuda.so.1")
number, text = ctypes.c_int(-1), ctypes.c_char_p()
runtime.cudaGetErrorString.restype = runtime.cudaGetErrorName.restype = ctypes.c_char_p
error = runtime.cudaGetDeviceCount(ctypes.byref(number))
answers = {"runtime": [error, number.value, runtime.cudaGetErrorName(error).decode(),
                       runtime.cudaGetErrorString(error).decode()]}
answers["set"] = [runtime.cudaSetDevice(0), runtime.cudaSetDevice(1)]
driver.cuDriverGetVersion(ctypes.byref(number))
answers["version"] = number.value
error = driver.cuInit(0)
driver.cuGetErrorString(error, ctypes.byref(text))
answers["init"] = [error, text.value.decode()]
answers["count"] = [driver.cuDeviceGetCount(ctypes.byref(number)), number.value]
name = ctypes.create_string_buffer(64)
answers["name"] = [driver.cuDeviceGetName(name, 64, 0), name.value.decode()]
capability = []
for attribute in (75, 76):
    driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, 0)
    capability.append(number.value)
answers["capability"] = capability
print(json.dumps(answers))
"""


def answers(standin, **settings):
    done = subprocess.run(
        [PYTHON, "-c", ASK], env=machine(standin, **settings), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_an_ordinary_machine(standin):
    assert answers(standin, cc=120, devices=2) == {
        "runtime": [0, 2, "cudaSuccess", "no error"],
        "set": [0, 0],
        "version": 13000,
        "init": [0, "no error"],
        "count": [0, 2],
        "name": [0, "Stand-in GPU"],
        "capability": [12, 0],
    }


def test_a_machine_without_devices(standin):
    found = answers(standin, devices=0)
    assert found["runtime"] == [100, 0, "cudaErrorNoDevice", "no CUDA-capable device is detected"]
    assert found["set"] == [100, 100]
    assert found["init"] == [100, "no CUDA-capable device is detected"]


def test_a_machine_with_an_old_driver(standin):
    found = answers(standin, driver=12040)
    text = "CUDA driver version is insufficient for CUDA runtime version"
    assert found["runtime"] == [35, 0, "cudaErrorInsufficientDriver", text]
    assert found["set"] == [35, 35]
    assert (found["version"], found["init"], found["count"]) == (12040, [0, "no error"], [0, 1])


def test_a_device_that_is_not_there(standin):
    assert answers(standin)["set"] == [0, 101]


#: Machine code of sm_XY runs on X.Z with Z >= Y: 8.6 on 8.7, 12.0 on 12.1, nothing on 7.0, 7.2, 10.0 and 11.0.
GENERATIONS = {70: False, 72: False, 75: True, 87: True, 90: True, 100: False, 110: False, 120: True, 121: True}

OPEN = """
import sys
from lunet_export import ExportedFlow
from lunet_export.errors import ProviderError
try:
    ExportedFlow(sys.argv[1], provider="cuda")
except ProviderError as error:
    print(error)
"""


@pytest.mark.parametrize("capability", GENERATIONS)
def test_kernels_launch_where_the_wheel_has_machine_code(capability, standin):
    """The stand-in reads the architectures in the fat binaries that the wheel registers."""
    done = subprocess.run(
        [PYTHON, "-c", OPEN, ROOT / "exported" / "toy2d"],
        env=machine(standin, cc=capability),
        capture_output=True,
        text=True,
        check=True,
    )
    refused = f"compute capability {capability / 10}" in done.stdout
    assert (refused, done.stdout == "") == (not GENERATIONS[capability], GENERATIONS[capability]), done.stdout


@pytest.mark.parametrize("source", sorted(standin_build.HERE.glob("*.c")), ids=lambda path: path.name)
def test_the_compiler_has_nothing_to_say(source):
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-fsyntax-only"]
    done = subprocess.run(["gcc", *flags, source], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_building_says_which_programs_are_missing(tmp_path, providers, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"gcc, nm, readelf is missing\. Install gcc and binutils"):
        build(tmp_path / "standin", providers)


@pytest.mark.parametrize(
    ("library", "sentence"),
    [
        ("libcudart.so.13", f"{PROVIDER} needs cudaOfTheFuture of libcudart.so.13"),
        ("libcufft.so.12", f"{PROVIDER} needs the whole library of libcufft.so.12"),
    ],
)
def test_building_says_what_a_newer_provider_needs(library, sentence, tmp_path):
    def compile_shared(name: str, source: str, *options: str) -> None:
        path = tmp_path / f"{name}.c"
        path.write_text(source)
        subprocess.run(["gcc", "-shared", "-fPIC", path, *options, "-o", tmp_path / name], check=True)

    (tmp_path / "versions").write_text(f"{library} {{ global: *; }};")
    options = [f"-Wl,-soname,{library}", f"-Wl,--version-script,{tmp_path / 'versions'}"]
    compile_shared(library, "int cudaOfTheFuture(void) { return 0; }", *options)
    call = "int cudaOfTheFuture(void); int provider(void) { return cudaOfTheFuture(); }"
    compile_shared(PROVIDER, call, str(tmp_path / library))
    with pytest.raises(BuildError, match=sentence):
        build(tmp_path / "standin", tmp_path)


def test_building_shows_what_the_compiler_says(tmp_path, providers, monkeypatch):
    (tmp_path / "broken.c").write_text("int broken(void) { return }")
    monkeypatch.setattr(standin_build, "HERE", tmp_path)
    monkeypatch.setattr(standin_build, "SOURCES", {"libcudart.so.13": ["broken.c"]})
    with pytest.raises(BuildError, match=r"libcudart\.so\.13 to compile; gcc says: (?s:.*)expected expression"):
        build(tmp_path / "standin", providers)
