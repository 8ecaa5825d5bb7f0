"""Hints of the command to run next, printed on stderr. Every line can be pasted into a shell, and works."""

from itertools import count
from pathlib import Path

from lunet_cli import output
from lunet_cli.options import DEFAULT_PARENT
from lunet_export import installation


def say(*arguments: str) -> None:
    """Print a command of this program."""
    say_line(installation.command(*arguments))


def say_line(line: str) -> None:
    """Print a line of shell. It must not hold a comment, which some shells reject."""
    output.note(f"next: {line}")


def say_to_export(model: Path) -> None:
    """Print the command that exports a model file, to a folder that does not exist yet."""
    folder = DEFAULT_PARENT / model.stem
    say(str(model), *(["-o", str(unused(folder))] if folder.exists() else []))


def unused(path: Path) -> Path:
    """Return the path, or if it exists the first of `path-2`, `path-3`, ... that does not."""
    others = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return path if not path.exists() else next(other for other in others if not other.exists())
