"""The pages that people read, and the blocks of code in them."""

import re
from dataclasses import dataclass

from tests.conftest import ROOT

#: README.md and everything in docs/, from the root of the repository.
PAGES = ("README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))))

_FENCE = re.compile(
    r"(?:^ *<!-- not run: (?P<reason>[^\n]+) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n"
    r"(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: What stands behind the fence.
        text: The lines in it.
        title: The file that the reader puts the text into, or None.
        reason: Why the block is not run, or None.
    """

    language: str
    text: str
    title: str | None
    reason: str | None


def read(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """All blocks of a page that name a language, in their order."""
    found = []
    for match in _FENCE.finditer(read(page)):
        lines = [line.removeprefix(match["indent"]) for line in match["text"].splitlines()]
        found.append(Block(match["language"], "\n".join(lines) + "\n", match["title"], match["reason"]))
    return found


def everything() -> str:
    """The text of all pages."""
    return "\n".join(map(read, PAGES))
