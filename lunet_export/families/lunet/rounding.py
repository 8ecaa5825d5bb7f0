"""The rounding errors of LU-Net: those of its activation, and of its layers as `lunet_export.rounding` has them."""

import numpy as np
from numpy.typing import NDArray

from lunet_export import lu
from lunet_export.families.lunet import reference
from lunet_export.families.lunet.weights import LUNetWeights
from lunet_export.rounding import Errors, Products, RoundedLU, of_elementwise

Array = NDArray[np.float64]


def of_inverse_activation(h: Array, image: Array, alpha: float) -> Array:
    """Size of the error of h, the inverse of the activation at `image`: its own, and what that of the image becomes."""
    return of_elementwise(h) + np.abs(image) / reference.slope(h, alpha)


class Passes:
    """As `lunet_export.rounding.Passes`."""

    dear = False

    def __init__(self, weights: LUNetWeights) -> None:
        self._alpha = weights.alpha
        self._layers = [RoundedLU(block) for block in weights.blocks]
        self._constant = sum(lu.log_abs_det(block) for block in weights.blocks)

    def encode(self, h: Array, errors: Errors, products: Products) -> tuple[Array, Array, Array]:
        """As `lunet_export.rounding.Passes.encode`."""
        alpha, log_det, size = self._alpha, np.zeros(len(h)), np.zeros(len(h))
        for number, layer in enumerate(self._layers):
            if number:
                logs = np.log(reference.slope(h, alpha)).sum(axis=1)
                log_det, size = log_det + logs, size + np.abs(logs)
                h = reference.leaky_softplus(h, alpha)
                h = h + errors(of_elementwise(h))
            h = layer.product(h, errors, products)
        return h, log_det + self._constant, size + abs(self._constant)

    def decode(self, z: Array, errors: Errors, products: Products) -> Array:
        """As `lunet_export.rounding.Passes.decode`."""
        h = z
        for number, layer in reversed(list(enumerate(self._layers))):
            h = layer.solve(h, errors, products)
            if number:
                image = h
                h = reference.inverse_leaky_softplus(image, self._alpha)
                h = h + errors(of_inverse_activation(h, image, self._alpha))
        return h
