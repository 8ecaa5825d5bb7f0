"""Which library a thing comes from and which of its classes it is, without importing any of them."""

from collections.abc import Container

_METHODS = ("forward", "inverse", "_call", "_inverse")


def library_of(thing: object) -> str:
    """The package that the class is of, or the nearest of its bases that another package than the user's own has."""
    return next((name.partition(".")[0] for name in names(thing) if name.partition(".")[0] in LIBRARIES), "")


def names(thing: object) -> list[str]:
    """The class and its bases: `nflows.LULinear`, and of PyTorch `torch.nn.Linear` and `torch.TanhTransform`."""
    return [_name(kind) for kind in type(thing).__mro__]


def _name(kind: type) -> str:
    package = "torch.nn" if kind.__module__.startswith("torch.nn.") else kind.__module__.partition(".")[0]
    return f"{package}.{kind.__qualname__}"


def first_known(thing: object, known: Container[str]) -> str | None:
    """The nearest class in `known` whose methods the thing's own class has not replaced."""
    for kind in type(thing).__mro__:
        if _name(kind) in known:
            own = type(thing)
            same = all(getattr(own, method, None) is getattr(kind, method, None) for method in _METHODS)
            return _name(kind) if same else None
    return None


#: The packages whose flows are read; PyTorch's own transforms are read as zuko's are.
LIBRARIES = ("nflows", "normflows", "sbi", "zuko")
