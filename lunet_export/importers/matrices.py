"""Dense matrices as a permutation and an LU layer, by LU with pivoting: exact to rounding."""

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from lunet_export.importers.parts import Refused
from lunet_export.layers import LU, Layer, Permutation

Array = NDArray[np.float64]


def linear(matrix: Array, bias: Array) -> tuple[Layer, ...]:
    """Return the layers of x -> W x + b: a permutation, if pivoting needs one, and an LU layer.

    Pivoting W^T = L[p] U gives W x = U^T (L^T y) with y[p] = x: U^T is lower triangular, L^T upper with ones.

    Raises:
        Refused: if W has no inverse, or holds a number that is not finite.
    """
    if not np.isfinite(matrix).all():
        raise Refused("its matrix holds NaN or infinity")
    order, lower, upper = linalg.lu(matrix.T, p_indices=True)
    if not np.diag(upper).all():
        raise Refused("its matrix has no inverse")
    back = np.argsort(order).astype(np.int64)
    block = LU(np.ascontiguousarray(upper.T), np.ascontiguousarray(lower.T), bias)
    return (Permutation(back), block) if (back != np.arange(len(back))).any() else (block,)
