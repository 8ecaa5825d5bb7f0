"""Commands that install what is missing: what pip noted of the installation, and which pip there is."""

import importlib.metadata
import json
import os
import shlex
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from lunet_export import installation

METADATA = """Metadata-Version: 2.4
Name: lunet-export
Version: 1.0.0
Provides-Extra: scale
Provides-Extra: train
Requires-Dist: numpy>=1.26
Requires-Dist: pyarrow>=15; extra == 'scale'
Requires-Dist: torch>=2.4; (sys_platform == 'linux') and extra == "train"
Requires-Dist: onnx>=1.16; extra == 'train'
"""
GIT = {"url": "https://example.org/lunet.git", "vcs_info": {"vcs": "git", "commit_id": "abc123"}}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Put metadata into a folder as pip writes them, and let Python find them alone."""

    def put(origin: object | None) -> None:
        folder = tmp_path / "site-packages"
        info = folder / "lunet_export-1.0.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(METADATA)
        if origin is not None:
            (info / "direct_url.json").write_text(origin if isinstance(origin, str) else json.dumps(origin))
        monkeypatch.setattr(sys, "path", [str(folder)])
        importlib.invalidate_caches()

    monkeypatch.setattr(installation, "_CLONE", tmp_path / "nothing")
    return put


def wanted(extra: str = "scale") -> list[str]:
    """What a shell hands to pip, behind `install`."""
    words = shlex.split(installation.install_extra(extra))
    return words[words.index("install") + 1 :]


@pytest.mark.parametrize("name", ["lunet", "two words", "it's (here) $HOME; #1"])
@pytest.mark.parametrize("editable", [True, False])
def test_a_folder(name, editable, installed, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    installed({"url": folder.as_uri(), "dir_info": {"editable": True} if editable else {}})
    assert wanted() == [*(["-e"] if editable else []), f"{folder}[scale]"]


@pytest.mark.parametrize("name", ["lunet_export-1.0.0-py3-none-any.whl", "lunet_export-1.0.0.tar.gz"])
def test_a_file(name, installed, tmp_path):
    file = tmp_path / "two words" / name
    file.parent.mkdir()
    file.touch()
    installed({"url": file.as_uri(), "archive_info": {"hash": "sha256=00"}})
    (requirement,) = map(Requirement, wanted())
    assert (requirement.name, requirement.extras, requirement.url) == ("lunet-export", {"scale"}, file.as_uri())


@pytest.mark.parametrize(("extra", "parts"), [("scale", ["pyarrow>=15"]), ("train", ["torch>=2.4", "onnx>=1.16"])])
@pytest.mark.parametrize("origin", [{"archive_info": {}}, {"dir_info": {}}, {"dir_info": {"editable": True}}])
def test_what_is_there_no_more_is_asked_of_nobody(origin, extra, parts, installed, tmp_path):
    installed({"url": (tmp_path / "gone").as_uri(), **origin})
    assert wanted(extra) == parts


REMOTE = {
    "git": (GIT, "git+https://example.org/lunet.git@abc123"),
    "git, a folder in it": (GIT | {"subdirectory": "py"}, "git+https://example.org/lunet.git@abc123#subdirectory=py"),
    "git, on this machine": (GIT | {"url": "file:///srv/lunet.git"}, "git+file:///srv/lunet.git@abc123"),
    "a file elsewhere": ({"url": "https://example.org/l.whl", "archive_info": {}}, "https://example.org/l.whl"),
}


@pytest.mark.parametrize(("origin", "url"), REMOTE.values(), ids=REMOTE)
def test_what_came_from_elsewhere(origin, url, installed):
    installed(origin)
    (requirement,) = map(Requirement, wanted())
    assert (requirement.name, requirement.extras, requirement.url) == ("lunet-export", {"scale"}, url)


@pytest.mark.parametrize("origin", [None, "no JSON", "[]", {"url": ""}])
def test_what_came_from_an_index(origin, installed):
    installed(origin)
    assert wanted() == ["lunet-export[scale]"]


def test_what_is_run_from_a_clone(installed, monkeypatch):
    root = Path(__file__).parent.parent
    monkeypatch.setattr(installation, "_CLONE", root)
    monkeypatch.setattr(sys, "path", [])
    assert wanted() == ["-e", f"{root}[scale]"]
    monkeypatch.setattr(installation, "_CLONE", root / "tests")
    assert wanted() == ["lunet-export[scale]"]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Make a machine with these programs on its PATH, an environment or none, and in it pip or none."""

    def make(*programs: str, has_pip: bool = True, environment: bool = True) -> Path:
        own = tmp_path / "env" / "bin"
        for name in (*programs, str(own / "python")):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o755)
        monkeypatch.setenv("PATH", os.pathsep.join([str(own), str(tmp_path / "usr")]))
        monkeypatch.setattr(sys, "executable", str(own / "python"))
        monkeypatch.setattr(sys, "prefix", str(own.parent) if environment else sys.base_prefix)
        monkeypatch.setattr(installation, "find_spec", lambda name: has_pip or None)
        return own / "python"

    return make


def test_pip_of_the_environment_that_is_active(machine):
    machine("env/bin/pip", "usr/pip")
    assert installation.install("zuko") == "pip install zuko"


@pytest.mark.parametrize("programs", [[], ["usr/pip"]])
def test_pip_of_an_environment_that_is_not_active(programs, machine):
    python = machine(*programs)
    assert installation.install("zuko") == f"{python} -m pip install zuko"


def test_pip_outside_an_environment_may_be_of_another_python(machine):
    python = machine("env/bin/pip", environment=False)
    assert installation.install("zuko") == f"{python} -m pip install zuko"


def test_an_environment_without_pip(machine):
    python = machine("usr/pip", has_pip=False)
    assert installation.install("zuko") == f"pip --python {python} install zuko"
    machine("usr/uv", has_pip=False)
    assert installation.install("zuko") == f"uv pip install zuko --python {python}"


def test_an_environment_with_a_space_in_its_path(machine, monkeypatch):
    machine()
    monkeypatch.setattr(sys, "executable", "/opt/my env/bin/python")
    assert shlex.split(installation.pip("list")) == ["/opt/my env/bin/python", "-m", "pip", "list"]


def test_no_other_file_spells_a_command_of_pip():
    root = Path(__file__).parent.parent
    spelled = [
        path.relative_to(root).as_posix()
        for folder in ("lunet_export", "cli")
        for path in (root / folder).rglob("*.py")
        if "pip install" in path.read_text() or "pip uninstall" in path.read_text()
    ]
    assert spelled == []
