"""CUDA or CPU: picks one, or says what is missing. Never falls back in silence."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from lunet_export.errors import BadInputError, MissingPackageError, ProviderError

if TYPE_CHECKING:
    import onnxruntime

Provider = Literal["cpu", "cuda", "auto"]
NAMES: tuple[Provider, ...] = ("auto", "cpu", "cuda")

#: TF32 rounds inputs of matrix products to 10 bits; log_prob would be off by tenths of a nat.
_CUDA_OPTIONS = {"use_tf32": "0"}
_CUDA_GRAPH = {"enable_cuda_graph": "1"}
_EXECUTION_PROVIDER = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class Choice:
    """The provider that runs, and why."""

    name: Literal["cpu", "cuda"]
    reason: str


def open_sessions(
    models: Sequence[bytes], provider: Provider, *, threads: int | None, cuda_graph: bool = False
) -> "tuple[list[onnxruntime.InferenceSession], Choice]":
    """Sessions of ONNX Runtime, all on the provider that was asked for.

    Args:
        models: Serialized ONNX graphs.
        provider: `cuda` runs every node there or raises; `auto` tries CUDA, then the CPU, and says which.
        threads: CPU threads, None for ONNX Runtime's own choice.
        cuda_graph: On CUDA, capture the launches of a run and replay them; only `BoundGraph` may run such a session.

    Raises:
        BadInputError: An unknown provider.
        ProviderError: `cuda` was asked for and cannot run.
        MissingPackageError: ONNX Runtime is not installed.
    """
    if provider not in NAMES:
        raise BadInputError(f"Expected a provider of {', '.join(NAMES)}; got {provider!r}.")

    def on(name: Literal["cpu", "cuda"]) -> "list[onnxruntime.InferenceSession]":
        return [_open(model, name, threads, cuda_graph=cuda_graph) for model in models]

    if provider == "cpu":
        return on("cpu"), Choice("cpu", "asked for")
    if provider == "auto" and _EXECUTION_PROVIDER["cuda"] not in _onnxruntime().get_available_providers():
        return on("cpu"), Choice("cpu", "this ONNX Runtime has no CUDA")
    try:
        return on("cuda"), Choice("cuda", "asked for" if provider == "cuda" else "it runs here")
    except ProviderError as error:
        if provider == "cuda":
            raise
        return on("cpu"), Choice("cpu", f"CUDA does not run here: {error}")


def _open(
    model: bytes, name: Literal["cpu", "cuda"], threads: int | None, *, cuda_graph: bool
) -> "onnxruntime.InferenceSession":
    ort = _onnxruntime()
    execution_provider = _EXECUTION_PROVIDER[name]
    if execution_provider not in ort.get_available_providers():
        raise ProviderError(
            f"Expected {execution_provider}; this ONNX Runtime {ort.__version__} has "
            f"{', '.join(ort.get_available_providers())}. Uninstall onnxruntime and install lunet-export[gpu]."
        )
    options = ort.SessionOptions()
    options.log_severity_level = 4  # failures are raised below, in one sentence
    options.add_session_config_entry("session.force_spinning_stop", "1")  # idle sessions must not slow their neighbours
    if threads is not None:
        options.intra_op_num_threads = threads
    settings: Mapping[str, str] = {}
    if name == "cuda":
        # Without this, nodes that CUDA refuses run on the CPU without a word.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        settings = _CUDA_OPTIONS | (_CUDA_GRAPH if cuda_graph else {})
    providers = [(execution_provider, settings)]
    try:
        with _quiet(ort) if name == "cuda" else nullcontext():
            if name == "cuda" and hasattr(ort, "preload_dlls"):
                ort.preload_dlls(directory="")
            session = ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
    except Exception as error:
        if name == "cpu":
            raise BadInputError(f"Expected a graph that ONNX Runtime can load; it says: {_first_line(error)}") from None
        detail = _first_line(error)
        if "default CPU EP" in detail:  # what strict sessions say when the provider itself never came up
            detail = "one of its libraries, or the driver, did not load"
        raise _cuda_missing(detail) from None
    if execution_provider not in session.get_providers():
        raise _cuda_missing("it gave a CPU session instead")
    return session


@contextmanager
def _quiet(ort: ModuleType) -> Iterator[None]:
    """ONNX Runtime prints and logs what it misses; here it is raised, in one sentence."""
    ort.set_default_logger_severity(4)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        ort.set_default_logger_severity(2)  # its own default: warnings


def _cuda_missing(detail: str) -> ProviderError:
    return ProviderError(
        f"Expected a working CUDAExecutionProvider; ONNX Runtime could not start it ({detail}). It needs an NVIDIA "
        "driver and the libraries of lunet-export[gpu]: cuBLAS, the CUDA runtime and cuRAND."
    )


def _onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError:
        raise MissingPackageError(
            "Expected ONNX Runtime; it is not installed. Run: pip install 'lunet-export[cpu]' (or [gpu] for NVIDIA)"
        ) from None
    return onnxruntime


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
