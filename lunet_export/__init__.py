"""Exporter of invertible LU networks: density and sampling as plain ONNX graphs.

Importing this loads NumPy and nothing heavier; `ExportedFlow` and `ExportedClasses` need ONNX Runtime when made.
"""

from lunet_export.errors import LunetExportError
from lunet_export.runtime import ExportedClasses, ExportedFlow

__all__ = ["ExportedClasses", "ExportedFlow", "LunetExportError", "__version__"]
__version__ = "0.1.0"
