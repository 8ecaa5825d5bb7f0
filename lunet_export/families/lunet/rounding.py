"""The rounding errors of LU-Net: those of its activation, and of its layers as `lunet_export.checks.rounding` has them.

The slope of leaky ReLU jumps where a is 0, and with it log p, by |log alpha|: no condition number tells. A runtime
whose rounding carries an a across is right to be off by the jump, so an a that a few of its own rounding errors could
carry across counts with the slope of the other side. Few rows are that near in float32. With products of float16 or
TF32 all rows of a wide network are, and their log p has a tolerance of several jumps.
"""

import numpy as np
from numpy.typing import NDArray

from lunet_export import lu
from lunet_export.checks.rounding import Errors, Products, RoundedLU, of_elementwise
from lunet_export.families.lunet.reference import Activation
from lunet_export.families.lunet.weights import LUNetWeights

Array = NDArray[np.float64]

#: Of an a's own errors. What earlier layers did to it is in it, by one error of theirs; a runtime's may be larger.
_REACH = 4.0


def of_activation(h: Array, f: Activation) -> Array:
    """Size of the error of h, a value of f or of its inverse: a leaky ReLU is one product with alpha, exact near 0."""
    return 2 * np.abs(h) if f.kinked else of_elementwise(h)


def of_inverse_activation(h: Array, image: Array, f: Activation) -> Array:
    """The same of h, the inverse of f at `image`: its own, and what rounding of the image becomes."""
    return of_activation(h, f) + np.abs(image) / f.slope(h)


def _across_the_kink(a: Array, reach: Array) -> Array:
    """a, but on the other side of 0 where that is within reach."""
    return np.where(np.abs(a) < np.abs(reach), np.where(a < 0, 1.0, -1.0), a)


class Passes:
    """As `lunet_export.checks.rounding.Passes`."""

    dear = False

    def __init__(self, weights: LUNetWeights) -> None:
        self._activation = Activation.of(weights)
        self._layers = [RoundedLU(block) for block in weights.blocks]
        self._constant = sum(lu.log_abs_det(block) for block in weights.blocks)

    def encode(self, h: Array, errors: Errors, products: Products) -> tuple[Array, Array, Array]:
        """As `lunet_export.checks.rounding.Passes.encode`."""
        f, log_det, size = self._activation, np.zeros(len(h)), np.zeros(len(h))
        rounded = np.zeros_like(h)  # size of the errors of the last map
        for number, layer in enumerate(self._layers):
            if number:
                probed = _across_the_kink(h, errors(_REACH * rounded)) if f.kinked else h
                logs = np.log(f.slope(probed)).sum(axis=1)
                log_det, size = log_det + logs, size + np.abs(logs)
                h = f(h)
                h = h + errors(of_activation(h, f))
            rounded = products.size * layer.size_of_product(h)
            h = layer.product(h, errors, products)
        return h, log_det + self._constant, size + abs(self._constant)

    def decode(self, z: Array, errors: Errors, products: Products) -> Array:
        """As `lunet_export.checks.rounding.Passes.decode`."""
        f, h = self._activation, z
        for number, layer in reversed(list(enumerate(self._layers))):
            h = layer.solve(h, errors, products)
            if number:
                image = h
                h = f.inverse(image)
                h = h + errors(of_inverse_activation(h, image, f))
        return h
