"""The library an object comes from and the name of its class, without importing any of these libraries."""

from collections.abc import Container

#: Packages inside of others; glasflow has a copy of nflows.
_INSIDE = {"torch.nn.": "torch.nn", "glasflow.nflows.": "nflows"}
_METHODS = ("forward", "inverse", "_call", "_inverse")


def library_of(thing: object) -> str:
    """Return the library of the class or of its nearest base that is one of `LIBRARIES`; empty if there is none."""
    return next((name.partition(".")[0] for name in names(thing) if name.partition(".")[0] in LIBRARIES), "")


def names(thing: object) -> list[str]:
    """Return the names of the class and its bases, such as `nflows.LULinear` and `torch.nn.Linear`."""
    return [_name(kind) for kind in type(thing).__mro__]


def _name(kind: type) -> str:
    package = next((name for begin, name in _INSIDE.items() if kind.__module__.startswith(begin)), None)
    package = package or kind.__module__.partition(".")[0]
    return f"{package}.{kind.__qualname__}"


def first_known(thing: object, known: Container[str]) -> str | None:
    """Return the nearest class in `known`; None if there is none, or the thing's own class replaces its methods."""
    for kind in type(thing).__mro__:
        if _name(kind) in known:
            own = type(thing)
            same = all(getattr(own, method, None) is getattr(kind, method, None) for method in _METHODS)
            return _name(kind) if same else None
    return None


#: Packages whose flows are read; PyTorch's own transforms are read like zuko's.
LIBRARIES = ("FrEIA", "glasflow", "nflows", "normflows", "sbi", "zuko")
