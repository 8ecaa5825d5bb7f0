"""How many of Newton's steps the inverse of leaky tanh takes, found at export: a graph cannot ask its data.

The start is that of `reference.inverse_leaky_tanh`, written without signs: x0(y) = y + (1 - alpha) / alpha (y - y'),
with y' = y clipped to [-1, 1]. An alpha of 0.1 takes 4 steps in float32 and 5 in float64; one of 0.001 takes 8 and 9.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import BadInputError
from lunet_export.families.lunet import reference as lunet

Array = NDArray[np.float64]

_MOST_STEPS = 9
#: Error allowed after the steps in float64, in units of 1, |x| or |y| / f', whichever is largest: one unit roundoff of
#: float32; what float64 itself leaves.
_ALLOWED = {"float32": 2.0**-24, "float64": 2.0**-50}


@lru_cache
def fit(alpha: float, dtype: str) -> int:
    """The fewest steps that reach `dtype` (float32 or float64), verified on a grid.

    Raises:
        BadInputError: alpha is too close to 0.
    """
    f = lunet.Activation("leaky-tanh", alpha)
    y = np.concatenate([f(np.linspace(0.0, 40.0, 8001)), np.linspace(0.0, 2.0, 2001), np.geomspace(2.0, 1e6, 60)])
    exact = f.inverse(y)
    size = np.maximum(np.maximum(1.0, np.abs(exact)), y / f.slope(exact))
    for steps in range(1, _MOST_STEPS + 1):
        if (np.abs(after(y, alpha, steps) - exact) <= _ALLOWED[dtype] * size).all():
            return steps
    raise BadInputError(f"Expected an alpha of at least 0.001 to export a leaky tanh; got {alpha}.")


def after(y: Array, alpha: float, steps: int) -> Array:
    """x after so many steps towards f(x) = y, in float64."""
    f = lunet.Activation("leaky-tanh", alpha)
    x = y + (1 - alpha) / alpha * (y - np.clip(y, -1.0, 1.0))
    for _ in range(steps):
        x = x + (y - f(x)) / f.slope(x)
    return x
