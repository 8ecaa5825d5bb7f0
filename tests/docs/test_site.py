"""The site of the documentation: it is built without a warning, and shows everything public with what it says."""

import html
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs.assemble import commands, pages, reference
from lunet_cli.main import PANELS
from tests import surface
from tests.conftest import ROOT, once

ZENSICAL = Path(sys.executable).parent / "zensical"


def build(folder: Path) -> subprocess.CompletedProcess:
    """Build the site of `folder/build/docs`, by the settings of this repository, into `folder/site`."""
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (folder / "mkdocs.yml").write_text(settings.replace("paths: [.]", f"paths: ['{ROOT}']"), encoding="utf-8")
    return subprocess.run(
        [ZENSICAL, "build", "--strict"],
        cwd=folder,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def complaints(done: subprocess.CompletedProcess) -> list[str]:
    """What is wrong, in its words. Strict or not, it only prints what the docstrings' parser says."""
    text = done.stdout + done.stderr
    return text.splitlines() if done.returncode else re.findall("^(?:griffe|mkdocstrings|Error|Warning).*", text, re.M)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    if not ZENSICAL.exists():
        pytest.skip("needs zensical, which `make setup-dev` installs")

    def fill(folder: Path) -> None:
        pages.assemble(folder / "build" / "docs")
        assert complaints(build(folder)) == []

    return once(tmp_path_factory, "site", fill) / "site"


def words(text: str) -> str:
    """Letters and digits alone: HTML has its own spaces, quotes and tags."""
    return re.sub(r"\W+", "", html.unescape(re.sub(r"<[^>]*>", "", text)))


@pytest.mark.slow
@pytest.mark.parametrize("module", surface.PUBLIC)
def test_every_public_name_is_shown_with_what_it_says(module, site):
    shown = (site / "reference" / f"{reference.page_of(module)}.html").read_text(encoding="utf-8")
    said = words(shown)
    for name in surface.names_of(importlib.import_module(module)):
        value = getattr(importlib.import_module(module), name)
        assert f'id="{reference.anchor_of(module, name)}"' in shown, name
        if inspect.isfunction(value) or inspect.isclass(value):
            first = inspect.getdoc(value).partition("\n\n")[0]
            assert words(first) in said, (name, first)


@pytest.mark.slow
def test_the_navigation_leads_to_every_page(site):
    linked = re.findall(r"^ +- (.+)\.md$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    found = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    assert found - {"404"} == {*linked}
    assert len(linked) == len({*linked})


@pytest.mark.slow
def test_pictures_are_there(site):
    for page in site.rglob("*.html"):
        for target in re.findall(r'<img[^>]* src="([^"]+)"', page.read_text(encoding="utf-8")):
            assert target.startswith("data:") or (page.parent / target).is_file(), (page, target)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "says"),
    [("[nowhere](no.md)", "page does not exist"), ("[nowhere](#no)", "anchor"), ("::: no.module", "no")],
)
def test_what_is_wrong_is_seen(text, says, tmp_path):
    (tmp_path / "build" / "docs").mkdir(parents=True)
    (tmp_path / "build" / "docs" / "index.md").write_text(f"# Spoilt\n\n{text}\n")
    if not ZENSICAL.exists():
        pytest.skip("needs zensical")
    done = build(tmp_path)
    assert complaints(done)
    assert says in done.stdout + done.stderr


def test_every_command_has_a_page():
    found = commands.pages()
    names = {command.__name__.rstrip("_").replace("_", "-") for of in PANELS.values() for command in of}
    assert {*found} == {"commands/index.md", *(f"commands/{name}.md" for name in names)}
    assert all("```sh\nlunet-export" in text for path, text in found.items() if path != "commands/index.md")


def test_a_link_that_leads_nowhere_is_refused(tmp_path, monkeypatch):
    root = tmp_path / "repository"
    (root / "docs").mkdir(parents=True)
    for origin in pages.ELSEWHERE.values():
        (root / origin).parent.mkdir(parents=True, exist_ok=True)
        (root / origin).write_text("# Page\n")
    (root / "docs" / "a.md").write_text("[there](../README.md#page), `[no](link)`\n\n```text\n[no](link)\n```\n")
    shutil.copy(ROOT / "docs" / "style.css", root / "docs")
    monkeypatch.setattr(pages, "ROOT", root)
    pages.assemble(tmp_path / "site")
    assert (tmp_path / "site" / "a.md").read_text().startswith("[there](index.md#page)")
    (root / "docs" / "a.md").write_text("[there](../none.md)\n")
    with pytest.raises(FileNotFoundError, match="none"):
        pages.assemble(tmp_path / "site")
