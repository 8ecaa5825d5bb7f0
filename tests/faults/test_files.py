"""`files.py` under a death, a signal and an error at every single operation; and what proves that this would notice."""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from lunet_export import files
from lunet_export.errors import BadInputError
from lunet_export.files import whole
from tests.faults import verdict
from tests.faults.dying import Killed, death


def write_file(path: Path) -> None:
    with files.whole_file(path / "m.pt") as temporary:
        for piece in ("new", " and whole"):
            with temporary.open("a") as file:
                file.write(piece)


def write_folder(path: Path) -> None:
    with files.whole_folder(path / "m") as fresh:
        (fresh / "inner").mkdir()
        (fresh / "a").write_text("new")
        (fresh / "inner" / "b").write_text("new too")


def in_place(path: Path) -> None:
    """What must be caught."""
    for piece in ("new", " and whole"):
        with (path / "m.pt").open("a") as file:
            file.write(piece)


def before(path: Path, *, old: bool) -> verdict.Content:
    if old:
        (path / "m.pt").write_text("old")
        (path / "m").mkdir()
        (path / "m" / "a").write_text("old")
    return verdict.content(path)


def counted(write, tmp_path, *, old) -> tuple[list[str], verdict.Content]:
    path = tmp_path / "whole"
    path.mkdir()
    before(path, old=old)
    with death(path, None) as seen:
        write(path)
    return seen.events, verdict.content(path)


def problems(write, path: Path, *, old: bool, new: verdict.Content, at: int, error=None) -> list[str]:
    """What is wrong after a death at an operation, and after the next writer."""
    path.mkdir()
    was = before(path, old=old)
    allowed = suppress(type(error)) if error else pytest.raises(Killed)  # an error may be of no consequence
    with allowed, death(path, at, error):
        write(path)
    _, wrong = verdict.state(path, was, new)
    if error and verdict.leftovers(path):
        wrong.append(f"left {verdict.leftovers(path)}")
    write(path)
    if verdict.content(path) != new or verdict.leftovers(path):
        wrong.append(f"the next writer left {sorted(verdict.content(path))}, {verdict.leftovers(path)}")
    return wrong


@pytest.mark.parametrize("old", [False, True], ids=["new", "over an old one"])
@pytest.mark.parametrize("write", [write_file, write_folder])
@pytest.mark.parametrize(
    "error", [None, KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")], ids=["kill", "stop", "full"]
)
def test_at_every_operation(write, old, error, tmp_path):
    events, new = counted(write, tmp_path, old=old)
    cleaning = next(at for at, event in enumerate(events) if event in ("os.remove", "shutil.rmtree"))
    assert cleaning >= 4
    for at in range(1, (cleaning if error else len(events)) + 1):
        assert problems(write, tmp_path / str(at), old=old, new=new, at=at, error=error) == [], at


def test_a_signal_amid_the_removal_of_the_old_folder_leaves_nothing(tmp_path, monkeypatch):
    before(tmp_path, old=True)
    remove, calls = shutil.rmtree, []

    def interrupted(folder, **options):
        calls.append(folder)
        if len(calls) == 1:
            raise KeyboardInterrupt
        remove(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path)
    assert ((tmp_path / "m" / "a").read_text(), verdict.leftovers(tmp_path)) == ("new", [])


def test_a_writer_in_place_is_caught(tmp_path):
    events, new = counted(in_place, tmp_path, old=False)
    found = [problems(in_place, tmp_path / str(at), old=False, new=new, at=at) for at in range(1, len(events) + 1)]
    assert any("neither old nor new" in reason for wrong in found for reason in wrong)


def test_a_writer_with_names_of_its_own_is_caught(tmp_path):
    (tmp_path / ".m.pt.tmp").write_text("half")
    assert verdict.state(tmp_path, {}, {})[1] != []


def test_where_two_renames_are_needed_the_next_writer_brings_the_old_folder_back(tmp_path, monkeypatch):
    monkeypatch.setattr(whole, "exchange", lambda one, other: False)
    events, _ = counted(write_folder, tmp_path, old=True)
    absent = 0
    for at in range(1, len(events) + 1):
        path = tmp_path / str(at)
        path.mkdir()
        before(path, old=True)
        with pytest.raises(Killed), death(path, at):
            write_folder(path)
        absent += not (path / "m").exists()
        files.sweep(path, "m", "", restore=path / "m")
        assert (path / "m" / "a").read_text() in ("old", "new")
        assert [left for left in verdict.leftovers(path) if "unfinished" in left] == []
    assert absent == 1  # the one moment that only an exchange in one step has not


def test_what_a_living_writer_holds_is_not_swept(tmp_path):
    with files.whole_file(tmp_path / "m.pt") as first:
        first.write_text("first")
        with files.whole_file(tmp_path / "m.pt") as second:
            second.write_text("second")
        assert first.exists()
    assert (tmp_path / "m.pt").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]


