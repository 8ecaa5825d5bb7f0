"""Normalizing flows, trained here or brought from other libraries, as ONNX graphs with checked density and sampling.

    import lunet_export

    model = lunet_export.train("table.csv", "model.pt")   # a file of rows, an array, or the name of a data set
    flow = lunet_export.export(model, "exported/mine")    # density.onnx and sampling.onnx, compared with a reference
    x = flow.sample(1000, seed=7)                         # (1000, D), the same rows in every language
    log_prob = flow.log_prob(x)                           # nats, (1000,)
    z = flow.encode(x)                                    # standard normal, (1000, D)

    train            trains a flow by exact maximum likelihood
    load, save       read and write model files, which every command takes
    convert          makes a flow of one of zuko, nflows, normflows, FrEIA or sbi, or of a module of your own
    export           writes the folder of a model, checked, and opens it
    check            compares a folder with its test vectors again
    ExportedFlow     opens a folder; NumPy and ONNX Runtime are all that it needs
    ExportedClasses  opens the folder of a model with one network per class

Errors are `LunetExportError`, and say in a sentence what was expected, what came and what to do. Importing this loads
NumPy and nothing heavier; PyTorch and onnx are loaded by the functions that need them.
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
    """Return another library's flow, or your own module, as a PyTorch flow with the same log p(x) and x -> z.

    It was compared with the object itself in float64, on rows of four scales, and is in the object's own dtype. All is
    said by `lunet_export.importers.convert`.

    Args:
        flow: Flow, distribution or transform of nflows, normflows, zuko or `torch.distributions`, a flow of FrEIA or
            glasflow, or a density estimator of sbi. With `reference`: layers of `lunet_export.layers` from data to
            latent, a `Chain` or a `Flow`.
        context: Context that a conditional flow is fixed to, (C,) or (1, C).
        reference: Your module or a method of it, x (N, D) -> z (N, D) and log|det dz/dx| (N,), or log p(x) (N,) in
            nats.

    Raises:
        UnsupportedLayersError: if layers cannot be carried over; all are named.
        CheckpointError: if they make no flow.
        CheckFailedError: if what was made is not what the object computes.
        BadInputError: if it is no object of these libraries.

    Examples:
        >>> import zuko
        >>> flow = lunet_export.convert(zuko.flows.MAF(3, transforms=2, hidden_features=(8,)))
        >>> flow.sample(4, seed=0).shape
        torch.Size([4, 3])
    """
    from lunet_export import importers

    return importers.convert(flow, context=context, reference=reference)
