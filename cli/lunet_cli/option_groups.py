"""Groups of options: a command takes a group as one dataclass, the command line takes each option by itself.

Each field of such a dataclass is an `option`, or is annotated as a parameter of a command, or is such a dataclass
itself. `PANEL`, if the class has one, is the panel of the help that lists them.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import MISSING, field, fields, is_dataclass
from enum import Enum
from functools import wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, TypeVar, get_args, get_origin, get_type_hints

from typer import Option
from typer.models import OptionInfo

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


T = TypeVar("T")


def option(
    default: T,
    text: str,
    *names: str,
    least: float | None = None,
    shown: bool | str = True,
    words: Sequence[str] = (),
) -> T:
    """Return a field that is an option.

    Args:
        default: Value if the option is not given.
        text: Line of the help.
        names: Names as they are typed; without any, the field's name, with an opposite if the default is True.
        least: Smallest number that is valid.
        shown: Whether the help shows the default, or the words that it shows instead.
        words: Valid words, for the help and for completion; the command itself validates the value.
    """
    more: dict[str, Any] = {**one_of(*words)} if words else {}
    return field(default=default, metadata={_OPTION: Option(*names, help=text, min=least, show_default=shown, **more)})


class Words(TypedDict):
    """Settings of an option that takes one of a few words."""

    metavar: str
    autocompletion: Callable[[str], list[str]]


def one_of(*words: str) -> Words:
    """Return the settings of an option that takes these words: the help lists them, and a shell completes them."""
    return {"metavar": listed(words), "autocompletion": lambda incomplete: _beginning(incomplete, words)}


def listed(words: Iterable[str]) -> str:
    """Return words as the help lists them, with spaces at which a narrow column may break the line."""
    return f"<{' | '.join(words)}>"


def _beginning(incomplete: str, words: Sequence[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


_OPTION = "option"


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command as Typer reads it, each dataclass replaced by its fields."""
    own = signature(command)
    hints = get_type_hints(command, include_extras=True)

    @wraps(command)
    def with_groups(**given: object) -> None:
        command(**{name: _gathered(name, hints[name], given) for name in own.parameters})

    parameters = [
        option
        for parameter in own.parameters.values()
        for option in _options(parameter.name, hints[parameter.name], parameter.default, None)
    ]
    vars(with_groups)["__signature__"] = own.replace(parameters=parameters)
    return with_groups


def _gathered(name: str, hint: object, given: dict[str, object]) -> object:
    """Return the value of a parameter or a field, made of the values of the options."""
    if not (isinstance(hint, type) and is_dataclass(hint)):
        return given[name]
    return hint(**{inner: _gathered(inner, kind, given) for inner, kind, _ in _inside(hint)})


def _options(name: str, hint: object, default: object, panel: str | None) -> Iterator[Parameter]:
    if isinstance(hint, type) and is_dataclass(hint):
        for inner, kind, usual in _inside(hint):
            yield from _options(inner, kind, usual, getattr(hint, "PANEL", None))
    elif get_origin(hint) is Annotated:
        kind, declared = get_args(hint)
        declared = copy(declared)
        declared.rich_help_panel = declared.rich_help_panel or panel
        words = _words(kind)
        if words and isinstance(declared, OptionInfo) and declared.metavar is None:
            declared.metavar = listed(words)
        if kind is bool and default is False and declared.default is ...:  # where Typer keeps the first name
            declared.default = f"--{name.replace('_', '-')}"  # and no opposite
        if default in (None, Parameter.empty) and declared.show_default is True:
            declared.show_default = False  # Typer before 0.16 would print None
        yield Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, declared])
    else:
        yield Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _words(kind: object) -> list[str]:
    """Return the values of an enumeration, which may be optional; an empty list for other types."""
    kinds = [kind, *get_args(kind)]
    return [str(each.value) for one in kinds if isinstance(one, type) and issubclass(one, Enum) for each in one]


def _inside(group: "type[DataclassInstance]") -> Iterator[tuple[str, object, object]]:
    """Yield the name, annotation and default of each field."""
    hints = get_type_hints(group, include_extras=True)
    for each in fields(group):
        hint = Annotated[hints[each.name], each.metadata[_OPTION]] if _OPTION in each.metadata else hints[each.name]
        yield each.name, hint, Parameter.empty if each.default is MISSING else each.default


def chosen(group: "DataclassInstance") -> dict[str, Any]:
    """Return the values other than None by the names of the fields, those of an enumeration as plain text."""
    values = {each.name: getattr(group, each.name) for each in fields(group)}
    plain = {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}
    return {name: value for name, value in plain.items() if value is not None}


def changed(group: "DataclassInstance") -> list[str]:
    """Return the names of the options whose values are not their defaults, if options are named as their fields."""
    return [_typed(each.name) for each in fields(group) if getattr(group, each.name) != each.default]


def typed(group: "DataclassInstance") -> list[str]:
    """Return the changed options with their values, as they are typed, without values from the environment."""
    words = []
    for name, hint, usual in _inside(type(group)):
        value = getattr(group, name)
        if value != usual and os.environ.get(_variable(hint)) != str(value):
            words += [_typed(name), str(value)]
    return words


def _typed(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _variable(hint: object) -> str:
    """Return the environment variable that an option is read from; if there is none, a name that no variable has."""
    found = (getattr(declared, "envvar", None) for declared in get_args(hint)[1:])
    return next((name for name in found if isinstance(name, str)), "=")
