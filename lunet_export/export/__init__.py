"""From weights to a folder of graphs that were checked before it appeared."""

from lunet_export.export.parts import ExportCheckError
from lunet_export.export.provenance import Provenance, SourceFile
from lunet_export.export.rebuilt import rebuilt
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
