"""Exporter of invertible LU networks: density and sampling as plain ONNX graphs.

Importing this loads NumPy and nothing heavier; `ExportedFlow` needs ONNX Runtime when it is made.
"""

from lunet_export.errors import LunetExportError
from lunet_export.runtime import ExportedFlow

__all__ = ["ExportedFlow", "LunetExportError", "__version__"]
__version__ = "0.1.0"
