"""The commands under a death at operations of fixed seeds: what is left, and that the next run ends as an unbroken one.

Played in this process (`dying.py`) for every command that resumes or replaces; a few real kills with a C compiler. The
whole of it: `python -m tests.faults`.
"""

import random
import shutil
import signal

import pytest

from lunet_cli import models
from lunet_export import files
from lunet_export.checkpoint import model as checkpoint_model
from lunet_export.files import whole_file
from lunet_export.training import History
from tests.cli.conftest import run
from tests.faults import processes, verdict
from tests.faults.campaign import Campaign
from tests.faults.cases import CASES, make_inputs
from tests.faults.dying import Killed, death

#: How many operations of each command are tried.
TRIED = {
    "train": 6,
    "train --force": 4,
    "train --context-columns": 2,
    "export": 4,
    "export --force": 5,
    "recalibrate": 6,
    "recalibrate --force": 3,
    "import": 2,
    "score to a folder": 8,
    "sample to a file": 3,
    "sample at a context": 3,
    "embed --force": 6,
    "triton": 6,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")

    def must(arguments, _):
        code, _, err = run(*arguments)
        assert code == 0, err

    make_inputs(folder, must)
    return folder


def unbroken(name, base, out) -> tuple[list[str], verdict.Content, verdict.Content]:
    case = CASES[name]
    case.prepare(base, out)
    old = verdict.content(out)
    with death(out, None) as seen:
        assert run(*case.filled(base, out))[0] == 0
    return seen.events, old, verdict.content(out)


def problems(name, base, out, at, old, new) -> list[str]:
    """What is wrong after a death at an operation, and after the next run."""
    case = CASES[name]
    case.prepare(base, out)
    with pytest.raises(Killed), death(out, at):
        run(*case.filled(base, out))
    _, wrong = verdict.state(out, old, new, pieces=case.pieces)
    code, _, err = run(*case.again(base, out))
    if code == 2 and "exist" in err and (out / case.last).exists():
        code, _, err = run(*case.filled(base, out, "--force"))
    if code:
        wrong.append(f"the next run ended with {code}: {err}")
    if verdict.content(out) != new or verdict.leftovers(out):
        wrong.append(f"the next run left {verdict.content(out).items() ^ new.items()}, {verdict.leftovers(out)}")
    return wrong


@pytest.mark.parametrize("name", TRIED)
def test_a_death_leaves_whole_things_and_the_next_run_ends_as_an_unbroken_one(name, base, tmp_path):
    events, old, new = unbroken(name, base, tmp_path / "out")
    for at in random.Random(name).sample(range(1, len(events) + 1), TRIED[name]):
        assert problems(name, base, tmp_path / "out", at, old, new) == [], at


def found_with(name, base, out) -> list[str]:
    """All problems at every third operation of a command that was broken."""
    events, old, new = unbroken(name, base, out)
    return [reason for at in range(1, len(events) + 1, 3) for reason in problems(name, base, out, at, old, new)]


def test_a_model_written_in_place_would_be_noticed(base, tmp_path, monkeypatch):
    class InPlace:
        def __init__(self, path):
            self.path = path

        def __enter__(self):
            with self.path.open("wb") as file:
                file.write(b"half of it")
            return self.path

        def __exit__(self, *_):
            return False

    monkeypatch.setattr(checkpoint_model, "whole_file", InPlace)
    assert any(
        "m.pt is neither old nor new" in reason for reason in found_with("recalibrate --force", base, tmp_path / "o")
    )


def test_a_history_that_resuming_does_not_write_would_be_noticed(base, tmp_path, monkeypatch):
    """The defect that was here: killed between the last resume file and the history, a run ended with an old one."""
    events, _, new = unbroken("train", base, tmp_path / "out")
    history, _, _ = [at for at, event in enumerate(events, 1) if event == "os.rename"][-3:]  # then model and curve
    case = CASES["train"]
    case.prepare(base, tmp_path / "out")
    with pytest.raises(Killed), death(tmp_path / "out", history):
        run(*case.filled(base, tmp_path / "out"))
    monkeypatch.setattr(History, "write", lambda self, path: None)
    assert run(*case.again(base, tmp_path / "out"))[0] == 0
    assert {name for name, _ in verdict.content(tmp_path / "out").items() ^ new.items()} == {"m.history.json"}


def test_each_rename_of_a_training_is_survived(base, tmp_path):
    """A run is a row of renames; a death before each leaves another pair of files to agree again."""
    events, old, new = unbroken("train", base, tmp_path / "out")
    for at in [at for at, event in enumerate(events, 1) if event == "os.rename"]:
        assert problems("train", base, tmp_path / "out", at, old, new) == [], at


def test_a_death_before_the_first_epoch_blocks_nobody(base, tmp_path):
    """The folder of the classes may be there, and nothing in it to resume from."""
    case = CASES["train --per-class"]
    case.prepare(base, tmp_path / "out")
    for at in range(3, 20):
        with pytest.raises(Killed), death(tmp_path / "out", at):
            run(*case.filled(base, tmp_path / "out"))
        if list((tmp_path / "out").glob("m.classes/.*")):
            break
    else:
        pytest.fail("the folder of the classes never appeared")
    assert not (tmp_path / "out" / "m.classes" / "0.resume.pt").exists()
    assert run(*case.filled(base, tmp_path / "out"))[0] == 0


@pytest.mark.parametrize("name", ["train", "recalibrate", "export", "score to a folder", "embed", "triton"])
def test_while_another_process_writes_it_nobody_else_does(name, base, tmp_path):
    case = CASES[name]
    case.prepare(base, tmp_path)
    arguments = case.filled(base, tmp_path)
    with files.exclusive(tmp_path / arguments[arguments.index("-o") + 1].rpartition("/")[2]):
        code, _, err = run(*arguments)
    assert (code, "to be written by one process at a time; another is writing it" in err) == (2, True)
    assert verdict.content(tmp_path) == {}
    assert run(*arguments)[0] == 0


def test_what_a_finished_project_leaves_when_killed_at_its_end_is_swept_by_a_renewal(base, tmp_path):
    """Its lock alone was left: found by the campaign."""
    case, out = CASES["embed"], tmp_path / "out"
    events, _, _ = unbroken("embed", base, out)
    case.prepare(base, out)
    with pytest.raises(Killed), death(out, len(events)):
        run(*case.filled(base, out))
    assert verdict.leftovers(out) == [".project.lock"]
    assert run(*case.filled(base, out, "--force"))[0] == 0
    assert verdict.leftovers(out) == []


def test_what_a_killed_signature_leaves_blocks_no_export(base, tmp_path):
    """`sign` writes into the folder of an export, so its leftover lies there."""
    case = CASES["export --force"]
    case.prepare(base, tmp_path / "out")
    folder = tmp_path / "out" / "small"
    with pytest.raises(Killed), death(folder, 3), whole_file(folder / "manifest.json.sig") as temporary:
        temporary.write_bytes(b"half")
    assert verdict.leftovers(folder) != []
    assert run("check", folder, "--provider", "cpu")[0] == 0
    assert run(*case.filled(base, tmp_path / "out"))[0] == 0
    assert verdict.leftovers(tmp_path / "out") == []


def test_who_comes_second_does_not_replace_without_force(base, tmp_path, monkeypatch):
    """It saw no file when it began, and sees one when it has the right to write."""
    case = CASES["recalibrate"]
    exclusive = models.exclusive

    def late(path):
        path.write_bytes(b"of the first")
        return exclusive(path)

    monkeypatch.setattr(models, "exclusive", late)
    code, _, err = run(*case.filled(base, tmp_path))
    assert (code, "exists already" in err, (tmp_path / "m.pt").read_bytes()) == (2, True, b"of the first")


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_real_kills(tmp_path):
    library = processes.build(tmp_path)
    if library is None:
        pytest.skip("needs Linux")
    with processes.Zygote(library, tmp_path) as zygote:
        campaign = Campaign(tmp_path, zygote, zygote, ("recalibrate --force", "score to a folder"))
        rng = random.Random(0)
        for name in campaign.cases:
            for fault in ("kill -9", "kill -9", "full disk", "Ctrl-C", "clock jumps", "folder gone"):
                ended, cell = campaign.run(fault, name, rng.random())
                assert cell.wrong == [], (fault, name)
                assert fault != "kill -9" or ended.code == -signal.SIGKILL
