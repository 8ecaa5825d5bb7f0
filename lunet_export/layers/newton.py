"""Newton's iteration for the roots of elementwise maps whose inverse has no closed form, in float64."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_MOST_STEPS = 200  # 4 to 12 are needed


class Smooth(Protocol):
    """This protocol is a map of one number with a slope."""

    def value(self, x: Array) -> Array:
        """Return f(x)."""

    def slope(self, x: Array) -> Array:
        """Return f'(x)."""


def newton(f: Smooth, y: Array, x: Array) -> Array:
    """Return the x with f(x) = y to the last digits, from a start x on the side of the root where no step passes it."""
    for _ in range(_MOST_STEPS):
        slope = f.slope(x)
        move = (f.value(x) - y) / slope
        x = x - move
        size = np.maximum(1.0, np.maximum(np.abs(x), np.abs(y / slope)))  # one unit of y becomes 1 / f' of x
        if not (np.abs(move) > 4 * np.finfo(np.float64).eps * size).any():
            break
    return x
