"""The file map is complete, links lead somewhere."""

import re

from tests.conftest import ROOT

#: What the README says, with the pages that it leads to for comparisons and for verifiers.
README = "\n".join(
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", "docs/benchmarks/comparisons.md", "docs/verifiers.md")
)


def fenced(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_file_map_names_every_module():
    _, _, file_map = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## File map")
    modules = [path for folder in ("lunet_export", "cli/lunet_cli") for path in (ROOT / folder).rglob("*.py")]
    missing = [str(path) for path in modules if path.name != "__init__.py" and path.name not in file_map]
    assert missing == []


def test_every_link_leads_somewhere():
    pages = [
        path
        for path in (*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("tests/*/README.md"))
        if "/." not in str(path)
    ]
    assert len(pages) >= 8
    for path in pages:
        text = path.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert target.startswith("https://") or (path.parent / target).exists(), target
