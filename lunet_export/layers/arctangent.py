"""The arctangent, of operators that both providers compute in float32 and float64.

ONNX Runtime has one kernel of Atan: float32 on the CPU. By tan(a / 2) = tan a / (1 + sqrt(1 + tan^2 a)) the angle is
halved three times, to at most pi / 16, where few terms of the series of atan reach the last digit.
"""

from math import pi, tan

import numpy as np

from lunet_export.layers.graph import Graph, Value

_HALVINGS = 3
_FAR = 1e18  # its square is a float32, and its angle is pi / 2 to the last digit of a float64
_LARGEST = tan(pi / 2 ** (_HALVINGS + 1)) ** 2


def atan_nodes(g: Graph, u: Value, factor: float) -> Value:
    """Write factor atan u.

    The error is at most 12 units of roundoff of the value itself, near 0 too; 7 units are the most that was seen.
    """
    half = g.node("Clip", u, -_FAR, _FAR)
    for _ in range(_HALVINGS):
        root = g.node("Sqrt", g.node("Add", g.node("Mul", half, half), 1.0))
        half = g.node("Div", half, g.node("Add", root, 1.0))
    square = g.node("Mul", half, half)
    last, *others = (2**_HALVINGS * factor * c for c in reversed(_series(float(np.finfo(g.dtype).eps))))
    total: Value | float = last
    for coefficient in others:
        total = g.node("Add", g.node("Mul", square, total), coefficient)
    return g.node("Mul", half, total)


def _series(epsilon: float) -> list[float]:
    """Return 1, -1/3, 1/5, ... up to the term that no longer counts."""
    found: list[float] = []
    size = 1.0
    while size / (2 * len(found) + 1) > epsilon / 8:
        found.append((-1) ** len(found) / (2 * len(found) + 1))
        size *= _LARGEST
    return found
