"""The wheel and the sdist, built once, and fresh environments with one extra each."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT, once

#: The environment of `make test-release`, with the tools that build and audit.
TOOLS = ROOT / ".venv-release" / "bin" / "python"
#: Whose pip installs into the fresh environments, which have none of their own; with the indexes of `make`.
PATH = f"{TOOLS.parent}{os.pathsep}{os.environ['PATH']}"
PIP_ARGS = os.environ.get("PIP_ARGS", "").split()


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str


def ran(*command: object, cwd: Path = ROOT, **environment: str) -> Done:
    """Run a command without this repository on any path."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | environment
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean, capture_output=True, text=True, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Built:
    """What would be uploaded."""

    wheel: Path
    sdist: Path


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Built:
    """The sdist, and the wheel that is built from it."""

    def build(folder: Path) -> None:
        done = ran(TOOLS, "-m", "build", "--outdir", folder, ROOT)
        assert done.code == 0, done.out + done.err

    folder = once(tmp_path_factory, "dist", build)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist)


@dataclass(frozen=True)
class Environment:
    """A fresh environment into which the package was installed."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def run(self, *arguments: object, cwd: Path) -> Done:
        """The console script."""
        return ran(self.folder / "bin" / "lunet-export", *arguments, cwd=cwd, CUDA_VISIBLE_DEVICES="", PATH=PATH)

    def imports(self, code: str, cwd: Path) -> Done:
        """Python code."""
        return ran(self.python, "-c", code, cwd=cwd)


@pytest.fixture
def install(built, tmp_path_factory):
    """Make an environment with the wheel or the sdist, extras and all, and nothing else."""
    made = []

    def fresh(extras: Sequence[str] = (), *, of: str = "wheel") -> Environment:
        folder = tmp_path_factory.mktemp("_".join([of, *extras]) or "core") / "env"
        made.append(folder)
        assert ran(sys.executable, "-m", "venv", "--without-pip", folder).code == 0
        what = f"{getattr(built, of)}{'[' + ','.join(extras) + ']' if extras else ''}"
        pip = [TOOLS, "-m", "pip", "--python", folder / "bin" / "python", "install", "-q", "--no-compile", *PIP_ARGS]
        done = ran(*pip, "-c", ROOT / "constraints.txt", what)
        assert done.code == 0, done.out + done.err
        return Environment(folder)

    yield fresh
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)  # more than a gigabyte with CUDA's libraries
