"""What is in the wheel and in the sdist, and what is not."""

import tarfile
import zipfile
from email.parser import BytesParser

import pytest

import lunet_export
from lunet_export.embedding.project import LANGUAGES, PROJECTS, sources
from tests.conftest import ROOT
from tests.release.conftest import TOOLS, ran

#: No release has these, whatever a working folder holds.
LEFT_OUT = (
    "tests",
    "benchmarks",
    "/exported/",
    ".venv",
    "__pycache__",
    ".pyc",
    "_cache",
    ".hypothesis",
    "runs/",
    "demo/",
)


@pytest.fixture(scope="module")
def wheel(built):
    with zipfile.ZipFile(built.wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def sdist(built):
    with tarfile.open(built.sdist) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        return {member.name.partition("/")[2]: archive.extractfile(member).read() for member in members}


def tracked(*folders: str) -> set[str]:
    """Files of the repository that are committed or would be."""
    listed = ran("git", "ls-files", "--cached", "--others", "--exclude-standard", *folders, cwd=ROOT).out
    return {name for name in listed.splitlines() if (ROOT / name).is_file()}


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel):
    own = {name for name in wheel if ".dist-info/" not in name}
    expected = tracked("lunet_export") | {name.removeprefix("cli/") for name in tracked("cli")}
    assert own == {name for name in expected if not name.endswith(".clang-format")}
    for name in own:
        source = ROOT / name if name.startswith("lunet_export/") else ROOT / "cli" / name
        assert wheel[name] == source.read_bytes(), name


def test_the_wheel_holds_what_commands_need_beside_code(wheel):
    assert {"lunet_export/py.typed", "lunet_export/runtime/product.onnx"} <= set(wheel)
    for language in LANGUAGES:
        for path in sources(language).values():
            assert f"lunet_export/embedding/projects/{path.relative_to(PROJECTS).as_posix()}" in wheel


def test_both_hold_the_format_and_the_words_of_a_folders_readme(wheel, sdist):
    words = {f"lunet_export/export/readmes/{kind}.md" for kind in ("flow", "classes", "verifier", "replay", "verify")}
    for names in (wheel, sdist):
        assert {"lunet_export/artifact/FORMAT.md", *words} <= set(names)


def test_neither_holds_tests_models_or_caches(wheel, sdist):
    for names in (wheel, sdist):
        assert [name for name in names if any(part in f"/{name}" for part in LEFT_OUT)] == []


def test_the_sdist_holds_what_a_build_needs_and_what_people_read(sdist):
    texts = ("README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "constraints.txt", "pyproject.toml")
    assert {*texts, "PKG-INFO", ".gitignore"} | tracked("lunet_export", "cli") == set(sdist)
    for name in texts:
        assert sdist[name] == (ROOT / name).read_bytes()


def test_the_wheel_is_the_one_that_the_repository_gives(built, wheel, tmp_path):
    """`python -m build` made it from the sdist; straight from the repository it is the same, byte by byte."""
    assert ran(TOOLS, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT).code == 0
    (path,) = tmp_path.glob("*.whl")
    assert path.name == built.wheel.name
    assert path.read_bytes() == built.wheel.read_bytes()


def test_the_metadata_is_what_an_index_shows(built, wheel):
    (path,) = (name for name in wheel if name.endswith(".dist-info/METADATA"))
    metadata = BytesParser().parsebytes(wheel[path])
    assert (metadata["Name"], metadata["Version"]) == ("lunet-export", lunet_export.__version__)
    assert (metadata["License-Expression"], metadata["Requires-Python"]) == ("MIT", ">=3.11")
    assert "Development Status :: 5 - Production/Stable" in metadata.get_all("Classifier")
    assert {"cpu", "gpu", "gpu-cuda12", "train", "scale", "ray"} <= set(metadata.get_all("Provides-Extra"))
    done = ran(TOOLS, "-m", "twine", "check", "--strict", built.wheel, built.sdist)
    assert (done.code, done.out.count("PASSED")) == (0, 2), done.out + done.err


def test_a_file_that_does_not_belong_is_seen(wheel):
    """The tests above can fail."""
    spoilt = {**wheel, "lunet_export/__pycache__/errors.cpython-311.pyc": b""}
    with pytest.raises(AssertionError):
        test_neither_holds_tests_models_or_caches(spoilt, {})
    with pytest.raises(AssertionError):
        test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(spoilt)
    with pytest.raises(AssertionError):
        test_the_wheel_holds_what_commands_need_beside_code({k: v for k, v in wheel.items() if "typed" not in k})
