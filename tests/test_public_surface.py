"""What `import lunet_export` promises."""

import importlib.metadata
import re
from pathlib import Path

import lunet_export

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
