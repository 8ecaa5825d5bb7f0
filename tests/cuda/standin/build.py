"""Compiles the stand-in CUDA libraries that the CUDA provider of an installed onnxruntime-gpu links.

python tests/cuda/standin/build.py TARGET PROVIDERS   (PROVIDERS: the folder of libonnxruntime_providers_cuda.so)
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PROVIDER = "libonnxruntime_providers_cuda.so"
TENSORRT_PROVIDER = "libonnxruntime_providers_tensorrt.so"

#: Sources of each library; one without has no function that the provider calls.
SOURCES = {
    "libcuda.so.1": ["driver.c"],
    "libcudart.so.13": ["cudart.c", "kernels.c"],
    "libcublas.so.13": ["cublas.c"],
    "libcublasLt.so.13": ["cublaslt.c"],
    "libcurand.so.10": [],
}
#: What the TensorRT provider links beside these. With it, ONNX Runtime lists its kernels; without, it crashes.
TENSORRT_SOURCES = {
    "libnvinfer.so.10": ["tensorrt.c"],
    "libnvonnxparser.so.10": ["tensorrt.c"],
    "libcudnn.so.9": ["tensorrt.c"],
}
#: Libraries whose functions carry no version, and the names that are theirs.
_UNVERSIONED = {
    "libcuda.so.1": r"cu[A-Z]",
    "libnvinfer.so.10": r"createInfer|getInferLibVersion|getPluginRegistry",
    "libnvonnxparser.so.10": r"createNvOnnx",
}
_RUNTIME = "libcudart.so.13"  # has the log
_LOGGING = ("libcublas.so.13", "libcublasLt.so.13")
_PROGRAMS = ("gcc", "nm", "readelf")
_FLAGS = ["-std=c11", "-O1", "-shared", "-fPIC"]


class BuildError(Exception):
    """The stand-in cannot be built; the message is one sentence."""


def build(target: Path, providers: Path, *, tensorrt: bool = False) -> None:
    """Compile every library into `target` and compare it with what the provider in `providers` needs.

    Args:
        target: A folder for LD_LIBRARY_PATH.
        providers: The folder of `PROVIDER`.
        tensorrt: Stand in for TensorRT too. Its cuDNN computes nothing: no graph may run with it.

    Raises:
        BuildError: A program is missing, a source does not compile, or the provider needs a library or a function that
            the stand-in lacks: it is of another version.
    """
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        raise BuildError(
            f"Expected {', '.join(_PROGRAMS)} to build the stand-in CUDA runtime; {', '.join(missing)} is missing. "
            "Install gcc and binutils."
        )
    target.mkdir(parents=True, exist_ok=True)
    sources = SOURCES | (TENSORRT_SOURCES if tensorrt else {})
    for library in sorted(sources, key=lambda name: name != _RUNTIME):  # first what others are linked to
        _compile(library, sources[library], target)
    for provider in (PROVIDER, TENSORRT_PROVIDER) if tensorrt else (PROVIDER,):
        for library, functions in needed(providers / provider).items():
            lacking = functions - _defined(target / library) if library in sources else {"the whole library"}
            if lacking:
                raise BuildError(
                    f"Expected a provider that the stand-in knows; {provider} needs {', '.join(sorted(lacking))} of "
                    f"{library}. Add it to {HERE.name}."
                )


def needed(provider: Path) -> dict[str, set[str]]:
    """Functions of each CUDA library that a shared object links, from its dynamic section and undefined symbols."""
    linked = re.findall(r"\[(lib(?:cu|nv)[^\]]+)\]", _read("readelf", "-d", provider))
    functions: dict[str, set[str]] = {library: set() for library in linked}
    for line in _read("nm", "-D", "--undefined-only", provider).splitlines():
        name, _, library = line.split()[-1].partition("@")
        for other, names in _UNVERSIONED.items():
            if not library and other in functions and re.match(names, name):
                library = other
        if library in functions:
            functions[library].add(name)
    return functions


def _defined(library: Path) -> set[str]:
    lines = _read("nm", "-D", "--defined-only", library).splitlines()
    return {line.split()[-1].partition("@")[0] for line in lines}


def _compile(library: str, sources: list[str], target: Path) -> None:
    inputs = [HERE / source for source in sources] or [Path("/dev/null")]
    log = [target / _RUNTIME] if library in _LOGGING else []
    # Functions carry the name of their library as version, as the real ones do.
    versions = "{ global: *; };" if library in _UNVERSIONED else f"{library} {{ global: *; }};"
    with tempfile.NamedTemporaryFile("w", suffix=".map") as script:
        script.write(versions)
        script.flush()
        linker = [f"-Wl,-soname,{library}", f"-Wl,--version-script,{script.name}"]
        command = ["gcc", *_FLAGS, *linker, "-x", "c", *inputs, "-x", "none", *log, "-o", target / library]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"Expected {library} to compile; gcc says: {done.stderr.strip()}")


def _read(program: str, *arguments: str | Path) -> str:
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"Expected {program} to read {arguments[-1]}; it says: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]), Path(sys.argv[2]))
    except BuildError as error:
        sys.exit(str(error))
