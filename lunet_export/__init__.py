"""Exporter of invertible LU networks: density and sampling as plain ONNX graphs.

Importing this loads NumPy and nothing heavier; `ExportedFlow` and `ExportedClasses` need ONNX Runtime when made, and
`convert` PyTorch when it is looked up.
"""

from typing import TYPE_CHECKING, Any

from lunet_export.errors import LunetExportError
from lunet_export.runtime import ExportedClasses, ExportedFlow

if TYPE_CHECKING:
    from lunet_export.importers import convert

__all__ = ["ExportedClasses", "ExportedFlow", "LunetExportError", "__version__", "convert"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name != "convert":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lunet_export.importers import convert

    return convert
