"""What `import lunet_export` promises."""

import dataclasses
import importlib.metadata
import re
from pathlib import Path

import lunet_export
from tests import surface

ROOT = Path(__file__).parent.parent


def test_public_names_are_sorted_and_there():
    assert lunet_export.__all__ == sorted(lunet_export.__all__)
    assert all(hasattr(lunet_export, name) for name in lunet_export.__all__)


def test_version_is_the_packages():
    assert importlib.metadata.version("lunet-export") == lunet_export.__version__


def test_package_is_typed():
    assert (ROOT / "lunet_export" / "py.typed").exists()


def test_changelog_has_this_version():
    headings = re.findall(r"^## \[?([\d.]+|Unreleased)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert lunet_export.__version__ in headings


def test_the_surface_is_the_promised_one():
    """What changes is a decision, and goes into the changelog: `python -m tests.surface > tests/api.txt`."""
    promised = (ROOT / "tests" / "api.txt").read_text(encoding="utf-8").splitlines()
    found = surface.lines()
    assert {"gone": set(promised) - set(found), "new": set(found) - set(promised)} == {"gone": set(), "new": set()}


def test_another_signature_is_seen(monkeypatch):
    def sample(self, n: int, seed: int) -> None: ...

    before = surface.lines(("lunet_export",))
    monkeypatch.setattr(lunet_export, "convert", sample)
    monkeypatch.delattr(lunet_export.errors, "DataError")
    assert set(surface.lines(("lunet_export",))) - set(before) == {
        "lunet_export.sample(self, n: int, seed: int) -> None"
    }
    assert "lunet_export.errors.DataError(BadInputError)" not in surface.lines(("lunet_export.errors",))


def test_everything_public_says_what_it_is():
    assert [name for name, value in surface.documented() if not surface.says(value)] == []


def test_a_name_that_says_nothing_is_seen():
    @dataclasses.dataclass
    class Silent:
        x: int

    class Said:
        """Something."""

        def loud(self):
            """Says."""

        def silent(self): ...

    assert [surface.says(value) for value in (Silent, Said, Said.loud, Said.silent)] == [False, True, True, False]
