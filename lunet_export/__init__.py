"""Exporter of invertible LU networks: density and sampling as plain ONNX graphs.

Importing this loads NumPy and nothing heavier; `ExportedFlow` and `ExportedClasses` need ONNX Runtime when made, and
`train`, `load`, `save`, `convert`, `export` and `check` load what they need when called.
"""

from typing import TYPE_CHECKING

from lunet_export.api import check, export, load, save, train
from lunet_export.errors import LunetExportError
from lunet_export.runtime import ExportedClasses, ExportedFlow

if TYPE_CHECKING:
    from torch import Tensor

    from lunet_export.importers import Reference
    from lunet_export.torch_layers import Flow

__all__ = [
    "ExportedClasses",
    "ExportedFlow",
    "LunetExportError",
    "__version__",
    "check",
    "convert",
    "export",
    "load",
    "save",
    "train",
]
#: The version of this package.
__version__ = "1.0.0"


def convert(flow: object, *, context: "Tensor | None" = None, reference: "Reference | None" = None) -> "Flow":
    """Another library's flow as ours: nflows, normflows, sbi, zuko, PyTorch. See `lunet_export.importers.convert`."""
    from lunet_export import importers

    return importers.convert(flow, context=context, reference=reference)
