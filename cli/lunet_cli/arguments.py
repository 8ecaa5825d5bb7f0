"""Python arguments in sentences of the package, such as `dtype='float64'`, replaced by options of a command."""

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typer._click import Command, Parameter

#: Pattern of an argument, alone or with a value in Python's notation.
ARGUMENT = re.compile(r"`(?P<name>[a-z][a-z_]*)(?:=(?P<value>[^`]+))?`")

_options: ContextVar[Mapping[str, "Parameter"]] = ContextVar("options", default={})  # noqa: B039 (never changed)


@contextmanager
def spoken_of(commands: Mapping[str, "Command"]) -> Iterator[None]:
    """Within this context, `in_options` knows the options of these commands."""
    options = [each for command in commands.values() for each in command.params if each.param_type_name == "option"]
    words = {name.lstrip("-").replace("-", "_"): each for each in options for name in each.opts}
    before = _options.set(words | {each.name: each for each in options if each.name})
    try:
        yield
    finally:
        _options.reset(before)


def in_options(sentence: str) -> str:
    """Return a sentence with options in place of arguments: `--dtype float64` for `dtype='float64'`.

    Arguments without an option, and values that are not Python literals, are not replaced.
    """
    return ARGUMENT.sub(_option, sentence)


def _option(found: re.Match[str]) -> str:
    parameter = _options.get().get(found["name"])
    if parameter is None:
        return found[0]
    if found["value"] is None:
        return parameter.opts[0]
    try:
        value = ast.literal_eval(found["value"])
    except (SyntaxError, ValueError):
        return found[0]
    if value is False:
        return parameter.secondary_opts[0]
    return parameter.opts[0] if value is True else f"{parameter.opts[0]} {shlex.quote(str(value))}"
