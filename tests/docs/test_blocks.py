"""The blocks of code in README.md and docs/ run, page by page, in the order in which they stand."""

import contextlib
import functools
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import lunet_export
from lunet_cli.main import app
from tests.conftest import ROOT
from tests.docs.pages import PAGES, Block, blocks

#: What a command gets beside what is printed, so that the suite stays fast.
QUICK = {"train": "--epochs 2", "bench": "--seconds 0.05 --batch 1 --no-compile"}
#: Commands of the shell that set a machine up. What they install or build is tested elsewhere.
NOT_RUN = {"pip", "make", ".", "git"}
#: What may stand in a block that is run; of any language, a block that has a title becomes a file.
RUN = {"sh", "python"}
#: The title of what the block before prints.
OUTPUT = "output"
#: What a line of the shell needs a shell for.
_SHELL = re.compile(r"[|<>;&$`]")


def runnable(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.language in RUN and block.reason is None]


def words(line: str) -> str:
    """A line without its numbers, and without what `bench` says of a busy machine: they differ from run to run."""
    split = line.removesuffix("wide spread").split()
    return " ".join(word for word in split if re.search("[a-z]", word, re.I) and not re.search("[0-9]", word))


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """What a reader has: the clone, the committed exports, a model, its folder and a table."""
    (tmp_path / "path" / "to" / "the").mkdir(parents=True)
    (tmp_path / "path" / "to" / "the" / "clone").symlink_to(ROOT)
    (tmp_path / "exported").mkdir()
    for path in (ROOT / "exported").iterdir():
        (tmp_path / "exported" / path.name).symlink_to(path)
    (tmp_path / "runs").mkdir()
    shutil.copy(ROOT / "exported" / "digits.pt", tmp_path / "runs")
    shutil.copytree(ROOT / "exported" / "digits", tmp_path / "runs" / "digits")
    z = np.random.default_rng(0).standard_normal((500, 3))
    table = np.column_stack([np.exp(0.3 * z[:, 0]), z[:, 1] + 0.5 * z[:, 0] ** 2, 40 + 9 * z[:, 2]])
    np.savetxt(tmp_path / "rows.csv", table, "%.9g", ",", header="mass,radius,age", comments="")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(lunet_export, "train", functools.partial(lunet_export.train, epochs=2))
    return tmp_path


def run_shell(text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Line by line: commands of this package in this process, which is fast, all others in a shell.

    Returns:
        What was printed, on both streams.
    """
    said = []
    for line in text.replace("\\\n", " ").splitlines():
        parts = shlex.split(line, comments=True)
        if not parts or parts[0] in NOT_RUN:
            continue
        if parts[0] == "cd":
            monkeypatch.chdir(parts[1])
        elif parts[0] == "lunet-export" and not _SHELL.search(line.partition(" #")[0]):
            more = shlex.split(QUICK.get(parts[1], ""))
            result = CliRunner().invoke(app, [*parts[1:], *more])
            assert result.exit_code == 0, (line, result.output)
            said.append(result.output)
        else:
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            done = subprocess.run(
                ["bash", "-ec", line], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (line, done.stderr)
            said += [done.stdout, done.stderr]
    return "".join(said)


def run_python(text: str, page: str, names: dict[str, Any]) -> str:
    """In this process, with the names of the blocks before it; returns what was printed."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(text, page, "exec"), names)
    return said.getvalue()


def validate_shown(block: Block, said: str) -> None:
    """It shows some of the lines that were printed, with other numbers."""
    printed = {words(line) for line in said.splitlines()}
    assert [line for line in block.text.splitlines() if words(line) not in printed | {""}] == [], said


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of other packages about each other
@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)])
def test_the_blocks_of_a_page_run(page, desk, request, monkeypatch):
    if page == "docs/gpu.md":
        request.getfixturevalue("cuda_on_host")
    names: dict = {"__name__": "__main__"}
    said = ""
    for block in blocks(page):
        if block.reason:
            continue
        if block.title == OUTPUT:
            validate_shown(block, said)
        elif block.title:
            (desk / block.title).parent.mkdir(parents=True, exist_ok=True)
            (desk / block.title).write_text(block.text)
        elif block.language == "sh":
            said = run_shell(block.text, monkeypatch)
        elif block.language == "python":
            said = run_python(block.text, page, names)
    for name in [name for name, module in sys.modules.items() if str(desk) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


def test_blocks_are_of_known_languages():
    """So that nothing escapes the test above by a name that it does not know."""
    read_only = {"text", "c", "cpp", "rust", "js", "json", "html", "toml", "yaml", "bibtex"}
    found = {(page, block.language) for page in PAGES for block in blocks(page)}
    assert {entry for entry in found if entry[1] not in RUN | read_only} == set()


def test_every_reason_is_one_of_few():
    """A block that is not run says why, in words that a reader may check."""
    allowed = re.compile(r"needs (a GPU|Docker|a network|hours|Marabou|a cluster|your \w+|another machine)")
    reasons = {block.reason for page in PAGES for block in blocks(page) if block.reason}
    assert {reason for reason in reasons if not allowed.match(reason)} == set()


def test_a_line_that_fails_is_seen(desk, monkeypatch):
    with pytest.raises(AssertionError, match="no-such-folder"):
        run_shell("lunet-export check no-such-folder\n", monkeypatch)
    with pytest.raises(AssertionError, match="false"):
        run_shell("false # as a program would\n", monkeypatch)


def test_text_that_was_not_printed_is_seen(desk, monkeypatch):
    said = run_shell("echo 3 of 4 checks passed\n", monkeypatch)
    validate_shown(Block("text", "4 of 4 checks passed\n\n...\n", OUTPUT, None), said)
    with pytest.raises(AssertionError, match="failed"):
        validate_shown(Block("text", "4 of 4 checks failed\n", OUTPUT, None), said)


def test_every_documented_option_exists():
    helps = "".join(
        CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"}).output
        for command in ([], *([c.name or c.callback.__name__] for c in app.registered_commands))
    )
    written = {
        option
        for page in PAGES
        for line in (ROOT / page).read_text(encoding="utf-8").splitlines()
        for option in re.findall(r"(?<![-\w])--[a-z][a-z-]+", line)
        if not re.search(r"\b(pip|docker|npm|cargo|cmake|make|ssh-keygen|nvidia-smi|uvicorn)\b", line)
    }
    assert {option for option in written if option not in helps} - {"--version", "--install-completion"} == set()
