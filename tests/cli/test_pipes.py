"""`-`: rows on stdin are those of a file, in every command that takes rows, and a text on stdout is the only one."""

import csv
import json
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import lunet_cli
from lunet_cli import pipes
from lunet_cli.main import app
from lunet_export.errors import DataError
from tests.cli.conftest import run
from tests.conftest import ROOT

QUICK = ("--epochs", "1", "--blocks", "2", "--init", "bend")
TOY, DIGITS = ROOT / "exported" / "toy2d", ROOT / "exported" / "digits-classes"


def piped(*arguments, given: bytes = b"") -> tuple[int, bytes, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)
    return result.exit_code, result.stdout_bytes, result.stderr


def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((300, 2)).astype(np.float32)


def npy(array: np.ndarray) -> bytes:
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


def as_csv(array: np.ndarray) -> bytes:
    return "\n".join(["a,b", *(",".join(map(repr, row)) for row in array.tolist())]).encode() + b"\n"


#: The commands that take a data set, which `-` stands for; what is printed of it, or the file that is written.
COMMANDS = {
    "diagnose": (["diagnose", TOY, "-", "--json"], None),
    "certify": (["certify", TOY, "-", "--json", "--rows", "8"], None),
    "plot": (["plot", "density", TOY, "-", "-o", "p.png", "-n", "50"], "p.png"),
    "train": (["train", "-", "-o", "m.pt", *QUICK], "m.history.json"),
    "recalibrate": (["recalibrate", f"{TOY}.pt", "-", "-o", "r.pt", "--json"], None),
}


@pytest.mark.parametrize("form", ["npy", "csv"])
@pytest.mark.parametrize("name", COMMANDS)
def test_rows_on_stdin_are_those_of_a_file(name, form, tmp_path, monkeypatch):
    given = npy(rows()) if form == "npy" else as_csv(rows())
    command, written = COMMANDS[name]
    answers = []
    for source in ("-", f"stdin.{form}"):
        folder = tmp_path / source.replace("-", "pipe")
        folder.mkdir()
        monkeypatch.chdir(folder)
        Path(f"stdin.{form}").write_bytes(given)
        code, out, err = piped(*[source if word == "-" else word for word in command], given=given)
        assert code == 0, err
        answers.append(Path(written).read_bytes() if written else out)
    if name == "train":
        answers = [[epoch["train"] for epoch in json.loads(text)["epochs"]] for text in answers]
    assert answers[0] == answers[1]


def test_classes_on_stdin(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from sklearn.datasets import load_digits

    x, labels = load_digits(return_X_y=True)
    head = ",".join([*(f"p{n}" for n in range(64)), "digit"])
    lines = [",".join(map(str, [*row.astype(int), label])) for row, label in zip(x[:400], labels[:400], strict=True)]
    given = "\n".join([head, *lines]).encode()
    Path("stdin.csv").write_bytes(given)
    options = ["--label", "digit", "--levels", "17", "--json"]
    code, out, err = piped("classify", DIGITS, "-", *options, given=given)
    assert (code, json.loads(out)) == (0, json.loads(run("classify", DIGITS, "stdin.csv", *options)[1])), err


def test_the_model_says_that_its_rows_came_from_stdin(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = piped("train", "-", "-o", "m.pt", *QUICK, given=as_csv(rows()))
    assert (code, str(tmp_path) in err, "/tmp" in err) == (0, False, False)
    assert json.loads(run("inspect", "m.pt", "--json")[1])["training"]["dataset"] == "stdin"


@pytest.mark.parametrize(
    ("command", "given", "sentence"),
    [
        (["train", "-", "-o", "m.pt"], b"PAR1xxxx", "Expected .npy or CSV from stdin; got Parquet."),
        (["train", "-", "-o", "m.pt"], b"", "it holds no rows"),
        (["diagnose", TOY, "-"], b"1,2\n3,x\n", "line 2, column 2"),
        (
            ["diagnose", TOY, "-", "--columns", "b,c"],
            as_csv(np.ones((20, 2))),
            "Expected --columns of a, b in stdin; got 'c'",
        ),
        (["diagnose", TOY, "mixture", "--against", "-"], b"1,2,3\n" * 30, "stdin has 3"),
    ],
)
def test_what_is_wrong_with_stdin_is_said_of_stdin(command, given, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = piped(*command, given=given)
    assert (code, sentence in err, "/tmp" in err, list(tmp_path.iterdir())) == (2, True, False, []), err


def test_a_closed_stdin_and_a_terminal_are_said(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match="it is closed"), pipes.source_file(Path("-")):
        pass
    terminal = TextIOWrapper(BytesIO(b"1,2\n"))
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", terminal)
    with pipes.source_file(Path("-")) as path:
        assert path.read_text() == "1,2\n"
    assert capsys.readouterr().err == "reading rows from the terminal until Ctrl-D\n"


@pytest.mark.parametrize("name", ["/dev/stdin", "<(cat rows.csv)"])
@pytest.mark.parametrize("command", ["score {toy}", "diagnose {toy}", f"train -o m.pt {' '.join(QUICK)}"])
def test_streams_of_a_shell_are_read_too(command, name, tmp_path):
    (tmp_path / "rows.csv").write_bytes(as_csv(rows()))
    line = f"{sys.executable} -m lunet_export {command.format(toy=TOY)} {name} < rows.csv"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_one_module_reads_stdin():
    folder = Path(lunet_cli.__file__).parent
    assert {path.name for path in folder.glob("*.py") if "stdin.buffer" in path.read_text()} == {"pipes.py"}


def test_after_rows_from_stdin_the_next_command_needs_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, _, err = piped("recalibrate", f"{TOY}.pt", "-", "-o", "r.pt", given=npy(rows()))
    assert err.splitlines()[-1] == "next: lunet-export r.pt"


# stdout


def test_a_table_of_times_goes_to_stdout_alone(ready):
    code, out, _ = run("bench", ready, "--batch", "1", "--seconds", "0.05", "--csv", "-")
    lines = list(csv.DictReader(out.splitlines()))
    assert (code, {line["direction"] for line in lines}) == (0, {"density", "sampling"})


def test_a_report_goes_to_stdout_alone(ready, rewrite):
    code, out, _ = run("check", ready, "--report", "-")
    document = json.loads(out)
    assert (code, document["passed"], document["machine"]["system"] != "") == (0, True, True)


TO_STDOUT = {
    "export": ["{model}", "-o", "-"],
    "triton": ["triton", "{ready}", "-o", "-"],
    "embed": ["embed", "{ready}", "--language", "c", "-o", "-"],
    "demo-page": ["demo-page", "{ready}", "-o", "-"],
    "plot of bench": ["bench", "{ready}", "--plot", "-"],
    "csv and json": ["bench", "{ready}", "--csv", "-", "--json"],
    "report and json": ["check", "{ready}", "--report", "-", "--json"],
    "model": ["train", "mixture", "-o", "-"],
    "picture": ["plot", "samples", "{ready}", "-o", "-"],
}


@pytest.mark.parametrize("command", TO_STDOUT.values(), ids=TO_STDOUT)
def test_what_cannot_go_to_stdout_gets_a_sentence(command, model, ready, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    code, _, err = run(*[word.format(model=model, ready=ready) for word in command])
    assert (code, "Expected" in err, len(err.splitlines())) == (2, True, 1), err
    assert sorted(tmp_path.iterdir()) == before
