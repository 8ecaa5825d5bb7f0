"""Running an exported folder: NumPy and ONNX Runtime, nothing else."""

from lunet_export.runtime.classes import ExportedClasses
from lunet_export.runtime.flow import ExportedFlow

__all__ = ["ExportedClasses", "ExportedFlow"]
