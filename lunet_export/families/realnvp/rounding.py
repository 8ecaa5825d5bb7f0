"""The rounding errors of RealNVP. Sizes of those of linear maps, in units of the dtype's roundoff:

convolution, W h + b     |W| |h| (+ |b|)                 componentwise bound of a dot product
instance norm            4 max(1, |v|) + (|h| + mean |h|) / deviation, v being its value
S and T                  2 (|factor value| + |constant|)
x e^S + T                |x e^S| (4 + 2 |S|) + |T|, and (|y| + |T|) e^-S (4 + 2 |S|) for its inverse
"""

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks.rounding import Errors, Products, of_elementwise
from lunet_export.families.realnvp import reference
from lunet_export.families.realnvp.weights import ConvNet, Coupling, DenseNet, RealNVPWeights, Reorder

Array = NDArray[np.float64]

_MANY = 100  # dimensions from which convolutions in NumPy are slow


class Passes:
    """As `lunet_export.checks.rounding.Passes`."""

    def __init__(self, weights: RealNVPWeights) -> None:
        self._weights = weights
        self.dear = weights.convolutional and weights.dim > _MANY

    def encode(self, h: Array, errors: Errors, products: Products) -> tuple[Array, Array, Array]:
        """As `lunet_export.checks.rounding.Passes.encode`."""
        log_det, size = np.zeros(len(h)), np.zeros(len(h))
        for layer in self._weights.layers:
            if isinstance(layer, Reorder):
                h = h[:, layer.order]
                continue
            changing, others = np.split(h, [layer.width], axis=1)
            log_scale, shift = _scale_and_shift(layer, changing, errors, products)
            grown = changing * np.exp(log_scale)
            changed = grown + shift + errors(np.abs(grown) * (4 + 2 * np.abs(log_scale)) + np.abs(shift))
            h = np.concatenate([changed, others], axis=1)
            log_det, size = log_det + log_scale.sum(axis=1), size + np.abs(log_scale).sum(axis=1)
        return h, log_det, size

    def decode(self, z: Array, errors: Errors, products: Products) -> Array:
        """As `lunet_export.checks.rounding.Passes.decode`."""
        h = z
        for layer in reversed(self._weights.layers):
            if isinstance(layer, Reorder):
                h = h[:, np.argsort(layer.order)]
                continue
            changed, others = np.split(h, [layer.width], axis=1)
            entering = reference.kept(layer, changed)
            lost = (np.abs(changed) + np.abs(layer.shift)) * np.exp(-layer.log_scale)
            entering = entering + layer.mask * errors(2 * lost)
            log_scale, shift = _scale_and_shift(layer, entering, errors, products)
            size = (np.abs(changed) + np.abs(shift)) * np.exp(-log_scale) * (4 + 2 * np.abs(log_scale))
            h = np.concatenate([(changed - shift) * np.exp(-log_scale) + errors(size), others], axis=1)
        return h


def _scale_and_shift(coupling: Coupling, h: Array, errors: Errors, products: Products) -> tuple[Array, Array]:
    if len(coupling.nets) == 2:
        image = (h * coupling.mask).reshape(len(h), *coupling.shape)
        s, t = (_conv_net(net, image, errors, products).reshape(len(h), -1) for net in coupling.nets)
    else:
        found = _dense_net(coupling.nets[0], h[:, coupling.mask], errors, products)
        s, t = np.zeros_like(h), np.zeros_like(h)
        s[:, ~coupling.mask], t[:, ~coupling.mask] = np.split(found, 2, axis=1)
    bent = np.tanh(s)
    bent = coupling.scale_factor * (bent + errors(of_elementwise(bent)))
    moved = coupling.shift_factor * t
    log_scale, shift = bent + coupling.log_scale, moved + coupling.shift
    log_scale = log_scale + errors(2 * (np.abs(bent) + np.abs(coupling.log_scale)))
    return log_scale, shift + errors(2 * (np.abs(moved) + np.abs(coupling.shift)))


def _conv_net(net: ConvNet, h: Array, errors: Errors, products: Products) -> Array:
    def convolved(h: Array, kernel: Array) -> Array:
        found = reference.convolved(h, kernel)
        lost = errors(products.size * reference.convolved(np.abs(h), np.abs(kernel)))
        return found + lost - products.shrink * found

    def normed(h: Array) -> Array:
        value, size = reference.instance_norm(h), np.abs(h)
        deviation = np.sqrt(h.var(axis=(2, 3), keepdims=True) + reference.EPSILON)
        return value + errors(of_elementwise(value) + (size + size.mean(axis=(2, 3), keepdims=True)) / deviation)

    h = convolved(h, net.first)
    for first, second in net.residuals:
        inner = reference.rectified(normed(convolved(h, first)))
        h = reference.rectified(h + normed(convolved(inner, second)))
    return convolved(h, net.last)


def _dense_net(net: DenseNet, h: Array, errors: Errors, products: Products) -> Array:
    for number, (matrix, bias) in enumerate(net.layers):
        h = reference.rectified(h) if number else h
        lost = errors(products.size * (np.abs(h) @ np.abs(matrix).T + np.abs(bias)))
        product = h @ matrix.T
        h = product + bias + lost - products.shrink * product
    return h