def test_others_files_are_not_swept(tmp_path):
    kept = [".m.whatever.pt", ".m.resume.pt", "m.12345678.unfinished.pt", ".n.12345678.unfinished.pt", ".m.abc.pt"]
    for name in (*kept, ".m.12345678.unfinished.pt"):
        (tmp_path / name).touch()
    write_file(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((*kept, "m.pt"))


def test_one_process_at_a_time(tmp_path):
    with files.exclusive(tmp_path / "no" / "such" / "m.pt"):
        with (
            pytest.raises(BadInputError, match=r"m\.pt to be written by one process at a time; another is writing it"),
            files.exclusive(tmp_path / "no" / "such" / "m.pt"),
        ):
            pass
        with files.exclusive(tmp_path / "no" / "such" / "n.pt"):
            pass
    assert list(tmp_path.iterdir()) == []  # nothing came of it, so the folders are gone too
    (tmp_path / ".m.pt.lock").touch()  # of a process that was killed
    with files.exclusive(tmp_path / "m.pt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_refuses_nobody(tmp_path, monkeypatch):
    def unsupported(handle, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(whole.fcntl, "flock", unsupported)
    (tmp_path / ".m.12345678.unfinished.pt").touch()  # whether its writer lives cannot be known
    with files.exclusive(tmp_path / "m.pt"), files.exclusive(tmp_path / "m.pt"):
        write_file(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".m.12345678.unfinished.pt", "m.pt"]


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_bytes_are_on_the_disk_before_their_name_is_and_the_name_before_success(write, tmp_path, monkeypatch):
    """Against a loss of power: fsync of what is written, then the rename, then fsync of the folder that holds it."""
    seen = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def where(handle):
        return Path(f"/proc/self/fd/{handle}").readlink().name

    monkeypatch.setattr(os, "fsync", lambda handle: (seen.append(where(handle)), fsync(handle)))
    monkeypatch.setattr(os, "rename", lambda one, other: (seen.append("rename"), rename(one, other)))
    monkeypatch.setattr(os, "replace", lambda one, other: (seen.append("rename"), replace(one, other)))
    write(tmp_path)
    at = seen.index("rename")
    assert seen[at + 1 :] == [tmp_path.name]
    assert {*seen[:at]} >= {"a", "b", "inner", "new"} or len(seen[:at]) == 1


def test_a_destination_that_is_a_link_stays_one(tmp_path):
    """As `current -> v1`, which a service reads by."""
    (tmp_path / "disk").mkdir()
    for name in ("m.pt", "m"):
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    before(tmp_path / "disk", old=True)
    write_file(tmp_path)
    write_folder(tmp_path)
    assert [(tmp_path / name).is_symlink() for name in ("m.pt", "m")] == [True, True]
    assert (tmp_path / "disk" / "m.pt").read_text() == "new and whole"
    assert (tmp_path / "disk" / "m" / "a").read_text() == "new"
    assert verdict.leftovers(tmp_path) == []


def test_two_writers_by_a_link_and_by_its_end_are_two_writers_of_one_place(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "end")
    with (
        files.exclusive(tmp_path / "end"),
        pytest.raises(BadInputError, match="another is writing it"),
        files.exclusive(tmp_path / "link"),
    ):
        pass


def test_a_link_inside_of_a_folder_is_no_way_out_of_it(tmp_path):
    (tmp_path / "elsewhere").write_text("old")
    (tmp_path / "name").symlink_to(tmp_path / "elsewhere")
    with files.whole_file(tmp_path / "name", follow=False) as temporary:
        temporary.write_text("new")
    assert ((tmp_path / "elsewhere").read_text(), (tmp_path / "name").is_symlink()) == ("old", False)


def test_links_in_a_circle_are_the_systems_error(tmp_path):
    (tmp_path / "m").symlink_to(tmp_path / "m")
    for write in (files.whole_file, files.whole_folder):
        with pytest.raises(OSError, match="links") as caught, write(tmp_path / "m"):
            pass
        assert caught.value.errno == errno.ELOOP
