"""Every `next:` line, pasted: a table of the commands that print one, and what becomes of it."""

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import typer

import lunet_cli
from lunet_cli.main import app
from lunet_export.embedding import web_runtime
from tests.cli.conftest import run

QUICK = ("--epochs", "1", "--blocks", "2", "--init", "bend")


def zuko() -> None:
    """A module of a user's, with a flow of zuko's."""
    pytest.importorskip("zuko", reason="zuko is not installed: run make setup-dev")
    Path("made_of_zuko.py").write_text(
        "import zuko\ndef build():\n    return zuko.flows.MAF(3, transforms=1, hidden_features=(8,))\n"
    )


#: Programs of others, whose lines tests of their own paste: tests/embedding/test_steps.py, test_triton.py here.
OTHERS = {"cd", "cc", "c++", "./replay", "cargo", "target/release/replay", "npm", "node", "docker", "curl", "python"}


def grey() -> None:
    """Rows for the small model, in a file that a command has to be told more of."""
    rows = np.random.default_rng(0).integers(0, 17, (200, 16)).astype(np.uint8)
    lines = [",".join([*map(str, row), "text"]) for row in rows]
    Path("rows.csv").write_text("\n".join([f"{PIXELS},note", *lines]) + "\n")


def key() -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key"], check=True)


def package() -> None:
    Path("web/dist").mkdir(parents=True)
    for name in (*web_runtime.WASM, *web_runtime.WEBGPU):
        (Path("web") / "dist" / name).write_text("")


PIXELS = ",".join(f"p{number}" for number in range(16))
#: By the file of the command: what is typed, and what is made before.
CASES = {
    "train": (["train", "two-moons", "-o", "my model.pt", *QUICK], lambda: None),
    "train again": (["train", "two-moons", "-o", "small.pt", "--force", *QUICK], lambda: run("small.pt")),
    "import_": (["import", "zuko", "made_of_zuko:build"], zuko),
    "export": (["small.pt"], lambda: None),
    "export again": (["small.pt"], lambda: Path("grid.png").touch()),
    "inspect": (["inspect", "small"], lambda: None),
    "recalibrate": (
        [
            "recalibrate",
            "small.pt",
            "rows.csv",
            "-o",
            "better.pt",
            "--seed",
            "3",
            "--levels",
            "17",
            "--columns",
            PIXELS,
        ],
        grey,
    ),
    "sign": (["sign", "small", "--key", "key"], key),
    "triton": (["triton", "small", "-o", "repo"], lambda: None),
    "demo_page": (["demo-page", "small", "-o", "site", "--runtime", "web"], package),
    "embed": (["embed", "small", "--language", "c", "-o", "flow"], lambda: None),
    "embed browser": (["embed", "small", "--language", "browser", "-o", "flow", "--runtime", "web"], package),
}


def is_taken(words: list[str]) -> bool:
    """Whether the command line takes the words; nothing is done of what they say."""
    command = typer.main.get_command(app).commands[words[0]]
    try:
        command.make_context(words[0], words[1:])
    except Exception as error:
        if "ClickException" in {kind.__name__ for kind in type(error).__mro__}:
            return False
        raise
    return True


@pytest.mark.parametrize(("command", "prepare"), CASES.values(), ids=CASES)
def test_what_is_printed_works_where_it_is_printed(command, prepare, model, ready, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare()
    code, _, err = run(*command)
    lines = [line.removeprefix("next: ") for line in err.splitlines() if line.startswith("next: ")]
    assert (code, len(lines) > 0) == (0, True), err
    for line in lines:
        program, *words = shlex.split(line, comments=True)
        assert line == shlex.join([program, *words]), "no comments, no placeholders"
        if program in OTHERS:
            continue
        assert program == "lunet-export"
        if words[0] == "serve":
            assert is_taken(words)
            assert (Path(words[1]) / "index.html").is_file() or (Path(words[1]) / "replay.html").is_file()
            continue
        assert run(*words)[0] == 0, line


def test_every_command_that_prints_one_is_in_the_table():
    folder = Path(lunet_cli.__file__).parent
    printing = {path.stem for path in folder.glob("*.py") if re.search(r"\bhints\.say", path.read_text())}
    assert printing == {name.split()[0] for name in CASES}


def test_a_line_that_cannot_be_pasted_would_be_seen(model, tmp_path, monkeypatch):
    """Planted: an option that there is not, and a file that is not there."""
    monkeypatch.chdir(tmp_path)
    assert not is_taken(["serve", "site", "--nowhere"])
    assert run("sample", "nowhere")[0] == 2
    assert shlex.split("inspect small --all   # 12 more lines") != ["inspect", "small", "--all"]
