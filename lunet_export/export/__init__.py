"""Export of weights as a folder of graphs, which are checked before the folder appears.

Names are loaded on first use, so that importing `lunet_export`, which imports this package, does not load onnx.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lunet_export.export.parts import ExportCheckError
    from lunet_export.export.provenance import Provenance, SourceFile
    from lunet_export.export.rebuilding import rebuilt
    from lunet_export.export.verifier import ExportedForVerifier, HeldOut, Question, export_for_verifier
    from lunet_export.export.write import Exported, build_artifact, check_chains, export
    from lunet_export.graphs.settings import ExportSettings, Load

__all__ = [
    "ExportCheckError",
    "ExportSettings",
    "Exported",
    "ExportedForVerifier",
    "HeldOut",
    "Load",
    "Provenance",
    "Question",
    "SourceFile",
    "build_artifact",
    "check_chains",
    "export",
    "export_for_verifier",
    "rebuilt",
]

_HOMES = {
    "export.parts": ("ExportCheckError",),
    "export.provenance": ("Provenance", "SourceFile"),
    "export.rebuilding": ("rebuilt",),
    "export.verifier": ("ExportedForVerifier", "HeldOut", "Question", "export_for_verifier"),
    "export.write": ("Exported", "build_artifact", "check_chains", "export"),
    "graphs.settings": ("ExportSettings", "Load"),
}
_HOME = {name: f"lunet_export.{home}" for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(_HOME[name]), name)
    return value
