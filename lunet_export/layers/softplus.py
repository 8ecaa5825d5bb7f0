"""softplus and the leaky softplus of LU-Net, in plain float64 NumPy."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def softplus(a: Array) -> Array:
    """Return log(1 + e^a), without overflow."""
    return np.logaddexp(0.0, a)


def leaky_softplus(a: Array, alpha: float) -> Array:
    """Return f(a) = alpha a + (1 - alpha) log(1 + e^a)."""
    return alpha * a + (1 - alpha) * softplus(a)


def leaky_softplus_slope(a: Array, alpha: float) -> Array:
    """Return f'(a) = alpha + (1 - alpha) / (1 + e^-a), in (alpha, 1)."""
    return alpha + (1 - alpha) * np.exp(-softplus(-a))
