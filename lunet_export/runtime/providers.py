"""The choice between CUDA and the CPU; an error tells what is missing, and no fallback is silent."""

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import (
    BadInputError,
    LunetExportError,
    MissingPackageError,
    OutOfMemoryError,
    ProviderError,
    ProviderWarning,
)
from lunet_export.installation import install_extra, pip
from lunet_export.runtime import diagnosis, environment
from lunet_export.runtime.cuda import CudaOptions
from lunet_export.runtime.environment import CPU_PACKAGE, GPU_PACKAGE
from lunet_export.scalars import whole

if TYPE_CHECKING:
    import onnxruntime

Name = Literal["cpu", "cuda"]
Provider = Literal["cpu", "cuda", "auto"]
NAMES: tuple[Provider, ...] = ("auto", "cpu", "cuda")
#: The first ONNX Runtime that tells on which provider each node was placed.
OLDEST_FOR_CUDA = (1, 24)
#: ONNX Runtime's key of a run's captured CUDA graph, and its value for a run that is neither captured nor replayed.
GRAPH_NUMBER, NO_GRAPH = "gpu_graph_id", -1

_EXECUTION_PROVIDER = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_LONGEST, _END = 300, 120  # characters kept of a message of ONNX Runtime, and how many of them from its end
_OPENING = RLock()
_MOST_PER_PROCESSOR = 4  # threads
_ALWAYS_ALLOWED = 16  # threads, so that settings can move between machines
_TRIAL_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


@dataclass(frozen=True)
class Choice:
    """The provider that runs, and why."""

    name: Name
    reason: str


def open_sessions(
    models: Sequence[bytes],
    provider: Provider,
    *,
    threads: int | None,
    cuda: CudaOptions | None = None,
    cuda_graph: bool = False,
) -> "tuple[list[onnxruntime.InferenceSession], Choice]":
    """Open sessions of ONNX Runtime, all on the provider that was asked for.

    A session on CUDA has every node there, by ONNX Runtime's own account, and has run once.

    Args:
        models: Serialized ONNX graphs.
        provider: `cuda` runs every node there or raises an error; `auto` tries CUDA, then the CPU, and tells which. It
            warns once per process if it takes the CPU of a machine that shows a GPU.
        threads: CPU threads; None for ONNX Runtime's own choice, or what this process may use if that is less.
        cuda: Device, memory and TF32, for CUDA.
        cuda_graph: Whether to capture the launches of a run on CUDA and replay them. Such sessions must be run through
            `lunet_export.runtime.device_graph`: a plain run would be captured, and replayed with stale rows.

    Raises:
        BadInputError: if the provider is unknown, or the number of threads is not valid or far above the processors.
        OutOfMemoryError: if there is no memory for a session on the CPU.
        ProviderError: if `cuda` was asked for and cannot run; the sentence names the cause and the cure.
        MissingPackageError: if ONNX Runtime is not installed.
    """
    if provider not in NAMES:
        raise BadInputError(f"Expected a provider of {', '.join(NAMES)}; got {provider!r}.")
    threads = None if threads is None else _threads(threads)
    if provider == "cpu":
        return [_open_cpu(model, threads) for model in models], Choice("cpu", "asked for")
    try:
        sessions = [_open_cuda(model, threads, cuda or CudaOptions(), cuda_graph=cuda_graph) for model in models]
    except ProviderError as error:
        if provider == "cuda":
            raise
        choice = Choice("cpu", _why_not(error))
        if environment.shows_gpu():
            _warn(choice.reason)
        return [_open_cpu(model, threads) for model in models], choice
    return sessions, Choice("cuda", "asked for" if provider == "cuda" else "it runs here")


def run(
    session: "onnxruntime.InferenceSession", outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]]
) -> list[NDArray[Any]]:
    """Return the named outputs of one run, as NumPy arrays.

    Raises:
        OutOfMemoryError: if there is no memory for the run on the CPU.
        ProviderError: if the provider gave up; on CUDA most likely out of memory.
    """
    with translated(session):
        return session.run(list(outputs), dict(feeds))


