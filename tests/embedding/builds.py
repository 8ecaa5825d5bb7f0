"""How each project is built, as its README says, from what `make test-embed` put into .venv-embed."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from lunet_export.embedding import write_project

ROOT = Path(__file__).parent.parent.parent
TOOLS = ROOT / ".venv-embed"
PACKAGES = TOOLS / "node_modules"
HEADERS = TOOLS / "headers" / "usr" / "include" / "onnxruntime"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
_STRICT = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror")
_MODEL = ROOT / "exported" / "toy2d"


@dataclass(frozen=True)
class Done:
    """A program that ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """What it complained of: one line."""
        return self.err.strip()


def command(*arguments: Any, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Done:
    """Run to the end; five minutes at most."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def build(*arguments: Any, cwd: Path) -> None:
    """A step of a build, which must succeed without a warning."""
    done = command(*arguments, cwd=cwd)
    assert done.code == 0, done.out + done.err
    assert "warning:" not in done.out + done.err, done.out + done.err


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def library(package: str) -> Path:
    """ONNX Runtime's own library in an npm package of it."""
    (found,) = (path for path in (PACKAGES / package / "bin").rglob("libonnxruntime.so.1*") if "linux/x64" in str(path))
    return found


def runtime(folder: Path) -> Path:
    """The library of the Python package, by the names that a linker and a loader look for, in a new folder."""
    (found,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.1.*")
    for name in ("libonnxruntime.so.1", "libonnxruntime.so"):
        (folder / name).symlink_to(found)
    return folder / "libonnxruntime.so.1"


def c(folder: Path, *flags: str) -> Path:
    """replay.c of a new project."""
    write_project("c", _MODEL, folder)
    build("gcc", *_STRICT, "-O2", *flags, "replay.c", "-o", "replay", "-lm", "-ldl", cwd=folder)
    return folder / "replay"


def rust(folder: Path) -> Path:
    """The Rust program of a new project."""
    write_project("rust", _MODEL, folder)
    build("cargo", "build", "--release", "--offline", "--quiet", cwd=folder)
    return folder / "target" / "release" / "replay"


def cpp(folder: Path, *flags: str, source: str = "") -> Path:
    """The C++ program of a new project, or another in its place."""
    write_project("cpp", _MODEL, folder)
    if source:
        (folder / "replay.cpp").write_text(source)
    build("gcc", *_STRICT, "-O2", *flags, "-c", "lunet.c", cwd=folder)
    strict = ("-std=c++20", *_STRICT[1:])
    build("g++", *strict, "-O2", *flags, "replay.cpp", "lunet.o", "-o", "replay", "-lm", "-ldl", cwd=folder)
    return folder / "replay"


def node(folder: Path) -> Path:
    """replay.mjs of a new project, with the packages that are installed already."""
    write_project("node", _MODEL, folder)
    (folder / "node_modules").symlink_to(PACKAGES)
    return folder / "replay.mjs"
