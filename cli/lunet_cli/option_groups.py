"""Options that travel together: a command takes them as one dataclass, the command line takes each by itself.

The fields of such a dataclass are annotated and have defaults, as the parameters of a command.
"""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer is to read it: in the place of each dataclass, its fields."""
    own = signature(command)
    hints = get_type_hints(command, include_extras=True)

    @wraps(command)
    def with_groups(**given: object) -> None:
        command(**{name: _gathered(name, hints[name], given) for name in own.parameters})

    parameters = [
        option
        for parameter in own.parameters.values()
        for option in _options(parameter.name, hints[parameter.name], parameter.default)
    ]
    vars(with_groups)["__signature__"] = own.replace(parameters=parameters)
    return with_groups


def _gathered(name: str, hint: object, given: dict[str, object]) -> object:
    """The value of a parameter, or of a field, of what was given for each option."""
    if not (isinstance(hint, type) and is_dataclass(hint)):
        return given[name]
    return hint(**{inner: _gathered(inner, kind, given) for inner, kind, _ in _inside(hint)})


def _options(name: str, hint: object, default: object) -> Iterator[Parameter]:
    if not (isinstance(hint, type) and is_dataclass(hint)):
        yield _option(name, hint, default)
        return
    for inner, kind, usual in _inside(hint):
        yield from _options(inner, kind, usual)


def _inside(group: "type[DataclassInstance]") -> Iterator[tuple[str, object, object]]:
    """Name, annotation and default of each field."""
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        yield field.name, hints[field.name], Parameter.empty if field.default is MISSING else field.default


def _option(name: str, annotation: object, default: object) -> Parameter:
    """Where there is no default, none is shown: Typer before 0.16 would print None."""
    if default in (None, Parameter.empty) and get_origin(annotation) is Annotated:
        kind, declared = get_args(annotation)
        if declared.show_default is True:
            declared = copy(declared)
            declared.show_default = False
            annotation = Annotated[kind, declared]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def chosen(group: "DataclassInstance") -> dict[str, Any]:
    """What was chosen, by the fields' names: values other than None, those of an enumeration as plain text."""
    values = {field.name: getattr(group, field.name) for field in fields(group)}
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def changed(group: "DataclassInstance") -> list[str]:
    """The options whose values are not their defaults, where options are named as the fields are."""
    return [_flag(field) for field in fields(group) if getattr(group, field.name) != field.default]


def _flag(field: Field[Any]) -> str:
    return f"--{field.name.replace('_', '-')}"