@contextmanager
def translated(session: "onnxruntime.InferenceSession") -> Iterator[None]:
    """Turn what ONNX Runtime raises in a run into one sentence.

    Raises:
        OutOfMemoryError, ProviderError: as `run` does.
    """
    try:
        yield
    except LunetExportError:
        raise
    except Exception as error:
        name = "CUDA" if _EXECUTION_PROVIDER["cuda"] in session.get_providers() else "the CPU"
        said = _first_line(error)
        if name != "CUDA" and _lacks_memory(error):
            raise OutOfMemoryError.of("this run on the CPU", f"ONNX Runtime says: {said}") from None
        cure = diagnosis.of_memory(str(error)) or "See lunet-export doctor."
        raise ProviderError(f"Expected {name} to finish the run; it says: {said}. {cure}") from None


def _threads(given: int) -> int:
    """Return a useful number of threads. Many more than there are processors look like a run that hangs."""
    processors = environment.processors().usable
    most = max(_MOST_PER_PROCESSOR * processors, _ALWAYS_ALLOWED)
    wanted = f"from 1 to {most} threads on {processors} processor{'s' if processors > 1 else ''}"
    return whole(given, wanted, least=1, most=most, advice="None, or no `threads`, takes what the machine has.")


@cache
def _warn(reason: str) -> None:
    """Warn once per process and reason."""
    warnings.warn(
        f"This machine shows an NVIDIA GPU, and provider auto runs on the CPU: {reason}. See lunet-export doctor, or "
        "ask for provider cpu.",
        ProviderWarning,
        stacklevel=6,  # the line that makes a flow
    )


def _why_not(error: ProviderError) -> str:
    if _has_cuda(_onnxruntime()):
        return f"CUDA does not run here: {error}"
    return diagnosis.clash() or "this ONNX Runtime has no CUDA"


def _has_cuda(ort: ModuleType) -> bool:
    return _EXECUTION_PROVIDER["cuda"] in ort.get_available_providers()


def _open_cpu(model: bytes, threads: int | None) -> "onnxruntime.InferenceSession":
    ort = _onnxruntime()
    providers = [_EXECUTION_PROVIDER["cpu"]]
    try:
        return ort.InferenceSession(model, _session_options(ort, threads), providers=providers)
    except Exception as error:
        said = _first_line(error)
        if _lacks_memory(error):
            raise OutOfMemoryError.of("a session on the CPU", f"ONNX Runtime says: {said}") from None
        raise BadInputError(f"Expected a graph that ONNX Runtime can load; it says: {said}.") from None


def _open_cuda(
    model: bytes, threads: int | None, options: CudaOptions, *, cuda_graph: bool
) -> "onnxruntime.InferenceSession":
    ort = _onnxruntime()
    if not _has_cuda(ort):
        raise ProviderError(diagnosis.without_cuda(ort.__version__))
    if _version(ort.__version__) < OLDEST_FOR_CUDA:
        raise ProviderError(diagnosis.too_old(ort.__version__, OLDEST_FOR_CUDA))
    settings = _session_options(ort, threads)
    # Without the first, nodes that CUDA refuses run silently on the CPU; the second is for `_misplaced`.
    settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    providers = [(_EXECUTION_PROVIDER["cuda"], options.for_session(cuda_graph=cuda_graph))]
    with _quiet(ort):
        try:
            session = ort.InferenceSession(model, settings, providers=providers, enable_fallback=0)
        except Exception as error:
            raise ProviderError(diagnosis.of_failure(_first_line(error), options)) from None
        if _EXECUTION_PROVIDER["cuda"] not in session.get_providers():
            raise ProviderError(diagnosis.of_failure("it gave a CPU session instead", options))
        elsewhere = _misplaced(session)
        if elsewhere:
            raise ProviderError(diagnosis.misplaced(elsewhere))
        try:
            _try(session, ort)
        except Exception as error:
            raise ProviderError(diagnosis.of_failure(_first_line(error), options)) from None
    return session


