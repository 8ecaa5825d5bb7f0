"""What is found of packages, libraries and driver, on machines that have them and on others."""

import ctypes
import io
import os
import struct
import sys
from pathlib import Path

import onnxruntime
import pytest

from lunet_export.runtime import environment
from lunet_export.runtime.environment import Device, Driver, Library


def test_packages_that_bring_an_onnxruntime(tmp_path, monkeypatch):
    here = environment.packages()
    assert any(name.startswith("onnxruntime") for name in here)
    for name in ("onnxruntime_gpu-1.31.1", "onnxruntime_extensions-0.14", "numpy_like-1.0"):
        folder = tmp_path / f"{name}.dist-info"
        folder.mkdir()
        package, _, version = name.partition("-")
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert environment.packages() == here | {"onnxruntime-gpu": "1.31.1"}


@pytest.mark.skipif(sys.platform != "linux", reason="reads an ELF file")
def test_linked_libraries_are_read_from_the_file_itself():
    (module,) = (Path(onnxruntime.__file__).parent / "capi").glob("onnxruntime_pybind11_state*.so")
    with module.open("rb") as file:
        needed = environment._needed(file)
    assert "libc.so.6" in needed
    assert all(".so" in name for name in needed)


@pytest.mark.parametrize("content", [b"", b"MZ" + bytes(100), b"\x7fELF\x01\x01" + bytes(100)])
def test_other_files_have_none(content):
    assert environment._needed(io.BytesIO(content)) == []


def test_a_file_without_a_dynamic_section_has_none():
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", header, 40, 64)
    struct.pack_into("<HH", header, 58, 64, 1)
    assert environment._needed(io.BytesIO(bytes(header) + bytes(64))) == []


def test_libraries_are_tried_one_by_one(tmp_path, monkeypatch):
    provider = tmp_path / "provider.so"
    provider.write_bytes(b"")
    monkeypatch.setattr(environment, "_provider_library", lambda: provider)
    monkeypatch.setattr(environment, "_needed", lambda _: ["libcublas.so.99", "libm.so.6", "libcudart.so.98"])
    found = environment.libraries()
    assert found == [Library("libcublas.so.99", "missing"), Library("libcudart.so.98", "missing")]
    assert environment.cuda_version(found) == 98000


def test_without_a_cuda_provider_there_are_none(monkeypatch):
    monkeypatch.setattr(environment, "_provider_library", lambda: None)
    assert environment.libraries() == []
    assert environment.cuda_version([]) is None


class Cuda:
    """libcuda as ctypes shows it."""

    def __init__(self, *, version=13000, status=0, devices=(("NVIDIA A10", 8, 6),)):
        self.version, self.status, self.devices = version, status, devices

    def cuInit(self, flags):
        return self.status

    def cuDriverGetVersion(self, out):
        out._obj.value = self.version
        return 0

    def cuDeviceGetCount(self, out):
        out._obj.value = len(self.devices)
        return 0

    def cuDeviceGet(self, out, number):
        out._obj.value = number
        return 0

    def cuDeviceGetName(self, out, size, handle):
        out.value = self.devices[handle.value][0].encode()
        return 0

    def cuDeviceTotalMem_v2(self, out, handle):
        out._obj.value = 24 * 10**9
        return 0

    def cuDeviceGetAttribute(self, out, attribute, handle):
        out._obj.value = self.devices[handle.value][attribute - 74]
        return 0


@pytest.mark.parametrize(
    ("cuda", "expected"),
    [
        (Cuda(), Driver(13000, None, (Device(0, "NVIDIA A10", "8.6", 24 * 10**9),))),
        (Cuda(status=100), Driver(13000, "it finds no device")),
        (Cuda(version=12040, status=35), Driver(12040, "it answers with error 35")),
        (object(), Driver(None, f"{environment.DRIVER_LIBRARY} is not NVIDIA's driver")),
    ],
)
def test_the_driver_is_asked_through_its_own_library(monkeypatch, cuda, expected):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: cuda)
    assert environment.driver() == expected


def test_no_driver(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert environment.driver().problem.startswith(f"{environment.DRIVER_LIBRARY} is missing")


def test_versions_are_spelled_as_nvidia_does():
    assert [environment.spelled(version) for version in (13000, 12040, 12080)] == ["13.0", "12.4", "12.8"]


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Files in which Linux tells of itself."""
    for name in ("_CGROUP", "_DEVICES"):
        monkeypatch.setattr(environment, name, tmp_path)
    monkeypatch.setattr(environment, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("limit", "usable"),
    [
        ("max 100000", 6),
        ("250000 100000", 3),
        ("10000 100000", 1),
        ("900000 100000", 6),
        ("", 6),
        ("1 0", 6),
        ("x", 6),
    ],
)
def test_processors_are_those_of_the_affinity_and_the_container(system, limit, usable):
    (system / "cpu.max").write_text(limit)
    found = environment.processors()
    assert (found.machine, found.usable, found.fewer) == (8, usable, usable)


def test_where_all_processors_may_be_used_nothing_need_be_said(system, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert environment.processors().fewer is None
    monkeypatch.delattr(os, "sched_getaffinity")  # not Linux
    assert environment.processors() == environment.Processors(8, 8)


def test_memory_is_the_containers_where_that_is_less(system):
    assert environment.room().memory_available is None
    (system / "memory.max").write_text("1000\n")
    (system / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    7 kB\n")
    assert (environment.room().memory, environment.room().memory_available) == (1000, 7168)
    (system / "memory.max").write_text("max\n")
    assert environment.room().memory > 1000
    assert environment.room().disk > 0


def test_a_gpu_is_seen_without_its_driver(system, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (system / "nvidiactl").touch()
    assert not environment.shows_gpu()
    (system / "nvidia0").touch()
    assert environment.shows_gpu()
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not environment.shows_gpu()
