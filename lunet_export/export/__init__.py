"""From weights to a folder of graphs that were checked before it appeared."""

from lunet_export.export.classes import ExportedClassFolder, blueprints_of, check_class_chains, export_classes
from lunet_export.export.parts import ExportCheckError
from lunet_export.export.provenance import Provenance, SourceFile
from lunet_export.export.verifier import ExportedForVerifier, HeldOut, Question, export_for_verifier
from lunet_export.export.write import Exported, build_artifact, check_chain, export
from lunet_export.graphs.settings import ExportSettings, Load

__all__ = [
    "ExportCheckError",
    "ExportSettings",
    "Exported",
    "ExportedClassFolder",
    "ExportedForVerifier",
    "HeldOut",
    "Load",
    "Provenance",
    "Question",
    "SourceFile",
    "blueprints_of",
    "build_artifact",
    "check_chain",
    "check_class_chains",
    "export",
    "export_classes",
    "export_for_verifier",
]