def placement(session: "onnxruntime.InferenceSession") -> dict[str, list[str]]:
    """Return the operators that each execution provider runs in a CUDA session, by ONNX Runtime's own account."""
    found: dict[str, list[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        found.setdefault(part.ep_name, []).extend(node.op_type for node in part.get_nodes())
    return found


def _misplaced(session: "onnxruntime.InferenceSession") -> dict[str, list[str]]:
    return {name: nodes for name, nodes in placement(session).items() if name != _EXECUTION_PROVIDER["cuda"]}


def _try(session: "onnxruntime.InferenceSession", ort: ModuleType) -> None:
    """Run one row of zeros: it finds a GPU without kernels in this wheel, or without memory, before a user does.

    A graph that draws its noise takes a shape, not rows; its first run comes right after its opening anyway.
    """
    inputs = session.get_inputs()
    if any(entry.type not in _TRIAL_TYPES for entry in inputs):
        return
    feeds = {
        entry.name: np.zeros([size if isinstance(size, int) else 1 for size in entry.shape], _TRIAL_TYPES[entry.type])
        for entry in inputs
    }
    options = ort.RunOptions()
    options.log_severity_level = 4
    options.add_run_config_entry(GRAPH_NUMBER, str(NO_GRAPH))
    session.run(None, feeds, options)


def _session_options(ort: ModuleType, threads: int | None) -> Any:  # noqa: ANN401
    options = ort.SessionOptions()
    options.log_severity_level = 4  # failures are raised, in one sentence
    options.add_session_config_entry("session.force_spinning_stop", "1")  # idle sessions must not slow their neighbours
    chosen = environment.processors().fewer if threads is None else threads
    if chosen is not None:
        options.intra_op_num_threads = chosen
    return options


@contextmanager
def _quiet(ort: ModuleType) -> Iterator[None]:
    """Silence ONNX Runtime's log, since errors are raised; one thread at a time, since the process has one logger."""
    with _OPENING:
        _preload(ort)
        ort.set_default_logger_severity(4)
        try:
            yield
        finally:
            ort.set_default_logger_severity(2)  # ONNX Runtime's default: warnings


@cache
def _preload(ort: ModuleType) -> None:
    """Load NVIDIA's libraries from their Python packages, once. `diagnosis` reports what is missing, not its print."""
    if hasattr(ort, "preload_dlls"):
        with redirect_stdout(StringIO()):
            ort.preload_dlls(directory="")


def _onnxruntime() -> ModuleType:
    # ONNX Runtime's own builds send telemetry unless this is set before they are loaded.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        if not isinstance(error, ModuleNotFoundError) or error.name != "onnxruntime":
            raise MissingPackageError(
                f"Expected ONNX Runtime to be imported; it says: {_first_line(error)}. Install it, or what it needs."
            ) from None
        raise MissingPackageError(
            f"Expected ONNX Runtime; it is not installed. Run: {install_extra(_extra())}"
        ) from None
    if not hasattr(onnxruntime, "InferenceSession"):  # the rest after one of two packages was uninstalled
        raise MissingPackageError(
            "Expected ONNX Runtime; its folder is there but empty. "
            f"Run: {pip('uninstall', '-y', CPU_PACKAGE, GPU_PACKAGE)} && {install_extra(_extra())}"
        )
    return onnxruntime


def _extra() -> str:
    """Return the extra that brings an ONNX Runtime for this machine."""
    return "gpu" if environment.shows_gpu() else "cpu"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _first_line(error: Exception) -> str:
    """Return what went wrong, without the C++ source line that ONNX Runtime puts before it."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    begin = next((line.index(mark) for mark in ("CUDA failure", "[ONNXRuntimeError]") if mark in line), 0)
    said = line[begin:]
    if len(said) > _LONGEST:  # whole words of its beginning and of its end, which names the numbers
        said = f"{said[: _LONGEST - _END].rpartition(' ')[0]} … {said[-_END:].partition(' ')[2]}"
    return said.rstrip(". ")


def _lacks_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or diagnosis.is_of_memory(str(error))
