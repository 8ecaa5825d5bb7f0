"""The rounding errors of JKO-iFlow. Sizes of those of its operations, in units of the dtype's roundoff:

linear maps, W a + b         |W| |a| + |b|         componentwise bound of a dot product
s and s'                     4 max(1, |beta s|) / beta, and 4
d_1^T C d_2                  |d_1|^T |C| |d_2|     as a product, and again in the sum of log p
a step of the 3/8 rule       4 (|x| + h sum |k|)

An implementation may leave the last biases out of x and add their integral later, so that |x| is |x| plus what these
come to, in each of the sizes.
"""

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks.reference import softplus
from lunet_export.checks.rounding import Errors, Products, of_elementwise
from lunet_export.families.jko import reference
from lunet_export.families.jko.weights import JKOWeights, VelocityField

Array = NDArray[np.float64]

_MANY = 4e7  # products of a row and pass from which tolerances take seconds a row


class Passes:
    """As `lunet_export.checks.rounding.Passes`."""

    def __init__(self, weights: JKOWeights) -> None:
        self._weights = weights
        tangents = weights.dim if len(weights.hidden) > 2 else 1
        self.dear = 4 * weights.steps * weights.stored * tangents > _MANY
        self._inverse = np.linalg.inv(weights.root)

    def encode(self, h: Array, errors: Errors, products: Products) -> tuple[Array, Array, Array]:
        """As `lunet_export.checks.rounding.Passes.encode`."""
        w = self._weights
        lost = errors(products.size * (np.abs(h) @ np.abs(w.root).T + np.abs(w.root @ w.centre)))
        h = (1 - products.shrink) * (h @ w.root.T) - w.root @ w.centre + lost
        constant = np.log(np.diag(w.root)).sum()
        log_det, size = np.full(len(h), constant), np.full(len(h), np.abs(constant))
        offset = np.zeros(w.dim)
        for field in w.fields:
            offset = offset + np.abs(field.layers[-1][1])
            evaluation = _Evaluation(field, w.beta, offset, errors, products)
            h, term = _integrated(evaluation, h, w.steps, errors, back=False)
            log_det, size = log_det + term[:, 0], size + term[:, 1]
        return h, log_det, size

    def decode(self, z: Array, errors: Errors, products: Products) -> Array:
        """As `lunet_export.checks.rounding.Passes.decode`."""
        w, h, offset = self._weights, z, np.zeros(self._weights.dim)
        for field in reversed(w.fields):
            offset = offset + np.abs(field.layers[-1][1])
            evaluation = _Evaluation(field, w.beta, offset, errors, products, with_divergence=False)
            h, _ = _integrated(evaluation, h, w.steps, errors, back=True)
        lost = errors(products.size * ((np.abs(h) + offset) @ np.abs(self._inverse).T + np.abs(w.centre)))
        return (1 - products.shrink) * (h @ self._inverse.T) + w.centre + lost


class _Evaluation:
    """v(x, t) and, in two columns, div v and the sum of its terms' absolute values."""

    def __init__(
        self,
        field: VelocityField,
        beta: float,
        offset: Array,
        errors: Errors,
        products: Products,
        *,
        with_divergence: bool = True,
    ) -> None:
        self._field, self._beta, self.offset = field, beta, offset
        self._errors, self._products, self._with_divergence = errors, products, with_divergence

    def __call__(self, x: Array, t: float) -> tuple[Array, Array]:
        """As `reference.Evaluate`."""
        *hidden, last = self._field.layers
        a, extra, start, slopes = x, self.offset, t * self._field.time, []
        for matrix, bias in hidden:
            sharp = self._beta * (self._linear(a, matrix, bias + start, extra))
            value, slope = softplus(sharp), np.exp(-softplus(-sharp))
            a = (value + self._errors(of_elementwise(value))) / self._beta
            slopes.append(slope + self._errors(of_elementwise(slope)))
            start, extra = np.zeros(1), np.zeros(1)
        v = self._linear(a, *last, extra)
        return v, self._divergence(slopes) if self._with_divergence else np.zeros((len(x), 2))

    def _linear(self, a: Array, matrix: Array, bias: Array, extra: Array) -> Array:
        lost = self._errors(self._products.size * ((np.abs(a) + 2 * extra) @ np.abs(matrix).T + np.abs(bias)))
        return (1 - self._products.shrink) * (a @ matrix.T) + bias + lost

    def _divergence(self, slopes: list[Array]) -> Array:
        field, slopes = self._field, [np.abs(slope) for slope in slopes]
        matrices = tuple((np.abs(matrix), bias) for matrix, bias in field.layers)
        if len(slopes) == 1:
            size = slopes[0] @ np.abs(field.product)
        elif len(slopes) == 2:
            size = ((slopes[0] @ np.abs(field.product)) * slopes[1]).sum(axis=1)
        else:
            size = reference.divergence(VelocityField(matrices, field.time), slopes)
        # One product for one and two hidden layers; every further layer multiplies the tangents once more.
        count = max(1, len(slopes) - 1)
        exact = reference.divergence(field, slopes)
        found = (1 - count * self._products.shrink) * exact + self._errors(count * self._products.size * size)
        return np.stack([found, size], axis=1)


def _integrated(evaluation: _Evaluation, x: Array, steps: int, errors: Errors, *, back: bool) -> tuple[Array, Array]:
    """`reference.integrate` with errors; the second column of the integral counts every step as positive."""

    def evaluate(x: Array, t: float) -> tuple[Array, Array]:
        v, terms = evaluation(x, t)
        lost = errors(4 * (np.abs(x) + evaluation.offset + np.abs(v) / steps))
        return v + steps * lost, terms

    return reference.integrate(evaluate, x, steps, back=back)
