"""The lines that `embed` prints, and those of every README, pasted into a shell in an empty folder."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from lunet_export.embedding.project import PROJECTS
from tests.cli.conftest import run
from tests.embedding import builds
from tests.embedding.builds import ROOT

NATIVE = ("c", "cpp", "rust", "node")
GOOD = "all 6 vectors are within their tolerance"


def pasted(lines: str, cwd: Path) -> str:
    """What a shell says that stops at the first line that fails."""
    env = os.environ | {"npm_config_prefer_offline": "true"}
    done = subprocess.run(
        ["bash", "-e"], input=lines, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("language", NATIVE)
def test_the_printed_steps_work_as_printed(language, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("embed", ROOT / "exported" / "toy2d", "--language", language, "-o", "my flow")
    steps = err.replace("next: ", "")
    assert (code, len(steps.splitlines()) >= 3) == (0, True)
    assert pasted(steps, tmp_path).splitlines()[-1] == GOOD


@pytest.mark.parametrize("language", NATIVE)
def test_the_commands_of_the_readme_work_as_they_stand(language, tmp_path):
    code, _, _ = run("embed", ROOT / "exported" / "toy2d", "--language", language, "-o", tmp_path / "flow")
    (block,) = re.findall(r"```sh\n(.*?)```", (PROJECTS / language / "README.md").read_text(), re.DOTALL)
    assert (code, pasted(block, tmp_path / "flow").splitlines()[-1]) == (0, GOOD)


def test_the_project_of_cmake_builds_without_a_warning(tmp_path):
    assert run("embed", ROOT / "exported" / "toy2d", "--language", "cpp", "-o", tmp_path / "flow")[0] == 0
    assert "cmake -S . -B build && cmake --build build" in (tmp_path / "flow" / "README.md").read_text()
    builds.build("cmake", "-S", ".", "-B", "build", cwd=tmp_path / "flow")
    builds.build("cmake", "--build", "build", cwd=tmp_path / "flow")
    library = builds.runtime(tmp_path)
    done = builds.command("build/replay", "model", "cpu", library, cwd=tmp_path / "flow")
    assert (done.code, done.out.splitlines()[-1]) == (0, GOOD)
