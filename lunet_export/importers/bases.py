"""Base distributions as the layers that make them standard normal."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lunet_export.importers.classes import first_known, names
from lunet_export.importers.parts import Foreign, Layers, Refused
from lunet_export.importers.twin import array, row
from lunet_export.importers.walk import Table
from lunet_export.layers import LU, Affine, Inverse, NormalCDF

Array = NDArray[np.float64]


def diagonal(mean: Array, deviation: Array) -> Layers:
    """Return the layers that make a normal distribution standard, from its mean and standard deviation per column."""
    standard = not mean.any() and bool((deviation == 1).all())
    return () if standard else (Affine(1 / deviation, -mean / deviation),)


def correlated(mean: Array, root: Array) -> Layers:
    """Return the layer of z = L^-1 (x - mean), for the covariance L L^T with L lower triangular.

    Raises:
        Refused: if there are several means or covariances.
    """
    if root.ndim != 2 or mean.shape != root.shape[:1]:
        raise Refused(f"its mean and covariance have the shapes {mean.shape} and {root.shape}, not those of a row")
    return (Inverse(LU(np.tril(root), np.eye(len(root)), mean)),)


def uniform(low: Array, high: Array, columns: NDArray[np.bool_] | None = None) -> Layers:
    """Return the layers that make numbers that are uniform between low and high standard normal: z = Phi^-1(u).

    Args:
        low: Lower ends, one for all columns or one per column.
        high: Upper ends.
        columns: Truth values of the columns that are uniform; None for all. In the others, low is the mean and
            high - low the standard deviation of a normal number.
    """
    width = high - low
    onto = () if not low.any() and bool((width == 1).all()) else (Affine(1 / width, -low / width),)
    return (*onto, Inverse(NormalCDF() if columns is None else NormalCDF(columns)))


def _of_torch(base: Foreign, context: Tensor | None) -> Layers:
    """Read a distribution of PyTorch: the innermost class must be the very one, for many derive from these."""
    inner = base
    while first_known(inner, _INDEPENDENT):
        inner = inner.base_dist
    kind = names(inner)[0]
    if kind == "torch.Normal":
        return diagonal(row(inner.loc), row(inner.scale))
    if kind == "torch.Uniform":
        return uniform(row(inner.low), row(inner.high))
    if kind in _CORRELATED:
        return correlated(array(inner.loc), array(inner.scale_tril))
    raise Refused(f"it is a {type(inner).__name__}; normal and uniform distributions are supported")


_CORRELATED = ("torch.MultivariateNormal", "torch.LowRankMultivariateNormal")
_INDEPENDENT = ("torch.Independent", "zuko.DiagNormal", "zuko.BoxUniform", "nflows.BoxUniform")
OF_TORCH: Table = dict.fromkeys((*_INDEPENDENT, *_CORRELATED, "torch.Normal", "torch.Uniform"), _of_torch)
