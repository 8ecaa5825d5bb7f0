"""Why CUDA does not run here, and what to do: one sentence per cause, the first that applies."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence

from lunet_export.installation import install, install_extra, pip
from lunet_export.runtime import environment
from lunet_export.runtime.cuda import CudaOptions
from lunet_export.runtime.environment import CPU_PACKAGE, GPU_PACKAGE, Device, spelled

#: The oldest driver for each CUDA generation, on Linux.
_DRIVERS = {12: "525", 13: "580"}
#: Compute capability; packages for CUDA 12 alone have kernels for the V100 and older.
_OLDEST_IN_CUDA_13 = 7.5
_GPU_EXTRA, _CUDA_12_EXTRA = "gpu", "gpu-cuda12"


def without_cuda(version: str) -> str:
    """Return the sentence about an ONNX Runtime that was built without CUDA."""
    return clash() or (
        f"Expected an ONNX Runtime with CUDA; {_package()} {version} has none. Run: {_instead(_package())}"
    )


def too_old(version: str, oldest: tuple[int, int]) -> str:
    """Return the sentence about an ONNX Runtime that cannot tell where its nodes run."""
    return (
        f"Expected ONNX Runtime {'.'.join(map(str, oldest))} or newer for CUDA, the first that tells where each node "
        f"runs; this is {version}. Run: {install_extra(_GPU_EXTRA)}"
    )


def misplaced(elsewhere: Mapping[str, Sequence[str]]) -> str:
    """Return the sentence about a graph with nodes that are not on CUDA."""
    (name, nodes), *_ = elsewhere.items()
    counted = ", ".join(f"{count} {operator}" for operator, count in sorted(Counter(nodes).items()))
    return f"Expected every node on CUDA; ONNX Runtime puts {counted} on {name}. Export again, or report this graph."


def of_failure(said: str, options: CudaOptions) -> str:
    """Return the sentence about a CUDA session that could not be opened or run.

    Args:
        said: Message of ONNX Runtime, one line.
        options: Options that were asked for.
    """
    return (
        _option(said)
        or clash()
        or _libraries()
        or _driver()
        or _device(options.device_id)
        or _generation(said, options.device_id)
        or _memory(said)
        or _cudnn(said)
        or _on_the_cpu(said)
        or f"Expected CUDA on device {options.device_id}; ONNX Runtime says: {said}. See lunet-export doctor."
    )


def _instead(*packages: str, by: str = _GPU_EXTRA) -> str:
    """Return the commands that replace packages by an extra."""
    return f"{pip('uninstall', '-y', *packages)} && {install_extra(by)}"


def _package() -> str:
    found = environment.packages()
    return next(iter(found), CPU_PACKAGE)


def clash() -> str | None:
    """Return the sentence about two packages in one folder; None if there are no two."""
    found = environment.packages()
    if len(found) < 2:
        return None
    names = " and ".join(f"{name} {version}" for name, version in found.items())
    return f"Expected one ONNX Runtime; {names} are installed and overwrite each other. Run: {_instead(*found)}"


def _option(said: str) -> str | None:
    """Return the sentence about an ONNX Runtime that knows other options: those given are typed, so not misspelt."""
    if "Unknown provider option" not in said:
        return None
    name = said.partition('Unknown provider option: "')[2].partition('"')[0]
    return (
        f"Expected an ONNX Runtime that knows the CUDA option {name}; this one does not. "
        f"Run: {install_extra(_GPU_EXTRA)}"
    )


def _cudnn(said: str) -> str | None:
    """Return the sentence about a graph with convolutions and no cuDNN; other graphs run without it."""
    if "cudnn" not in said.lower():
        return None
    return (
        "Expected cuDNN 9, which this graph needs on CUDA; it is not installed. Use `provider='cpu'`, or "
        f"run: {install(f'nvidia-cudnn-cu{_cuda()}')}"
    )


def _libraries() -> str | None:
    found = environment.libraries()
    broken = [library for library in found if library.problem]
    if not broken:
        return None
    names = ", ".join(
        library.name if library.problem == "missing" else f"{library.name} ({library.problem})" for library in broken
    )
    cures = []
    if any(library.name == environment.DRIVER_LIBRARY for library in broken):
        cures.append("install NVIDIA's driver (in a container: --gpus all)")
    if any(library.name != environment.DRIVER_LIBRARY for library in broken):
        cures.append(install_extra(_CUDA_12_EXTRA if environment.cuda_version(found) == 12000 else _GPU_EXTRA))
    return (
        f"Expected the CUDA libraries that {GPU_PACKAGE} is linked to; missing: {names}. "
        f"What helps: {', and '.join(cures)}"
    )


def _cuda() -> int:
    """Return the generation of CUDA that the package was built for; the newest if it does not tell."""
    built_for = environment.cuda_version(environment.libraries())
    return built_for // 1000 if built_for else 13


def _driver() -> str | None:
    here, built_for = environment.driver(), environment.cuda_version(environment.libraries())
    major = _cuda()
    wanted = f"{_DRIVERS.get(major, '580')} or newer, for CUDA {major}"
    if here.version is not None and built_for is not None and here.version // 1000 < major:
        return (
            f"Expected an NVIDIA driver {wanted}; this one supports CUDA {spelled(here.version)} at most. "
            f"Update the driver, or run: {_instead(GPU_PACKAGE, by=_CUDA_12_EXTRA)}"
        )
    if here.problem is None:
        return None
    if here.version is None:
        return f"Expected an NVIDIA driver {wanted}; {here.problem}. Install it, or use `provider='cpu'`."
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    why = here.problem if visible is None else f"{here.problem}, and CUDA_VISIBLE_DEVICES is {visible!r}"
    return (
        f"Expected a GPU that the NVIDIA driver can use; {why}. See what nvidia-smi says, reboot after an update of "
        "the driver, or use `provider='cpu'`."
    )


def _device(number: int) -> str | None:
    devices = environment.driver().devices
    if number < len(devices):
        return None
    names = ", ".join(f"{device.number}: {device.name}" for device in devices)
    return f"Expected a CUDA device that exists; got number {number}, and there are {len(devices)} ({names})."


def _generation(said: str, number: int) -> str | None:
    if "no kernel image" not in said and "NoKernelImage" not in said:
        return None
    device: Device = environment.driver().devices[number]
    version = environment.packages().get(GPU_PACKAGE, "")
    cure = "Use `provider='cpu'`, or look for a newer package."
    if float(device.capability) < _OLDEST_IN_CUDA_13 and environment.cuda_version(environment.libraries()) != 12000:
        cure = f"Run: {_instead(GPU_PACKAGE, by=_CUDA_12_EXTRA)}"
    return (
        f"Expected kernels for {device.name}, compute capability {device.capability}; {GPU_PACKAGE} {version} was "
        f"built without them. {cure}"
    )


def _on_the_cpu(said: str) -> str | None:
    """Return the sentence about nodes on the CPU: those without a CUDA kernel, or all if CUDA itself did not start."""
    if "default CPU EP" not in said:
        return None
    looked = environment.libraries()  # empty on Windows, where the libraries cannot be listed
    or_missing = "" if looked else ", or one of CUDA's libraries did not load"
    return f"Expected every node on CUDA; ONNX Runtime would run some on the CPU{or_missing}. See lunet-export doctor."


def is_of_memory(said: str) -> bool:
    """Return whether a message is about missing memory."""
    return any(
        word in said
        for word in ("allocate memory", "out of memory", "ALLOC_FAILED", "BFCArena", "bad_alloc", "Available memory")
    )


def of_memory(said: str) -> str | None:
    """Return what to do about memory if a run on CUDA lacked it; None otherwise."""
    if not is_of_memory(said):
        return None
    return "Use smaller batches, raise `memory_limit` if there is one, or free the device."


def _memory(said: str) -> str | None:
    cure = of_memory(said)
    return cure and f"Expected more memory on the GPU; ONNX Runtime says: {said}. {cure}"
