"""Files and folders of another user, in Python: an error of our tree that is an `OSError` too."""

import errno
import io
import os
import pickle

import pytest

from lunet_export import ExportedClasses, ExportedFlow, checkpoint
from lunet_export.artifact import open_folder, read_manifest
from lunet_export.data import arrays, idx
from lunet_export.errors import UnreadableError


@pytest.mark.parametrize(
    "read",
    [
        ExportedFlow,
        ExportedClasses,
        open_folder,
        read_manifest,
        lambda path: checkpoint.read(path / "m.pt"),
        lambda path: arrays.read(path / "rows.npy"),
        lambda path: arrays.read(path / "rows.csv"),
        lambda path: idx.read_images(path / "images"),
    ],
    ids=["flow", "classes", "folder", "manifest", "checkpoint", "npy", "csv", "idx"],
)
@pytest.mark.parametrize("call", ["stat", "open"])
def test_what_another_user_keeps_to_himself_is_our_error(folder, monkeypatch, read, call):
    for name in ("m.pt", "rows.npy", "rows.csv", "images"):
        (folder / name).write_bytes(b"1")
    real = {"stat": os.stat, "open": os.open}[call]

    def refuse(path, *more, **named):
        if str(path).startswith(str(folder)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *more, **named)

    monkeypatch.setattr(os, call, refuse)
    if call == "open":
        monkeypatch.setattr(io, "open", lambda path, *more, **named: refuse(path, *more, **named))
    with pytest.raises(UnreadableError, match="to be readable; the operating system says: Permission denied") as caught:
        read(folder)
    assert isinstance(caught.value, OSError)
    assert caught.value.exit_code == 4
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
