"""What the embeddings are built with: `make test-embed` installs it into .venv-embed; here it is found and used."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lunet_export.artifact import sealed
from lunet_export.files.reading import sha256
from tests.embedding import builds
from tests.embedding.builds import ROOT, TOOLS, Done, command

MODELS = ("toy2d", "digits", "mnist")
LANGUAGES = ("c", "c, sanitized", "c++", "rust", "node", "node, web")
#: An exported folder, and for some a library of ONNX Runtime -> what the program said.
Program = Callable[..., Done]
# ONNX Runtime keeps what it allocates for its lifetime: leaks are looked for in a test of their own.
_NO_LEAKS = {"ASAN_OPTIONS": "detect_leaks=0"}


@pytest.fixture(scope="session", autouse=True)
def _installed():
    if not (TOOLS / "setup").exists():
        pytest.skip("needs compilers, Node's packages and Chromium: run `make test-embed`")


@pytest.fixture(scope="session")
def runtime(tmp_path_factory) -> Path:
    """The library of the Python package."""
    return builds.runtime(tmp_path_factory.mktemp("runtime"))


@pytest.fixture(scope="session")
def c_program(tmp_path_factory) -> Path:
    return builds.c(tmp_path_factory.mktemp("c") / "project")


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory) -> Path:
    """The same with AddressSanitizer and UndefinedBehaviorSanitizer."""
    return builds.c(tmp_path_factory.mktemp("c") / "project", *builds.SANITIZERS)


@pytest.fixture(scope="session")
def rust_program(tmp_path_factory) -> Path:
    return builds.rust(tmp_path_factory.mktemp("rust") / "project")


@pytest.fixture(scope="session")
def node_project(tmp_path_factory) -> Path:
    return builds.node(tmp_path_factory.mktemp("node") / "project").parent


@pytest.fixture(scope="session")
def programs(c_program, sanitized, rust_program, node_project, runtime, tmp_path_factory) -> dict[str, Program]:
    """Every native program and Node's two, called alike."""
    cpp_program = builds.cpp(tmp_path_factory.mktemp("cpp") / "project")
    replay = node_project / "replay.mjs"
    return {
        "c": lambda folder, library=runtime: command(c_program, folder, "cpu", library),
        "c, sanitized": lambda folder, library=runtime: command(sanitized, folder, "cpu", library, env=_NO_LEAKS),
        "c++": lambda folder, library=runtime: command(cpp_program, folder, "cpu", library),
        "rust": lambda folder, library=runtime: command(rust_program, folder, "cpu", library),
        "node": lambda folder: command("node", replay, folder, "node"),
        "node, web": lambda folder: command("node", replay, folder, "web"),
    }


@pytest.fixture(params=LANGUAGES)
def program(request, programs) -> Program:
    """One program after another."""
    return programs[request.param]


@pytest.fixture
def altered(tmp_path) -> Callable[..., Path]:
    """Copies a committed export, or a folder, and changes files of it; the manifest agrees unless told otherwise."""

    def alter(model: str | Path, *, agree: bool = True, **changes: Callable[[Any], None]) -> Path:
        folder = tmp_path / Path(model).name
        shutil.copytree(ROOT / "exported" / model, folder)
        for file, change in changes.items():
            path = folder / f"{file}.json"
            document = json.loads(path.read_text())
            change(document)
            path.write_text(json.dumps(document))
        manifest = json.loads((folder / "manifest.json").read_text())
        if agree:
            manifest["sha256"]["vectors.json"] = sha256((folder / "vectors.json").read_bytes())
            manifest["bytes"]["vectors.json"] = (folder / "vectors.json").stat().st_size
            (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
        return folder

    return alter


_CHECK = re.compile(r"vectors (.+): ([\d.e+-]+|nan|inf|NaN|Infinity) of the tolerance(; FAILED.*)?")


def checks_of(out: str) -> dict[str, tuple[float, bool]]:
    """Of each line about vectors: the share of the tolerance, and whether it passed."""
    found = (_CHECK.fullmatch(line) for line in out.splitlines())
    return {match[1]: (float(match[2]), match[3] is None) for match in found if match}
