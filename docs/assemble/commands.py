"""The pages of the commands, made of what `lunet-export COMMAND --help` says."""

import re
from collections.abc import Iterator

from typer.core import TyperArgument, TyperGroup, TyperOption
from typer.main import get_command

from lunet_cli.main import PANELS, app

PROGRAM = "lunet-export"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


def _summary(text: str) -> str:
    return text.partition("\n")[0]


def _page(name: str, group: TyperGroup) -> Iterator[str]:
    """One command: summary, usage, what it does, its example, and a table for each panel of options."""
    with group.make_context(PROGRAM, [], resilient_parsing=True) as parent:
        command = group.commands[name]
        context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    usage = re.sub(r"\s+", " ", " ".join(command.collect_usage_pieces(context)))
    text, _, example = (command.help or "").partition("Example: ")
    yield f"# {PROGRAM} {name}\n\n{text.strip()}\n"
    if example:
        yield f"```sh\n{example.strip()}\n```\n"
    yield f"Usage: `{PROGRAM} {name} {usage}`\n"
    panels: dict[str, list[TyperOption | TyperArgument]] = {"Arguments": [], "Options": []}
    for parameter in command.params:
        panels.setdefault(_panel(parameter), []).append(parameter)
    for title, parameters in panels.items():
        if parameters:
            yield f"## {title}\n\n| | |\n|---|---|"
        for parameter in parameters:
            written, meaning = parameter.get_help_record(context)
            yield f"| `{written}` | {_cell(meaning)} |"
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
