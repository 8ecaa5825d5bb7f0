"""How a command ends: its sentence, whatever the terminal; its exit code; its document where JSON was asked for."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from lunet_cli.main import app
from lunet_export.runtime import doctor
from tests.cli.conftest import run

MAIN = [sys.executable, "-c", "from lunet_cli.start import main; main()"]


@pytest.fixture
def defect(monkeypatch):
    """`doctor` with a defect: what nobody foresaw."""

    def examine(*_):
        raise ValueError("of some library.\n  its second line")

    monkeypatch.setattr(doctor, "examine", examine)


def test_what_nobody_foresaw_is_70_and_no_failed_check(defect, monkeypatch):
    done = CliRunner().invoke(app, ["doctor", "--json"])
    (sentence,) = done.stderr.splitlines()
    assert (done.exit_code, "Traceback" in done.stderr) == (70, False)
    assert "This is a defect of lunet-export" in sentence
    assert "ValueError: of some library. its second line at test_ends.py:" in sentence
    assert json.loads(done.stdout)["exit_code"] == 70
    monkeypatch.setenv("LUNET_TRACEBACK", "1")
    assert "in examine" in CliRunner().invoke(app, ["doctor"]).stderr


def test_a_package_that_is_no_extra_of_ours_is_a_defect(monkeypatch):
    def examine(*_):
        raise ModuleNotFoundError("No module named 'nowhere'", name="nowhere")

    monkeypatch.setattr(doctor, "examine", examine)
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 70


def test_an_installation_that_lost_a_package_is_no_traceback():
    code = "import sys; sys.modules['rich.console'] = None; from lunet_cli.start import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "doctor"], capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, line.startswith("lunet-export: Expected rich.console to be imported; ")) == (2, True)


ERRORS = {
    "of a file": (["check", "none"], 2),
    "of an argument": (["check", "none", "--threads", "many"], 2),
    "of a command": (["trian", "none"], 2),
    "of a provider": (["doctor", "--provider", "cuda"], 3),
    "of the system": (["sample", "{small}", "-o", "/proc/nothing/x.npy"], 4),
}


@pytest.mark.parametrize(("arguments", "code"), ERRORS.values(), ids=ERRORS)
def test_with_json_every_error_is_one_document(arguments, code, ready):
    got, out, err = run(*(argument.replace("{small}", str(ready)) for argument in arguments), "--json")
    document = json.loads(out)  # one document, also of doctor, which has said much before
    assert (got, document["exit_code"], document["passed"]) == (code, code, False)
    assert err == f"lunet-export: {document['error']}\n"


def test_a_check_that_fails_says_all_in_one_document(ready, monkeypatch):
    from lunet_export import parity

    monkeypatch.setattr(parity, "all_passed", lambda checks: False)
    code, out, _ = run("check", ready, "--json")
    document = json.loads(out)
    assert (code, document["exit_code"], document["passed"]) == (1, 1, False)
    assert (bool(document["checks"]), "Expected all differences" in document["error"]) == (True, True)


def test_a_result_is_one_document_and_no_error(ready):
    document = json.loads(run("check", ready, "--json")[1])
    assert (document["passed"], "error" in document, "exit_code" in document) == (True, False, False)


def test_check_tells_which_export_it_is(ready):
    manifest = json.loads((ready / "manifest.json").read_text())
    document = json.loads(run("check", ready, "--json")[1])
    assert (document["name"], document["versions"]) == (manifest["model"]["name"], manifest["versions"])
    identities = manifest["model"]["sha256_weights"], manifest["sha256_manifest"]
    assert (document["sha256_weights"], document["sha256_manifest"]) == identities
    printed = json.loads(run("verify", ready, "--json")[1])["sha256"]["manifest.json"]
    for expected in (identities[0], identities[1].upper(), printed):
        assert run("check", ready, "--expect", expected)[0] == 0
    code, _, err = run("check", ready, "--expect", "0" * 64)
    assert (code, *(known in err for known in (*identities, printed))) == (2, True, True, True)
    code, _, err = run("check", ready, "--expect", identities[0][:8])
    assert (code, "64 hexadecimal digits" in err) == (2, True)


def test_no_width_is_no_silence():
    """Some job systems set COLUMNS to 0."""
    environment = {**os.environ, "COLUMNS": "0"}
    done = subprocess.run([*MAIN, "check", "none"], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "Expected an exported folder; none does not exist" in done.stderr) == (2, True)
    done = subprocess.run([*MAIN, "check", "--help"], env=environment, capture_output=True, text=True, check=False)
    assert "Check a folder against" in done.stdout


def test_a_home_that_is_not_there_is_no_news(ready, tmp_path):
    """Matplotlib would say in two lines where it puts its cache instead."""
    np.save(tmp_path / "grey.npy", np.random.default_rng(0).integers(0, 17, (60, 16), dtype=np.uint8))
    unset = ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {"HOME": "/proc/nothing"}
    arguments = ["plot", "latents", str(ready), str(tmp_path / "grey.npy"), "-o", str(tmp_path / "x.png")]
    done = subprocess.run([*MAIN, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


MISSPELT = {
    "number": (["train", "digits", "--epochs", "2.5"], "Invalid value for '--epochs': ", "integer"),
    "choice": (["train", "digits", "--flow", "realvnp"], "Invalid value for '--flow': 'realvnp'", "mean realnvp?"),
    "kind": (["plot", "densty", "x", "-o", "x.png"], "Invalid value for 'kind': 'densty'", "mean density?"),
    "range": (["sample", "x", "-n", "0", "-o", "x.npy"], "Invalid value for '-n': ", "1"),
    "option": (["train", "digits", "--epoch", "2"], "No such option: --epoch", "--epochs"),
    "nothing": (["check"], "Missing argument", "check --help."),
    "command": (["trian", "digits"], "Expected a command", "Did you mean train?"),
    "data set": (["train", "digts", "-o", "x.pt"], "Expected a data set", "Did you mean digits?"),
    "ours": (["bench", "x", "--batch", "1,x"], "Expected --batch of positive numbers", "got 1,x."),
}


@pytest.mark.parametrize(("arguments", "begins", "holds"), MISSPELT.values(), ids=MISSPELT)
def test_wrong_arguments_get_one_line_and_the_word_that_was_meant(arguments, begins, holds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    (line,) = err.splitlines()
    assert (code, out, line.startswith(f"lunet-export: {begins}"), holds in line) == (2, "", True, True), err


@pytest.mark.parametrize("command", ["check", "export", "inspect"])
def test_what_may_not_be_read_is_exit_code_4(command, ready, model, monkeypatch):
    """The parser finds it for what it is given, the system for a file inside: one answer for both."""
    path, access = model if command == "export" else ready, os.access
    monkeypatch.setattr(os, "access", lambda what, *more, **named: what != path and access(what, *more, **named))
    code, _, err = run(command, path)
    assert (code, err) == (4, f"lunet-export: The operating system refused: Permission denied ({path}).\n")


MISPLACED = {
    "a picture and log p": (
        ["sample", "-o", "x.png", "--with-log-prob"],
        "-o of .parquet, .arrow, .npy, .csv or a folder",
    ),
    "a latent and log p": (["sample", "-o", "y.npy", "--with-log-prob", "--latent", "z.npy"], "no --latent with"),
    "a file and resume": (["sample", "-o", "y.npy", "--resume"], "a folder for -o with --resume; got the file y.npy"),
    "parts of a latent": (["sample", "-o", "parts", "--latent", "z.npy"], "no --latent with rows that are streamed"),
    "rows and resume": (["score", "x.npy", "--resume"], "a folder for -o with --resume; got none"),
    "weights of one": (["score", "x.npy", "--weights", "1"], "--with FOLDER beside --weights"),
    "columns of none": (["score", "x.npy", "--columns", "a,b"], "--columns of 1 .. 16 in x.npy; got 'a'"),
}


@pytest.mark.parametrize(("arguments", "words"), MISPLACED.values(), ids=MISPLACED)
def test_the_option_that_is_wrong_is_named_and_no_other(arguments, words, ready, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.ones((2, 16)))
    command, *rest = arguments
    code, _, err = run(command, ready, *rest)
    assert (code, f"Expected {words}" in err) == (2, True), err
    others = {"--resume", "--engine", "--with-log-prob", "--weights", "--columns"} - set(rest)
    assert [name for name in others if name in err] == []


def test_help_breaks_lines_where_the_terminal_does():
    """And not where the source does: a newline inside a paragraph is printed as one, at any width."""
    for command in app.registered_commands:
        for paragraph in command.help.split("\n\n"):
            assert all(line.startswith("Example:") for line in paragraph.splitlines()[1:]), paragraph
    assert any("Example:" in command.help for command in app.registered_commands)
