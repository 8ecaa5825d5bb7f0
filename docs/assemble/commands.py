"""The pages of the commands, made of what `lunet-export COMMAND --help` says."""

import re
from collections.abc import Iterator

from typer.core import TyperArgument, TyperGroup, TyperOption
from typer.main import get_command

from lunet_cli.main import PANELS, app

PROGRAM = "lunet-export"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


def _cells(written: str, meaning: str) -> str:
    """The row of a parameter; the words that it may be stand before its meaning, since they make a name too long."""
    name, _, words = written.rstrip(">").partition(" <")
    if " | " not in words:
        return f"`{written}` | {_cell(meaning)}"
    return f"`{name}` | {', '.join(f'`{word}`' for word in words.split(' | '))}. {_cell(meaning)}"


def _summary(text: str) -> str:
    return text.partition("\n")[0]


def _page(name: str, group: TyperGroup) -> Iterator[str]:
    """One command: summary, usage, what it does, its example, and a table for each panel of options."""
    with group.make_context(PROGRAM, [], resilient_parsing=True) as parent:
        command = group.commands[name]
        context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    usage = re.sub(r"\s+", " ", " ".join(command.collect_usage_pieces(context)))
    text, *examples = (command.help or "").split("Example: ")
    yield f"# {PROGRAM} {name}\n\n{text.strip()}\n"
    if examples:
        lines = "\n".join(example.strip() for example in examples)
        yield f"```sh\n{lines}\n```\n"
    yield f"Usage: `{PROGRAM} {name} {usage}`\n"
    panels: dict[str, list[TyperOption | TyperArgument]] = {"Arguments": [], "Options": []}
    for parameter in command.params:
        panels.setdefault(_panel(parameter), []).append(parameter)
    for title, parameters in panels.items():
        if parameters:
            yield f"## {title}\n\n| | |\n|---|---|"
        for parameter in parameters:
            written, meaning = parameter.get_help_record(context)
            yield f"| {_cells(written, meaning)} |"
        yield ""


def _panel(parameter: TyperOption | TyperArgument) -> str:
    default = "Arguments" if parameter.param_type_name == "argument" else "Options"
    return parameter.rich_help_panel or default


def pages() -> dict[str, str]:
    """The text of every page by its path: one for each command, and the list of all by the panels of the help."""
    group = get_command(app)
    names = {panel: [c.__name__.rstrip("_").replace("_", "-") for c in commands] for panel, commands in PANELS.items()}
    found = {f"commands/{name}.md": "\n".join(_page(name, group)) for of in names.values() for name in of}
    lines = ["# Commands\n", "`lunet-export COMMAND --help` says the same in a terminal.\n"]
    for panel, of in names.items():
        lines += [f"## {panel}\n", "| | |", "|---|---|"]
        lines += [f"| [`{name}`]({name}.md) | {_summary(group.commands[name].help or '')} |" for name in of]
        lines.append("")
    return {"commands/index.md": "\n".join(lines), **found}
