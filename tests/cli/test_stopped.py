"""A training run that is stopped says what it has kept, and prints the command that goes on."""

import json
import os
import shlex
import signal

import numpy as np
import pytest

from lunet_cli import signals
from lunet_export.api.training_bar import TrainingBar
from lunet_export.training import History
from tests.cli.conftest import run

#: Small and grown from nothing: 60 rows of a plane, three blocks.
TRAIN = ("train", "plane.npy", "-o", "my model.pt", "--blocks", 3, "--epochs", 4)
BEND = (*TRAIN, "--init", "bend", "--optimizer", "adam")
FIRST = "nothing is kept before the end of the first"


@pytest.fixture
def stop(tmp_path, monkeypatch):
    """A function that runs a command which a signal stops at the n-th call of a method, before or after its work."""
    monkeypatch.chdir(tmp_path)
    np.save("plane.npy", np.random.default_rng(0).standard_normal((60, 2)))
    before = {number: signal.getsignal(number) for number in signals._NAMES}

    def stopped(where, method, at, *arguments, number=signal.SIGINT, after=True):
        calls, real = [], getattr(where, method)

        def call(*given, **named):
            calls.append(given)
            if len(calls) == at and not after:
                os.kill(os.getpid(), number)
            real(*given, **named)
            if len(calls) == at and after:
                os.kill(os.getpid(), number)

        signals._handle(signals._stop)
        try:
            with monkeypatch.context() as patched:
                patched.setattr(where, method, call)
                return run(*arguments)
        finally:
            signals._received.clear()
            for each, handler in before.items():
                signal.signal(each, handler)

    return stopped


def told(result, code: int = 130, by: str = "Ctrl-C") -> str:
    """What the sentence says behind the signal's name."""
    got, _, err = result
    (line,) = [line for line in err.splitlines() if line.startswith("lunet-export: ")]
    assert (got, line.startswith(f"lunet-export: Stopped by {by}")) == (code, True), err
    return line.partition(f"Stopped by {by}")[2]


def go_on(sentence: str) -> list[str]:
    """The command that it prints, as a shell takes it apart."""
    program, *arguments = shlex.split(sentence.partition("Continue with: ")[2])
    assert program == "lunet-export"
    return arguments


@pytest.mark.parametrize(("number", "code", "by"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_while_a_network_grows_nothing_is_kept(number, code, by, stop, tmp_path):
    found = told(stop(TrainingBar, "on_growth", 5, *TRAIN, number=number), code, by)
    assert found == f" while the network grew; {FIRST} epoch."
    assert [path.name for path in tmp_path.iterdir()] == ["plane.npy"]


def test_before_the_first_epoch_nothing_is_kept(stop):
    assert told(stop(TrainingBar, "on_step", 1, *BEND)) == f"; {FIRST} epoch."
    jko = ("--flow", "jko", "--epochs", 1, "--width", 4, "--rounds", 0)
    assert told(stop(TrainingBar, "on_step", 1, *TRAIN[:4], *jko)) == f"; {FIRST} block."


def test_what_was_there_before_is_told(stop):
    assert run(*BEND)[0] == 0
    found = told(stop(TrainingBar, "on_step", 1, *BEND, "--force"))
    assert found == f"; {FIRST} epoch, and my model.pt is the one from before."
    found = told(stop(TrainingBar, "on_epoch", 1, *BEND, "--force"))
    assert found.startswith("; my model.pt is the best of 1 epoch, and no file is half-written. ")
    assert "--force" not in found


def test_the_command_that_is_printed_goes_on_to_the_end(stop, tmp_path):
    found = told(stop(TrainingBar, "on_epoch", 2, *BEND))
    assert found == (
        "; my model.pt is the best of 2 epochs, and no file is half-written. Continue with: lunet-export train "
        "plane.npy -o 'my model.pt' --blocks 3 --epochs 4 --init bend --optimizer adam --resume"
    )
    found = told(stop(TrainingBar, "on_start", 1, *go_on(found)))  # and once more, before it has done anything
    assert found.startswith("; my model.pt is the best of 2 epochs, and ")
    assert found.count("--resume") == 1
    assert run(*go_on(found))[0] == 0
    unbroken = [str(part).replace("my model", "other") for part in BEND]
    assert run(*unbroken)[0] == 0
    assert (tmp_path / "my model.history.json").read_bytes() == (tmp_path / "other.history.json").read_bytes()


def test_between_two_files_of_the_first_epoch_it_can_go_on(stop, tmp_path):
    found = told(stop(History, "write", 1, *BEND, after=False))
    assert found.startswith("; no file is half-written. Continue with: ")
    assert not (tmp_path / "my model.history.json").exists()
    assert run(*go_on(found))[0] == 0


def test_options_end_where_the_line_says_so(stop):
    found = told(stop(TrainingBar, "on_epoch", 1, "train", *BEND[2:], "--", "plane.npy"))
    assert found.endswith(" --optimizer adam --resume -- plane.npy")
    assert run(*go_on(found))[0] == 0


def test_of_classes_the_epochs_that_are_done_are_kept(stop):
    classes = ("train", "digits", "--per-class", "--blocks", 1, "--epochs", 1, "-o", "ten.pt")
    assert told(stop(TrainingBar, "on_step", 1, *classes)) == f"; {FIRST} epoch."
    found = told(stop(TrainingBar, "on_epoch", 2, *classes))
    assert found == (
        "; the epochs that are done are kept, and no file is half-written. Continue with: lunet-export train digits "
        "--per-class --blocks 1 --epochs 1 -o ten.pt --resume"
    )
    assert run(*go_on(found))[0] == 0


def test_with_json_the_document_says_the_same(stop):
    code, out, err = stop(TrainingBar, "on_epoch", 1, *BEND, "--json")
    document = json.loads(out)
    assert (code, document["exit_code"], document["passed"]) == (130, 130, False)
    assert f"lunet-export: {document['error']}\n" in err
    assert "--json --resume" in document["error"]


def test_what_cannot_tell_says_what_holds_always(monkeypatch):
    def torn() -> str:
        raise ValueError("half a file")

    with signals.telling(torn):
        assert signals.Stopped(signal.SIGINT).sentence == "Stopped by Ctrl-C; no file is half-written."
    with signals.telling(lambda: "; and so on."):
        assert signals.Stopped(signal.SIGTERM).sentence == "Stopped by SIGTERM; and so on."
    assert signals.Stopped(signal.SIGINT).sentence == "Stopped by Ctrl-C; no file is half-written."
