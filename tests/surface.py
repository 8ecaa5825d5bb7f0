"""What users may import, as lines of text with signatures as they are written; `tests/api.txt` holds those promised.

`python -m tests.surface` prints them.
"""

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from types import ModuleType

#: The modules that the API reference documents. All others may change in any version.
PUBLIC = (
    "lunet_export",
    "lunet_export.api",
    "lunet_export.errors",
    "lunet_export.runtime",
    "lunet_export.inventory",
    "lunet_export.signature",
    "lunet_export.parity",
    "lunet_export.bench",
    "lunet_export.importers",
    "lunet_export.export",
    "lunet_export.data",
    "lunet_export.training",
    "lunet_export.flows",
    "lunet_export.torch_layers",
    "lunet_export.diagnostics",
    "lunet_export.certificate",
    "lunet_export.streaming",
    "lunet_export.verification",
    "lunet_export.embedding",
    "lunet_export.figures",
)


def names_of(module: ModuleType) -> list[str]:
    """The public names of a module: its `__all__`, or the functions and classes that are its own."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    own = {name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__}
    return [name for name in own if not name.startswith("_")]


def lines(modules: tuple[str, ...] = PUBLIC) -> list[str]:
    """A line for every public name, and one for what a class defines, where it is first met."""
    found, seen = [], set()
    for path in modules:
        module = importlib.import_module(path)
        for name in sorted(names_of(module)):
            value = getattr(module, name)
            if isinstance(value, ModuleType):
                found.append(f"{path}.{name}: module")
            elif not (inspect.isclass(value) or inspect.isfunction(value)):
                found.append(f"{path}.{name}: {type(value).__name__}")
            elif value in seen:
                found.append(f"{path}.{name}: {value.__module__}.{value.__qualname__}")
            else:
                seen.add(value)
                found += [
                    f"{path}.{line}" for line in (_class(value) if inspect.isclass(value) else [_function(value)])
                ]
    return found


def documented() -> Iterator[tuple[str, object]]:
    """Everything public that should say what it is: modules, functions, classes, and what these define."""
    for path in PUBLIC:
        module = importlib.import_module(path)
        yield path, module
        for name in names_of(module):
            value = getattr(module, name)
            if inspect.isfunction(value) or inspect.isclass(value):
                yield f"{path}.{name}", value
            if inspect.isclass(value):
                for member, entry in vars(value).items():
                    inner = (
                        getattr(entry, "func", None)
                        or (getattr(value, member) if isinstance(entry, classmethod) else None)
                        or getattr(entry, "__func__", entry)
                    )
                    if not member.startswith("_") and (
                        inspect.isfunction(inner) or inspect.ismethod(inner) or isinstance(inner, property)
                    ):
                        yield f"{path}.{name}.{member}", inner


def says(value: object) -> bool:
    """Whether there is a docstring, and not the one that a dataclass makes for itself."""
    text = inspect.getdoc(value) or ""  # that of an abstract method, where there is one
    return bool(text.strip()) and not text.startswith(f"{getattr(value, '__name__', ' ')}(")


def _function(value: object) -> str:
    node = _parsed(value)
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return _signature(node)


def _class(owner: type) -> Iterator[str]:
    """Its bases, then fields and methods without an underscore, those of bases in this package too."""
    name = owner.__name__
    yield f"{name}({', '.join(base.__name__ for base in owner.__bases__ if base is not object)})"
    members: dict[str, str] = {}
    for base in reversed([base for base in owner.__mro__ if base.__module__.startswith("lunet_export")]):
        node = _parsed(base)
        assert isinstance(node, ast.ClassDef)
        for entry in node.body:
            if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name):
                members[entry.target.id] = ast.unparse(entry)
            elif isinstance(entry, ast.FunctionDef):
                kinds = "".join(f"@{ast.unparse(kind)} " for kind in entry.decorator_list)
                members[entry.name] = f"{kinds}{_signature(entry)}"
    for member, text in sorted(members.items()):
        if not member.startswith("_") or member == "__init__":
            yield f"{name}: {text}"


def _parsed(value: object) -> ast.stmt:
    return ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]  # type: ignore[arg-type]


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({ast.unparse(node.args)}){returned}"


if __name__ == "__main__":
    print("\n".join(lines()))  # noqa: T201
