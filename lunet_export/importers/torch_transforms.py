"""`torch.distributions.transforms`, which zuko's own stand beside, and its normal distributions."""

from torch import Tensor

from lunet_export.importers.parts import Foreign, Layers, Refused
from lunet_export.importers.twin import row
from lunet_export.importers.walk import Table
from lunet_export.layers import Affine, Sigmoid, Tanh


def _affine(transform: Foreign, context: Tensor | None) -> Layers:
    return (affine(transform.scale, transform.loc),)


def affine(scale: Tensor | float, shift: Tensor | float) -> Affine:
    """scale x + shift, of one number for all columns or of one a column.

    Raises:
        Refused: They are of several rows.
    """
    numbers = [row(value) for value in (scale, shift)]
    for value in (scale, shift):
        if isinstance(value, Tensor) and value.ndim and value.numel() != value.shape[-1]:
            raise Refused(f"its numbers have the shape {tuple(value.shape)}, not a row's")
    return Affine(*numbers)


def normal(base: Foreign, context: Tensor | None) -> Layers:
    """What makes a normal distribution with a mean and a standard deviation a column the standard one."""
    inner = base
    while hasattr(inner, "base_dist"):
        inner = inner.base_dist
    if type(inner).__name__ != "Normal":
        raise Refused(f"it is a {type(inner).__name__}, not a normal distribution")
    loc, scale = row(inner.loc), row(inner.scale)
    standard = not loc.any() and bool((scale == 1).all())
    return () if standard else (Affine(1 / scale, -loc / scale),)


LAYERS: Table = {
    "torch.AffineTransform": _affine,
    "torch.SigmoidTransform": lambda transform, context: (Sigmoid(),),
    "torch.TanhTransform": lambda transform, context: (Tanh(),),
}
BASES: Table = {
    "torch.Independent": normal,
    "torch.Normal": normal,
    "zuko.DiagNormal": normal,
}
