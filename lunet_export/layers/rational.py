"""Rational functions of one number: quotients of two polynomials."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lunet_export.layers.graph import Graph, Value

Array = NDArray[np.float64]
Coefficients = tuple[float, ...]


@dataclass(frozen=True)
class Rational:
    """This function is (a_0 + a_1 x + ...) / (b_0 + b_1 x + ...)."""

    numerator: Coefficients
    denominator: Coefficients

    def __call__(self, x: Array) -> Array:
        """Return the value at x in float64."""
        return np.asarray(np.polyval(self.numerator[::-1], x) / np.polyval(self.denominator[::-1], x))


def quotients(g: Graph, functions: Sequence[Rational], x: Sequence[Value]) -> list[Value]:
    """Write one or two rational functions, each of its own x [batch, dim].

    All their polynomials go through one Horner scheme, stacked along a new first axis: the nodes are those of the
    longest polynomial. Constants [polynomials, 1, 1] are broadcast over whole planes, which is fast.
    """
    parts = [part for function in functions for part in (function.numerator, function.denominator)]
    longest = max(map(len, parts))
    stacked = np.array([(*part, *[0.0] * (longest - len(part))) for part in parts])[:, :, None, None]
    where = x[0]
    if len(x) > 1:
        first = np.arange(len(parts))[:, None, None] < 2
        where = g.node("Where", g.constant(first, "first", np.bool_), *x)
    found = g.constant(stacked[:, -1], "coefficients")
    for power in range(longest - 2, -1, -1):
        found = g.node("Add", g.node("Mul", found, where), g.constant(stacked[:, power], "coefficients"))
    planes = g.split(found, [1] * len(parts), axis=0)
    divided = [g.node("Div", above, below) for above, below in zip(planes[::2], planes[1::2], strict=True)]
    return [g.reshape(quotient, (-1, g.dim)) for quotient in divided]
