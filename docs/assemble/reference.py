"""The pages of the Python API: one for each public module, whose text mkdocstrings takes from the docstrings."""

import importlib
import inspect

from tests.surface import PUBLIC


def page_of(module: str) -> str:
    """The name of the page of a module."""
    return module.removeprefix("lunet_export.").replace(".", "-")


def pages() -> dict[str, str]:
    """The text of every page by its path."""
    lines = ["# Python API\n", "What these modules offer keeps working in 1.x. All others may change.\n"]
    lines += ["| | |", "|---|---|"]
    for name in PUBLIC:
        said = inspect.getdoc(importlib.import_module(name)) or ""
        lines.append(f"| [`{name}`]({page_of(name)}.md) | {said.partition(chr(10))[0]} |")
    return {
        "reference/index.md": "\n".join(lines) + "\n",
        **{f"reference/{page_of(name)}.md": f"# {name}\n\n::: {name}\n" for name in PUBLIC},
    }
