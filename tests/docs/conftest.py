"""The examples of the documentation, run as their readers would."""

import importlib.util
from types import ModuleType

from tests.conftest import ROOT

DOCS = ROOT / "docs"


def example(name: str) -> ModuleType:
    """A module of `docs/examples`."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
