"""Folders that an export replaces while they are read."""

import shutil

import pytest

from lunet_export import files, inventory
from lunet_export.artifact import folder as artifact
from lunet_export.artifact import open_folder
from lunet_export.errors import ArtifactError
from lunet_export.export import ExportSettings, Provenance, export
from lunet_export.files import reading, settled
from tests.networks import network

READERS = {
    "open_folder": open_folder,
    "inventory": inventory.take,
}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Exports of two models."""
    root = tmp_path_factory.mktemp("two")
    return [
        export(network(2, 2, seed=seed), root / str(seed), Provenance("m"), ExportSettings()).folder for seed in (1, 2)
    ]


@pytest.fixture
def replaced(two, tmp_path, monkeypatch):
    """A folder in use; call with n, and an export of the other model takes its place at each of n readings."""
    folder, others = tmp_path / "used", []
    shutil.copytree(two[0], folder)
    read_inside = reading.read_inside

    def replacing(where, name, **more):
        data = read_inside(where, name, **more)
        if others and name == "manifest.json":
            with files.whole_folder(folder) as fresh:
                shutil.copytree(others.pop(0), fresh, dirs_exist_ok=True)
        return data

    monkeypatch.setattr(reading, "read_inside", replacing)
    monkeypatch.setattr(artifact, "read_inside", replacing)

    def begin(n):
        others.extend((two[::-1] * n)[:n])
        return folder

    return begin


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("times", [1, 5])
def test_a_folder_replaced_while_it_is_read_is_read_again(read, times, replaced):
    read(replaced(times))


def test_a_folder_that_is_gone_for_a_moment_is_read_again(two, tmp_path, monkeypatch):
    """As where a system cannot exchange two folders in one step."""
    folder = tmp_path / "used"
    shutil.copytree(two[0], folder)
    folder.rename(tmp_path / "aside")
    stamp, seen = settled._stamp, []

    def arriving(*where):
        seen.append(stamp(*where))
        if len(seen) == 2:
            (tmp_path / "aside").rename(folder)
        return (1, None) if len(seen) == 1 else seen[-1]

    monkeypatch.setattr(settled, "_stamp", arriving)
    assert open_folder(folder).manifest.dim == 2


def test_a_damaged_folder_is_refused_at_once(two, tmp_path):
    folder, readings = shutil.copytree(two[0], tmp_path / "used"), []
    (folder / "density.onnx").write_bytes(b"x")

    def read():
        readings.append(1)
        return artifact._read(folder)

    with pytest.raises(ArtifactError, match="copy it again, or export again"):
        settled.settled(folder, "manifest.json", read)
    assert len(readings) == 1
