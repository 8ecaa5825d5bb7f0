"""The processors, memory, ONNX Runtime, CUDA libraries, driver and devices of this machine. No session is opened."""

import ctypes
import importlib.util
import os
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from lunet_export.errors import ProviderError

#: Both install the folder `onnxruntime`, so together they overwrite each other.
CPU_PACKAGE, GPU_PACKAGE = "onnxruntime", "onnxruntime-gpu"
DRIVER_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

_PROVIDER_LIBRARY = "onnxruntime_providers_cuda.dll" if sys.platform == "win32" else "libonnxruntime_providers_cuda.so"
_RUNTIME_LIBRARIES = ("libonnxruntime.so*", "libonnxruntime.*dylib", "onnxruntime.dll")
_CGROUP, _MEMINFO, _DEVICES = Path("/sys/fs/cgroup"), Path("/proc/meminfo"), Path("/dev")
_SUCCESS, _NO_DEVICE = 0, 100
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CUdevice_attribute


@dataclass(frozen=True)
class Processors:
    """Logical processors."""

    machine: int  # processors that there are
    usable: int  # processors that its affinity and its container's limit leave to this process

    @property
    def fewer(self) -> int | None:
        """Number of threads for ONNX Runtime, which looks at the machine alone; None if that is right."""
        return self.usable if self.usable < self.machine else None


@dataclass(frozen=True)
class Room:
    """Memory and disk, in bytes; None if the system does not tell."""

    memory: int | None  # memory of the machine, or of the container if it has less
    memory_available: int | None  # memory available without swapping, on the machine
    disk: int | None  # free bytes in the working directory


@dataclass(frozen=True)
class Library:
    """A library that the CUDA provider is linked to."""

    name: str  # name by which the loader looks for it, such as libcublas.so.13
    problem: str | None  # why it does not load; None if it does


@dataclass(frozen=True)
class Device:
    """A GPU as the driver sees it."""

    number: int
    name: str
    capability: str  # compute capability, such as 8.6
    memory: int  # bytes


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver."""

    version: int | None  # the newest CUDA that it runs, 13000 for 13.0; None without a driver
    problem: str | None  # why it cannot be used
    devices: tuple[Device, ...] = ()


def processors() -> Processors:
    """Return the processors of the machine, and those that this process may use."""
    machine = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    quota, _, period = _line(_CGROUP / "cpu.max").partition(" ")  # microseconds per period
    if quota.isdecimal() and period.isdecimal() and int(period):
        usable = min(usable, max(1, -(-int(quota) // int(period))))
    return Processors(machine, usable)


def room() -> Room:
    """Return memory and disk of this machine."""
    memory, available, disk = None, None, None
    with suppress(AttributeError, ValueError, OSError):  # not on Windows
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _line(_CGROUP / "memory.max")
    if memory is not None and limit.isdecimal():
        memory = min(memory, int(limit))
    with suppress(OSError, ValueError, IndexError):
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        available = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    with suppress(OSError):  # the folder may have been removed
        disk = shutil.disk_usage(".").free
    return Room(memory, available, disk)


def onnxruntime_library() -> Path | None:
    """Return the path of ONNX Runtime's library in its Python package, without loading it; None if there is none."""
    found = find_spec("onnxruntime")
    folders = (Path(folder) / "capi" for folder in (found.submodule_search_locations or ()) if folder) if found else ()
    files = (path for folder in folders for pattern in _RUNTIME_LIBRARIES for path in sorted(folder.glob(pattern)))
    return next(files, None)


