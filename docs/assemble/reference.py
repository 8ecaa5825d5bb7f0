"""The pages of the Python API: one for each public module, whose text mkdocstrings takes from the docstrings."""

import importlib
import inspect
import pkgutil

from tests.surface import PUBLIC, names_of


def page_of(module: str) -> str:
    """The name of the page of a module."""
    return module.removeprefix("lunet_export.").replace(".", "-")


def anchor_of(module: str, name: str) -> str:
    """The anchor of a public name. Where a function is called as its own file, that file hides it from mkdocstrings."""
    offered = importlib.import_module(module)
    files = {found.name for found in pkgutil.iter_modules(getattr(offered, "__path__", []))}
    return f"{getattr(offered, name).__module__}.{name}" if name in files else f"{module}.{name}"


def _page(module: str) -> str:
    text = f"# {module}\n\n::: {module}\n    options: {{members_order: __all__}}\n"
    for name in names_of(importlib.import_module(module)):
        if (anchor := anchor_of(module, name)) != f"{module}.{name}":
            text += f"\n::: {anchor}\n    options: {{show_root_heading: true}}\n"
    return text


def pages() -> dict[str, str]:
    """The text of every page by its path."""
    lines = ["# Python API\n", "What these modules offer keeps working in 1.x. All others may change.\n"]
    lines += ["| | |", "|---|---|"]
    for name in PUBLIC:
        said = inspect.getdoc(importlib.import_module(name)) or ""
        lines.append(f"| [`{name}`]({page_of(name)}.md) | {said.partition(chr(10))[0]} |")
    found = {f"reference/{page_of(name)}.md": _page(name) for name in PUBLIC}
    return {"reference/index.md": "\n".join(lines) + "\n", **found}
