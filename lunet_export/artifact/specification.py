"""The specification of an exported folder: FORMAT.md in the package."""

import re
from pathlib import Path

PATH = Path(__file__).with_name("FORMAT.md")


def specification() -> str:
    """Return the whole format of an exported folder, as Markdown."""
    return PATH.read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return a section of the specification: from its heading up to the next heading of any level.

    Args:
        title: Text of the heading.

    Raises:
        LookupError: if there is no such heading.
    """
    found = re.search(rf"^## {re.escape(title)}\n(?:(?!#+ ).*\n)*", specification(), re.MULTILINE)
    if not found:
        raise LookupError(title)
    return found[0].rstrip() + "\n"
