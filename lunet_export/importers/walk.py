"""One layer of another library, by a table of the classes that are carried."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import Tensor

from lunet_export.importers.classes import first_known
from lunet_export.importers.parts import Foreign, Layers, Part, Refused

#: What layers are given beside themselves.
C = TypeVar("C")
Reader = Callable[[Foreign, Tensor | None], Layers]
Table = Mapping[str, Reader]


def leaf(thing: object, path: str, table: Mapping[str, Callable[[Foreign, C], Layers]], context: C) -> Part:
    """Return what a layer becomes, by its class's entry in the table, or why it is not supported."""
    kind, known = type(thing).__name__, first_known(thing, table)
    where = path or "the transform itself"
    if known is None:
        return Part(where, kind, refusal=_why(kind))
    try:
        return Part(where, kind, table[known](thing, context))
    except Refused as refused:
        return Part(where, kind, refusal=str(refused))
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        said = (str(error).splitlines() or [""])[0][:100]
        return Part(where, kind, refusal=f"it is not built as this class is: {type(error).__name__}, {said}")


def _why(kind: str) -> str:
    for form in ("linear", "quadratic", "cubic"):
        if f"Piecewise{form.title()}" in kind:
            return f"piecewise {form} splines are not supported; rational-quadratic ones are"
    return "its class is not supported"
