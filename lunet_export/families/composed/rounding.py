"""The rounding errors of composed flows. Sizes of those of their operations, in units of the dtype's roundoff:

LU layers                     as `lunet_export.checks.rounding` has them
elementwise, y = f(x)         4 max(1, |y|); for the inverse 4 max(1, |x|), and |y| of y itself
scale x + shift               |scale x| + |y|; (|y| + |shift|) / |scale| + |x| for its inverse
networks, W a + b             |W| |a| + |b|         componentwise bound of a dot product
s x + t                       |s x| (4 + 2 |log s|) + |t|, and (|y| + |t|) / s (4 + 2 |log s|) for its inverse

Where a slope jumps, as that of leaky ReLU does at 0, log p jumps with it, and a row within reach of the jump may fall
on either side. So slopes are taken at points that are moved by some of their own errors.
"""

import numpy as np
from numpy.typing import NDArray

from lunet_export import lu
from lunet_export.checks.reference import softplus
from lunet_export.checks.rounding import Errors, Products, RoundedLU, of_elementwise
from lunet_export.families.composed import elementwise, networks, reference
from lunet_export.families.composed.layers import (
    Affine,
    AffineAutoregressive,
    Elementwise,
    Inverse,
    Layer,
    Permutation,
)
from lunet_export.families.composed.networks import Activation, Dense, Network, Scaling
from lunet_export.families.composed.weights import ComposedWeights, plain
from lunet_export.lu import LUBlock

Array = NDArray[np.float64]

_REACH = 4  # errors that a point may be off when its slope is taken
_MANY = 4e7  # products of a row and pass from which tolerances take seconds a row


class Passes:
    """As `lunet_export.checks.rounding.Passes`."""

    def __init__(self, weights: ComposedWeights) -> None:
        self._layers = [_prepared(layer) for layer in weights.layers]
        self.dear = sum(map(_work, weights.layers)) > _MANY

    def encode(self, h: Array, errors: Errors, products: Products) -> tuple[Array, Array, Array]:
        """As `lunet_export.checks.rounding.Passes.encode`."""
        log_det, size = np.zeros(len(h)), np.zeros(len(h))
        for layer in self._layers:
            h, terms = _applied(layer, h, errors, products, forth=True)
            log_det, size = log_det + terms.sum(axis=1), size + np.abs(terms).sum(axis=1)
        return h, log_det, size

    def decode(self, z: Array, errors: Errors, products: Products) -> Array:
        """As `lunet_export.checks.rounding.Passes.decode`."""
        h = z
        for layer in reversed(self._layers):
            h, _ = _applied(layer, h, errors, products, forth=False)
        return h


#: A layer without its turn, whether it is turned round, and what was prepared of an LU layer.
_Prepared = tuple[Layer, bool, RoundedLU | None]


def _prepared(layer: Layer) -> _Prepared:
    inner = plain(layer)
    return inner, isinstance(layer, Inverse), RoundedLU(inner) if isinstance(inner, LUBlock) else None


def _applied(prepared: _Prepared, h: Array, errors: Errors, products: Products, *, forth: bool) -> tuple[Array, Array]:
    """A layer in one direction, and the terms (N, K) of the log-determinant of that direction."""
    layer, turned, rounded = prepared
    forth = forth != turned
    if isinstance(layer, Permutation):
        order = layer.order if forth else np.argsort(layer.order)
        return h[:, order], np.zeros((len(h), 1))
    if isinstance(layer, LUBlock):
        assert rounded is not None
        constant = lu.log_abs_det(layer) if forth else -lu.log_abs_det(layer)
        moved = rounded.product(h, errors, products) if forth else rounded.solve(h, errors, products)
        return moved, np.full((len(h), 1), constant)
    if isinstance(layer, AffineAutoregressive):
        return _autoregressive(layer, h, errors, products, forth=forth)
    assert not isinstance(layer, Inverse)
    return _elementwise(layer, h, errors, forth=forth)


def _elementwise(layer: Elementwise, h: Array, errors: Errors, *, forth: bool) -> tuple[Array, Array]:
    if isinstance(layer, Affine):
        moved = elementwise.value(layer, h) if forth else elementwise.inverse(layer, h)
        size = np.abs(layer.scale * h) if forth else (np.abs(h) + np.abs(layer.shift)) / np.abs(layer.scale)
        moved = moved + errors(size + np.abs(moved))
        terms = elementwise.log_slope(layer, h)
    elif forth:
        value = elementwise.value(layer, h)
        moved = elementwise.inside(layer, value + errors(of_elementwise(value)))
        terms = elementwise.log_slope(layer, h + errors(_REACH * of_elementwise(h)))
    else:
        x = elementwise.inverse(layer, h + errors(np.abs(h)))
        moved = x + errors(of_elementwise(x))
        terms = elementwise.log_slope(layer, x + errors(_REACH * of_elementwise(x)))
    return moved, terms if forth else -terms


def _autoregressive(
    layer: AffineAutoregressive, h: Array, errors: Errors, products: Products, *, forth: bool
) -> tuple[Array, Array]:
    if forth:
        log_scale, shift = _scale_and_shift(layer, h, errors, products)
        grown = h[:, layer.changed] * np.exp(log_scale)
        lost = errors(np.abs(grown) * (4 + 2 * np.abs(log_scale)) + np.abs(shift))
        y = h.copy()
        y[:, layer.changed] = grown + shift + lost
        return y, log_scale
    x, terms = h.copy(), np.zeros((len(h), len(layer.changed)))
    x[:, layer.changed] = 0.0
    for level in layer.levels:
        log_scale, shift = (part[:, level] for part in _scale_and_shift(layer, x, errors, products))
        columns, back = layer.changed[level], np.exp(-log_scale)
        lost = errors((np.abs(h[:, columns]) + np.abs(shift)) * back * (4 + 2 * np.abs(log_scale)))
        x[:, columns] = (h[:, columns] - shift) * back + lost
        terms[:, level] = -log_scale
    return x, terms


def _scale_and_shift(layer: AffineAutoregressive, h: Array, errors: Errors, products: Products) -> tuple[Array, Array]:
    found = _network(layer.network, h[:, layer.inputs], errors, products)
    if layer.scale.kind == "none":
        return np.zeros_like(found), found
    shift, u = np.split(found, 2, axis=1)
    log_scale = reference.log_scale(layer.scale, u)
    size = of_elementwise(log_scale)
    if layer.scale.kind == "softplus":  # the logarithm of a small number
        value = softplus(u)
        size = size + of_elementwise(value) / (value + layer.scale.floor)
    return log_scale + errors(size), shift


def _network(network: Network, a: Array, errors: Errors, products: Products) -> Array:
    for operation in network:
        if isinstance(operation, Dense):
            lost = errors(products.size * (np.abs(a) @ np.abs(operation.weight).T + np.abs(operation.bias)))
            a = (1 - products.shrink) * (a @ operation.weight.T) + operation.bias + lost
        elif isinstance(operation, Scaling):
            grown = a * operation.scale
            a = grown + operation.shift + errors(np.abs(grown) + np.abs(operation.shift))
        elif isinstance(operation, Activation):
            value = networks.activated(operation, a)
            a = value + errors(of_elementwise(value))
        else:
            a = a + _network(operation.inner, a, errors, products)
    return a


def _work(layer: Layer) -> int:
    """Products of a row: passes of a layer's network times its numbers."""
    inner = plain(layer)
    if not isinstance(inner, AffineAutoregressive):
        return 0
    return len(inner.levels) * sum(array.size for array in networks.arrays(inner.network))