def shows_gpu() -> bool:
    """Return whether Linux shows an NVIDIA GPU, and CUDA_VISIBLE_DEVICES does not hide it.

    The driver is not asked: a process that has started it cannot be forked and use CUDA.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    return not hidden and any(_DEVICES.glob("nvidia[0-9]*"))


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def packages() -> dict[str, str]:
    """Return the installed packages that bring an ONNX Runtime, with their versions."""
    found: dict[str, str] = {}
    folders = (path for entry in sys.path for path in Path(entry or ".").glob(f"{CPU_PACKAGE}*.*-info"))
    for distribution in map(metadata.Distribution.at, folders):  # reading the metadata of all packages takes long
        name = (distribution.metadata["Name"] or "").lower().replace("_", "-")
        if name == CPU_PACKAGE or name.startswith((CPU_PACKAGE + "-gpu", CPU_PACKAGE + "-directml")):
            found.setdefault(name, distribution.version)
    return dict(sorted(found.items()))


def libraries() -> list[Library]:
    """Return the CUDA libraries that the installed provider needs, tried one by one; empty without a provider."""
    provider = _provider_library()
    if provider is None:
        return []
    with provider.open("rb") as file:
        needed = _needed(file)
    return [_tried(name) for name in needed if name.startswith(("libcu", "libnv"))]


def driver() -> Driver:
    """Return the driver and its devices, asked through the driver's own library."""
    try:
        cuda = ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        return Driver(None, f"{DRIVER_LIBRARY} is missing: no NVIDIA driver, or a container without --gpus")
    version, count = ctypes.c_int(0), ctypes.c_int(0)
    with suppress(AttributeError):
        cuda.cuDriverGetVersion(ctypes.byref(version))
    try:
        status = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    except AttributeError:
        return Driver(None, f"{DRIVER_LIBRARY} is not NVIDIA's driver")
    if status == _NO_DEVICE:
        return Driver(version.value, "it finds no device")
    if status != _SUCCESS:
        return Driver(version.value, f"it answers with error {status}")
    return Driver(version.value, None, tuple(_device(cuda, number) for number in range(count.value)))


@contextmanager
def current_device(number: int) -> Iterator[Callable[[], None]]:
    """Make a device the thread's current one within the block, and yield a call that waits for all its work.

    It uses the driver's own library, whose name is the same for every CUDA. PyTorch and ONNX Runtime share the
    device's primary context, so the call waits for the work of both.
    """
    cuda = ctypes.CDLL(DRIVER_LIBRARY)
    device, context = ctypes.c_int(0), ctypes.c_void_p()
    for status in (
        cuda.cuInit(0),
        cuda.cuDeviceGet(ctypes.byref(device), number),
        cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device),
        cuda.cuCtxPushCurrent_v2(context),
    ):
        _validate_status(status)
    try:
        yield lambda: _validate_status(cuda.cuCtxSynchronize())
    finally:
        cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
        cuda.cuDevicePrimaryCtxRelease_v2(device)


def _validate_status(status: int) -> None:
    if status != _SUCCESS:
        raise ProviderError(
            f"Expected the GPU to be ready; its driver answers with error {status}. See lunet-export doctor."
        )


def cuda_version(found: list[Library]) -> int | None:
    """Return the CUDA that the provider was built for, 13000 for 13.0, by the name of its runtime library."""
    for library in found:
        stem, _, major = library.name.partition(".so.")
        if stem == "libcudart" and major.partition(".")[0].isdecimal():
            return int(major.partition(".")[0]) * 1000
    return None


def spelled(version: int) -> str:
    """Return a version as text: 13.2 for 13020."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _device(cuda: Any, number: int) -> Device:  # noqa: ANN401
    handle, name, memory = ctypes.c_int(0), ctypes.create_string_buffer(256), ctypes.c_size_t(0)
    cuda.cuDeviceGet(ctypes.byref(handle), number)
    cuda.cuDeviceGetName(name, len(name), handle)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    capability = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        value = ctypes.c_int(0)
        cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle)
        capability.append(str(value.value))
    return Device(number, name.value.decode(errors="replace"), ".".join(capability), memory.value)


def _provider_library() -> Path | None:
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "capi" / _PROVIDER_LIBRARY
    return path if path.is_file() else None


def _tried(name: str) -> Library:
    try:
        ctypes.CDLL(name)
    except OSError as error:
        missing = "No such file" in str(error) and str(error).startswith(name)
        return Library(name, "missing" if missing else str(error))
    return Library(name, None)


def _needed(file: BinaryIO) -> list[str]:
    """Return DT_NEEDED of a 64-bit little-endian ELF file; empty for any other (Windows names what it lacks itself)."""
    header = file.read(64)
    if header[:6] != b"\x7fELF\x02\x01":
        return []
    (sections,) = struct.unpack_from("<Q", header, 40)
    size, count = struct.unpack_from("<HH", header, 58)
    file.seek(sections)
    table = [struct.unpack_from("<IIQQQQIIQQ", file.read(size)) for _ in range(count)]
    dynamic = next((section for section in table if section[1] == 6), None)  # SHT_DYNAMIC
    if dynamic is None:
        return []
    strings = table[dynamic[6]]  # its sh_link
    file.seek(strings[4])
    names = file.read(strings[5])
    file.seek(dynamic[4])
    entries = struct.iter_unpack("<qQ", file.read(dynamic[5]))
    return [names[at : names.index(b"\0", at)].decode() for tag, at in entries if tag == 1]  # DT_NEEDED
