"""`torch.distributions.transforms`, which appear beside zuko's own."""

from torch import Tensor

from lunet_export.importers.parts import Foreign, Layers, Refused
from lunet_export.importers.twin import row
from lunet_export.importers.walk import Table
from lunet_export.layers import Affine, Sigmoid, Tanh


def _affine(transform: Foreign, context: Tensor | None) -> Layers:
    return (affine(transform.scale, transform.loc),)


def affine(scale: Tensor | float, shift: Tensor | float) -> Affine:
    """Return scale x + shift, with one number for all columns or one per column.

    Raises:
        Refused: if there are several rows of numbers.
    """
    numbers = [row(value) for value in (scale, shift)]
    for value in (scale, shift):
        if isinstance(value, Tensor) and value.ndim and value.numel() != value.shape[-1]:
            raise Refused(f"its numbers have the shape {tuple(value.shape)}, not a row's")
    return Affine(*numbers)


LAYERS: Table = {
    "torch.AffineTransform": _affine,
    "torch.SigmoidTransform": lambda transform, context: (Sigmoid(),),
    "torch.TanhTransform": lambda transform, context: (Tanh(),),
}
