"""The API reference: it is built without a warning, and shows everything public with what it says."""

import html
import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

from tests import surface

reference = pytest.importorskip("tests.release.reference", reason="needs pdoc")


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    reference.write(folder)
    return folder


def page(folder: Path, module: str) -> str:
    return (folder / f"{module.replace('.', '/')}.html").read_text(encoding="utf-8")


def words(text: str) -> str:
    """Letters and digits alone: HTML has its own spaces, quotes and tags."""
    return re.sub(r"\W+", "", html.unescape(re.sub(r"<[^>]*>", "", text)))


@pytest.mark.parametrize("module", surface.PUBLIC)
def test_every_public_name_is_shown_with_what_it_says(module, pages):
    shown = page(pages, module)
    said = words(shown)
    for name in surface.names_of(importlib.import_module(module)):
        assert f'id="{name}"' in shown, name
        value = getattr(importlib.import_module(module), name)
        if inspect.isfunction(value) or inspect.isclass(value):
            first = inspect.getdoc(value).partition("\n\n")[0]
            assert words(first) in said, (name, first)


def test_signatures_are_as_people_know_them(pages):
    shown = words(page(pages, "lunet_export"))
    assert "defdensityselfxArrayLiketupleNDArraynumpyfloatingNDArraynumpyfloating" in shown
    assert "_SupportsArray" not in page(pages, "lunet_export")


def test_the_first_page_leads_to_the_package(pages):
    assert "lunet_export.html" in (pages / "index.html").read_text()


def test_what_cannot_be_shown_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "spoilt.py").write_text('"""Spoilt."""\ndef f(x: "Nowhere") -> None:\n    """Nothing."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserWarning, match="Nowhere"):
        reference.write(tmp_path / "site", ("spoilt",))
    del sys.modules["spoilt"]
