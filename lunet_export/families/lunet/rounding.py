"""The rounding errors of LU-Net. Sizes of those of linear maps, in units of the dtype's roundoff:

a = L U h + b                |L| (|U| |h|) + |b|                      componentwise bound of a dot product
solve L y = r, U h = y       residuals |L| |y| and |U| |h|            (Higham 2002, section 8.1)

The slope of leaky ReLU jumps where a is 0, and with it log p, by |log alpha|: no condition number tells. A runtime
whose rounding carries an a across is right to be off by the jump, so an a that a few of its own rounding errors could
carry across counts with the slope of the other side. Few rows are that near in float32. With products of float16 or
TF32 all rows of a wide network are, and their log p has a tolerance of several jumps.
"""

import numpy as np
from numpy.typing import NDArray

from lunet_export.families.lunet import reference
from lunet_export.families.lunet.reference import Activation
from lunet_export.families.lunet.weights import LUBlock, LUNetWeights
from lunet_export.rounding import Errors, Products, of_elementwise

Array = NDArray[np.float64]

#: Of an a's own errors. What earlier layers did to it is in it, by one error of theirs; a runtime's may be larger.
_REACH = 4.0


def sizes_of(block: LUBlock) -> LUBlock:
    """The block's absolute values, of which errors of products are made."""
    return LUBlock(*map(np.abs, (block.lower, block.upper, block.bias)))


def of_activation(h: Array, f: Activation) -> Array:
    """Size of the error of h, a value of f or of its inverse: a leaky ReLU is one product with alpha, exact near 0."""
    return 2 * np.abs(h) if f.kinked else of_elementwise(h)


def of_inverse_activation(h: Array, image: Array, f: Activation) -> Array:
    """The same of h, the inverse of f at `image`: its own, and what rounding of the image becomes."""
    return of_activation(h, f) + np.abs(image) / f.slope(h)


def of_lower_solve(y: Array, a: Array, size: LUBlock) -> Array:
    """Residual of L y = a - b, in units. size: the block's absolute values."""
    return np.abs(y) @ size.lower.T + np.abs(a) + size.bias


def of_upper_solve(h: Array, size: LUBlock) -> Array:
    """Residual of U h = y, in units."""
    return np.abs(h) @ size.upper.T


def _across_the_kink(a: Array, reach: Array) -> Array:
    """a, but on the other side of 0 where that is within reach."""
    return np.where(np.abs(a) < np.abs(reach), np.where(a < 0, 1.0, -1.0), a)


class Passes:
    """As `lunet_export.rounding.Passes`."""

    dear = False

    def __init__(self, weights: LUNetWeights) -> None:
        self._weights = weights
        self._inverses = [(np.linalg.inv(block.lower), np.linalg.inv(block.upper)) for block in weights.blocks]
        self._sizes = [sizes_of(block) for block in weights.blocks]

    def encode(self, h: Array, errors: Errors, products: Products) -> tuple[Array, Array, Array]:
        """As `lunet_export.rounding.Passes.encode`."""
        f, log_det, size = Activation.of(self._weights), np.zeros(len(h)), np.zeros(len(h))
        rounded = np.zeros_like(h)  # size of the errors of the last map
        for number, block in enumerate(self._weights.blocks):
            if number:
                probed = _across_the_kink(h, errors(_REACH * rounded)) if f.kinked else h
                logs = np.log(f.slope(probed)).sum(axis=1)
                log_det, size = log_det + logs, size + np.abs(logs)
                h = f(h)
                h = h + errors(of_activation(h, f))
            rounded = products.size * reference.affine(np.abs(h), self._sizes[number])
            h = reference.affine(h, block)
            h = h + errors(rounded) - products.shrink * (h - block.bias)
        constant = sum(np.log(np.abs(np.diag(block.upper))).sum() for block in self._weights.blocks)
        return h, log_det + constant, size + abs(constant)

    def decode(self, z: Array, errors: Errors, products: Products) -> Array:
        """As `lunet_export.rounding.Passes.decode`."""
        f, h = Activation.of(self._weights), z
        for number in reversed(range(len(self._weights.blocks))):
            h = self._solve(number, h, errors, products)
            if number:
                image = h
                h = f.inverse(image)
                h = h + errors(of_inverse_activation(h, image, f))
        return h

    def _solve(self, number: int, a: Array, errors: Errors, products: Products) -> Array:
        size, (lower, upper) = self._sizes[number], self._inverses[number]
        y = (a - self._weights.blocks[number].bias) @ lower.T
        residual = of_lower_solve(y, a, size)
        y = y + errors(products.size * residual) @ lower.T
        y = y - products.shrink * (a @ lower.T)  # no product holds the bias
        h = y @ upper.T
        return h + errors(products.size * of_upper_solve(h, size)) @ upper.T - products.shrink * h
