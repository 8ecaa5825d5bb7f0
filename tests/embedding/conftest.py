"""What the embeddings are built with: `make test-embed` installs it into .venv-embed; here it is found and used."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lunet_export.artifact import sealed
from lunet_export.embedding import write_project
from lunet_export.files import sha256
from tests.conftest import ROOT

TOOLS = ROOT / ".venv-embed"
PACKAGES = TOOLS / "node_modules"
HEADERS = TOOLS / "headers" / "usr" / "include" / "onnxruntime"
MODELS = ("toy2d", "digits", "mnist")
_SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")


@pytest.fixture(scope="session", autouse=True)
def _installed():
    if not (TOOLS / "setup").exists():
        pytest.skip("needs compilers, Node's packages and Chromium: run `make test-embed`")


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
    """Run to the end; two minutes at most."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def build(*arguments: Any, cwd: Path) -> None:
    """A step of a build, which must succeed without a warning."""
    done = command(*arguments, cwd=cwd)
    assert done.code == 0, done.out + done.err
    assert "warning:" not in done.out + done.err, done.out + done.err


def library(package: str) -> Path:
    """ONNX Runtime's own library in an npm package of it."""
    (found,) = (PACKAGES / package / "bin").rglob("linux/x64/libonnxruntime.so.1*")
    return found


@pytest.fixture(scope="session")
def runtime(tmp_path_factory) -> Path:
    """The library of the Python package, by the names that a linker and a loader look for."""
    import onnxruntime

    (found,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.1.*")
    folder = tmp_path_factory.mktemp("runtime")
    for name in ("libonnxruntime.so.1", "libonnxruntime.so"):
        (folder / name).symlink_to(found)
    return folder / "libonnxruntime.so.1"


#: A program: an exported folder and a library of ONNX Runtime (None: the usual one) -> what it said.
Program = Callable[..., Done]


def _c(folder: Path, flags: tuple[str, ...]) -> Path:
    write_project("c", ROOT / "exported" / "toy2d", folder)
    strict = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror")
    build("gcc", *strict, "-O2", *flags, "replay.c", "-o", "replay", "-lm", "-ldl", cwd=folder)
    return folder / "replay"


@pytest.fixture(scope="session")
def c_program(tmp_path_factory) -> Path:
    """replay.c, built as its README says."""
    return _c(tmp_path_factory.mktemp("c") / "project", ())


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory) -> Path:
    """The same with AddressSanitizer and UndefinedBehaviorSanitizer."""
    return _c(tmp_path_factory.mktemp("c") / "project", _SANITIZED)


@pytest.fixture(scope="session")
def rust_program(tmp_path_factory) -> Path:
    """The Rust project, built."""
    folder = tmp_path_factory.mktemp("rust") / "project"
    write_project("rust", ROOT / "exported" / "toy2d", folder)
    build("cargo", "build", "--release", "--offline", "--quiet", cwd=folder)
    return folder / "target" / "release" / "replay"


def cpp(folder: Path, library: Path) -> Path:
    """The C++ project, linked with a library of ONNX Runtime."""
    write_project("cpp", ROOT / "exported" / "toy2d", folder)
    links = folder / "library"
    links.mkdir()
    for name in ("libonnxruntime.so", "libonnxruntime.so.1", library.resolve().name):
        (links / name).unlink(missing_ok=True)
        (links / name).symlink_to(library.resolve())
    places = (f"-DORT_INCLUDE_DIR={HEADERS}", f"-DORT_LIBRARY={links / 'libonnxruntime.so'}")
    build("cmake", "-S", ".", "-B", "build", "-DCMAKE_BUILD_TYPE=Release", *places, cwd=folder)
    build("cmake", "--build", "build", cwd=folder)
    return folder / "build" / "replay"


@pytest.fixture(scope="session")
def node_project(tmp_path_factory) -> Path:
    """The Node project, with the packages that are installed already."""
    folder = tmp_path_factory.mktemp("node") / "project"
    write_project("node", ROOT / "exported" / "toy2d", folder)
    (folder / "node_modules").symlink_to(PACKAGES)
    return folder


@pytest.fixture(scope="session")
def programs(c_program, sanitized, rust_program, node_project, runtime, tmp_path_factory) -> dict[str, Program]:
    """Every native program and Node's two, called alike."""
    cpp_program = cpp(tmp_path_factory.mktemp("cpp") / "project", runtime)
    replay = node_project / "replay.mjs"
    return {
        "c": lambda folder, library=runtime: command(c_program, folder, "cpu", library),
        # ONNX Runtime keeps what it allocates for its lifetime: leaks are looked for in tests of their own.
        "c, sanitized": lambda folder, library=runtime: command(
            sanitized, folder, "cpu", library, env={"ASAN_OPTIONS": "detect_leaks=0"}
        ),
        "c++": lambda folder: command(cpp_program, folder),
        "rust": lambda folder, library=runtime: command(rust_program, folder, "cpu", library),
        "node": lambda folder: command("node", replay, folder, "node"),
        "node, web": lambda folder: command("node", replay, folder, "web"),
    }


LANGUAGES = ("c", "c, sanitized", "c++", "rust", "node", "node, web")


@pytest.fixture(params=LANGUAGES)
def program(request, programs) -> Program:
    """One program after another."""
    return programs[request.param]


@pytest.fixture
def altered(tmp_path) -> Callable[..., Path]:
    """Copies a committed export and changes files of it; the manifest is made to agree unless told otherwise."""

    def alter(model: str, *, agree: bool = True, **changes: Callable[[Any], None]) -> Path:
        folder = tmp_path / model
        shutil.copytree(ROOT / "exported" / model, folder)
        for file, change in changes.items():
            path = folder / f"{file}.json"
            document = json.loads(path.read_text())
            change(document)
            path.write_text(json.dumps(document))
        manifest = json.loads((folder / "manifest.json").read_text())
        if agree:
            manifest["sha256"]["vectors.json"] = sha256((folder / "vectors.json").read_bytes())
            (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
        return folder

    return alter


_CHECK = re.compile(r"vectors (.+): ([\d.e+-]+|nan|inf|NaN|Infinity) of the tolerance(; FAILED.*)?")


def checks_of(out: str) -> dict[str, tuple[float, bool]]:
    """Of each line about vectors: the share of the tolerance, and whether it passed."""
    found = (_CHECK.fullmatch(line) for line in out.splitlines())
    return {match[1]: (float(match[2]), match[3] is None) for match in found if match}
