"""From weights to a folder of graphs that were checked before it appeared."""

from lunet_export.export.classes import ExportedClassFolder, check_class_chains, export_classes
from lunet_export.export.estimate import Estimate, Load, estimates, fastest
from lunet_export.export.parts import ExportCheckError
from lunet_export.export.settings import ExportSettings, Provenance
from lunet_export.export.write import Exported, build_artifact, check_chain, export

__all__ = [
    "Estimate",
    "ExportCheckError",
    "ExportSettings",
    "Exported",
    "ExportedClassFolder",
    "Load",
    "Provenance",
    "build_artifact",
    "check_chain",
    "check_class_chains",
    "estimates",
    "export",
    "export_classes",
    "fastest",
]
