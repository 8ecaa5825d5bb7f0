"""What this machine can run, found by trying: the facts of `environment`, and one matrix product on each provider."""

import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from lunet_export.errors import LunetExportError, MissingPackageError
from lunet_export.runtime import diagnosis, environment
from lunet_export.runtime.cuda import CudaOptions
from lunet_export.runtime.environment import Driver, Library, Processors, Room
from lunet_export.runtime.providers import Name, open_sessions, run

_OURS = "lunet-export"  # its version is asked of the module: what runs may not be what is installed
_PACKAGES = ("numpy", "onnx", "torch", "pyarrow", "ray")
_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_TF32_OVERRIDE",
    "LD_LIBRARY_PATH",
    "CUDA_PATH",
    "CUDA_LAUNCH_BLOCKING",
    "OMP_NUM_THREADS",
    "ORT_DISABLE_TELEMETRY",
)
#: y = a @ b, (N, 64) and (64, 64); `tests/runtime/test_doctor.py` builds it again.
_PRODUCT = Path(__file__).with_name("product.onnx")
_SIZE = 64


@dataclass(frozen=True)
class Attempt:
    """The result of asking a provider to multiply two matrices."""

    provider: Name
    runs: bool  # whether a session was created with every node on the provider, and gave an answer
    problem: str | None  # why not, or what is wrong with the answer
    exact: bool | None = (
        None  # whether a product that float32 can hold came out exactly, without TF32; None without an answer
    )
    seconds: float | None = None  # seconds to create the session and to run it once
    missing: bool = False  # whether ONNX Runtime is missing


@dataclass(frozen=True)
class Report:
    """What `lunet-export doctor` prints."""

    system: str
    python: str
    packages: dict[str, str]  # versions by name: this package, then those that bring an ONNX Runtime
    clash: str | None  # sentence about two of them in one folder
    libraries: list[Library]  # those that the installed CUDA provider is linked to
    driver: Driver
    variables: dict[str, str]  # environment variables that matter
    attempts: list[Attempt]
    processors: Processors
    threads: int | None  # threads of a session on the CPU by default; None for ONNX Runtime's own choice
    room: Room

    def as_json(self) -> dict[str, Any]:
        """Return the report as `--json` prints it."""
        return asdict(self)


def examine(cuda: CudaOptions | None = None) -> Report:
    """Examine the machine and try every provider. Whatever is wrong is in the report; nothing is raised."""
    options = cuda or CudaOptions()
    runtimes, processors = environment.packages(), environment.processors()
    others = {name: version for name in _PACKAGES if (version := _installed(name))}
    attempts = [attempt("cpu", options), attempt("cuda", options)]  # before `libraries`, since it loads them
    return Report(
        system=f"{platform.system()} {platform.release()}, {platform.machine()}",
        python=f"{platform.python_version()} ({sys.executable})",
        packages={_OURS: sys.modules[_OURS.replace("-", "_")].__version__} | runtimes | others,
        clash=diagnosis.clash(),
        libraries=environment.libraries(),
        driver=environment.driver(),
        variables={name: os.environ[name] for name in _VARIABLES if name in os.environ},
        attempts=attempts,
        processors=processors,
        threads=processors.fewer,
        room=environment.room(),
    )


def attempt(provider: Name, options: CudaOptions) -> Attempt:
    """Create a session and multiply two matrices whose product float32 can hold exactly."""
    begin = time.perf_counter()
    try:
        (session,), _ = open_sessions([_PRODUCT.read_bytes()], provider, threads=None, cuda=options)
        left, right, expected = _operands()
        (got,) = run(session, ["y"], {"a": left, "b": right})
    except LunetExportError as error:
        missing = isinstance(error, MissingPackageError)
        return Attempt(provider, runs=False, problem=str(error), missing=missing)
    seconds, exact = time.perf_counter() - begin, bool((got == expected).all())
    return Attempt(provider, runs=True, problem=_judged(got, expected, options), exact=exact, seconds=seconds)


def _operands() -> Sequence[np.ndarray[Any, np.dtype[np.float32]]]:
    """Return (1 + k 2^-20) times a permutation: exact in float32, off by up to 2^-10 if inputs are rounded to TF32."""
    left = (1 + 2.0**-20 * np.arange(1, _SIZE * _SIZE + 1).reshape(_SIZE, _SIZE)).astype(np.float32)
    right = np.eye(_SIZE, dtype=np.float32)[::-1].copy()
    return left, right, left[:, ::-1]


def _judged(got: Any, expected: Any, options: CudaOptions) -> str | None:  # noqa: ANN401
    error = float(np.abs(got.astype(np.float64) - expected).max()) if np.isfinite(got).all() else float("inf")
    if error == 0 or (options.tf32 and error <= 2.0**-10):
        return None
    cause = "its products are rounded to TF32, which was not asked for" if error <= 2.0**-10 else "it cannot be trusted"
    return f"Expected exact products; the largest error is {error:.1e}: {cause}."


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
