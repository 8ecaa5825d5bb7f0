"""How much a runtime of finite precision must be allowed to differ from the reference, by the model's conditioning.

Monte Carlo arithmetic (Parker 1997): the float64 reference runs several times, and after every linear map, solve and
elementwise function random errors of the size that rounding makes there are added. What comes out differently is
what the model's own conditioning turns such errors into. Sizes, in units of the dtype's roundoff u:
    elementwise functions        4 max(1, |value|), divided by the slope where the function is inverted
    the sum in log p             the sum of its terms' absolute values, times sqrt(D) / 4 where that is more than 1
    a = L U h + b                |L| (|U| |h|) + |b|, the componentwise bound of a dot product
    solve L y = r, U h = y       residuals |L| |y| and |U| |h| (Higham 2002, section 8.1)
and what else a family has as its own `rounding` says. A row's tolerance is SAFETY times the largest
root-mean-square deviation among its columns, plus 4 u of its largest number.

A runtime may add D terms one after another, as WebAssembly's nearly does, or in many short sums. The first errs more:
of terms alike, its k-th sum is k / D of the whole S and rounded with a standard deviation of about 0.4 u k S / D, and D
of these come to 0.4 u S sqrt(D / 3), which is u S sqrt(D) / 4.

Products of a shorter dtype have its u. TF32 keeps 10 bits of the mantissa of both operands, 11 with the leading one: to
nearest that is an error of at most u = 2^-11 each. An implementation that truncates takes between 0 and 2u off each,
which is u off every one of them, and an error of at most u. So truncation is rounding after every operand has shrunk by
u, and every product by 2u. Random errors do not stand for that: all entries of a row shrink together, and log p sees
the sum. The errors of TF32 therefore hold both, the random part and the shrinking.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from math import sqrt
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from lunet_export import lu
from lunet_export.checks import reference
from lunet_export.family import family_of
from lunet_export.lu import LUBlock
from lunet_export.preprocessing import Logit, largest_below
from lunet_export.weights import Weights

Array = NDArray[np.float64]
Errors = Callable[[Array], Array]  # sizes -> random errors of these sizes

SAFETY = 8.0
_PROBES = 8
TF32 = "tf32"


def unit_roundoff(dtype: str) -> float:
    """u: 2^-11 for float16 and tf32, 2^-24 for float32, 2^-53 for float64."""
    return 2.0**-11 if dtype == TF32 else float(np.finfo(dtype).eps) / 2


def of_elementwise(value: Array) -> Array:
    """Size of the error of an elementwise function of that value, in units, for every number."""
    return 4 * np.maximum(1.0, np.abs(value))


def of_inverse_logit(x: Array, p: Logit) -> Array:
    """The same of grey levels x."""
    return 4 * (np.abs(x) + p.levels * p.margin)


def of_mixture(class_log_prob: Array, tolerance: Array, priors: Sequence[float], dtype: str) -> dict[str, Array]:
    """Tolerances (N,) of the mixture's log_prob and of a row's posterior, from those of its classes' log_prob.

    Both are monotone in every class's log_prob, so the ends of what each may be give the ends of what they may be. The
    arithmetic between adds what `of_elementwise` says, and a unit a class for the sum.

    Args:
        class_log_prob: What the reference gives, in nats, (N, C).
        tolerance: Of each of these, (N, C).
        priors: Of the classes, (C,).
        dtype: Of the runtime.
    """
    unit = unit_roundoff(dtype)
    reach = tolerance + unit * of_elementwise(class_log_prob)
    low, high = class_log_prob - reach, class_log_prob + reach
    log_prob, posterior = (f(class_log_prob, priors) for f in (reference.mixture_log_prob, reference.posterior))
    ends = (reference.mixture_log_prob(end, priors) for end in (low, high))
    gap = np.max([np.abs(end - log_prob) for end in ends], axis=0)
    apart = np.zeros(len(log_prob))
    for number in range(len(priors)):
        for own, others in ((high, low), (low, high)):
            shifted = others.copy()
            shifted[:, number] = own[:, number]
            moved = reference.posterior(shifted, priors)[:, number] - posterior[:, number]
            apart = np.maximum(apart, np.abs(moved))
    return {"log_prob": gap + unit * of_elementwise(log_prob), "posterior": apart + (4 + len(priors)) * unit}


@dataclass(frozen=True)
class Products:
    """How linear maps err: the size of their errors in units, and the share that truncation takes off each."""

    size: float
    shrink: float


def sizes_of(block: LUBlock) -> LUBlock:
    """The block's absolute values, of which errors of products are made."""
    return LUBlock(*map(np.abs, (block.lower, block.upper, block.bias)))


def of_lower_solve(y: Array, a: Array, size: LUBlock) -> Array:
    """Residual of L y = a - b, in units. size: the block's absolute values."""
    return np.abs(y) @ size.lower.T + np.abs(a) + size.bias


def of_upper_solve(h: Array, size: LUBlock) -> Array:
    """Residual of U h = y, in units."""
    return np.abs(h) @ size.upper.T


class RoundedLU:
    """An LU layer in both directions, with errors added."""

    def __init__(self, block: LUBlock) -> None:
        self._block, self._size = block, sizes_of(block)
        self._lower, self._upper = np.linalg.inv(block.lower), np.linalg.inv(block.upper)

    def size_of_product(self, h: Array) -> Array:
        """Size of the error of L (U h) + b, in units."""
        return lu.affine(np.abs(h), self._size)

    def product(self, h: Array, errors: Errors, products: Products) -> Array:
        """L (U h) + b."""
        lost = errors(products.size * self.size_of_product(h))
        a = lu.affine(h, self._block)
        return a + lost - products.shrink * (a - self._block.bias)

    def solve(self, a: Array, errors: Errors, products: Products) -> Array:
        """h with L (U h) + b = a."""
        y = (a - self._block.bias) @ self._lower.T
        residual = of_lower_solve(y, a, self._size)
        y = y + errors(products.size * residual) @ self._lower.T
        y = y - products.shrink * (a @ self._lower.T)  # no product holds the bias
        h = y @ self._upper.T
        return h + errors(products.size * of_upper_solve(h, self._size)) @ self._upper.T - products.shrink * h


class Passes(Protocol):
    """Both directions of a network behind its pre-processing, with errors added: `Passes` of a family's `rounding`."""

    @property
    def dear(self) -> bool:
        """A row takes a large part of a second."""

    def encode(self, h: Array, errors: Errors, products: Products) -> tuple[Array, Array, Array]:
        """h (N, D) -> z (N, D), the log-determinant (N,), and the sum of its terms' absolute values (N,), in nats."""

    def decode(self, z: Array, errors: Errors, products: Products) -> Array:
        """z (N, D) -> h (N, D)."""


class RoundingModel:
    """Predicts the differences that a correct implementation in `dtype` may show.

    Args:
        weights: The model.
        dtype: `float32` or `float64`.
        products: A shorter dtype of the linear maps and solves alone, `float16` or `tf32`.
    """

    def __init__(self, weights: Weights, dtype: str, products: str | None = None) -> None:
        self._weights, self._dtype = weights, np.dtype(dtype)
        self._unit = unit_roundoff(dtype)
        self._products = products or dtype
        self._passes: Passes = family_of(weights).part("rounding").Passes(weights)

    def with_products(self, products: str) -> Self:
        """The same model with products of another dtype; what its family prepared is not prepared again."""
        other = copy(self)
        other._products = products
        return other

    def density(self, x: Array) -> dict[str, Array]:
        """Tolerances of z, log_prob and of x -> z -> x, for rows x (N, D)."""
        z, log_prob = reference.encode(self._weights, x)[0], reference.log_prob(self._weights, x)
        probes = [self._encode(x, errors) for errors in self._draws()]
        back = [self._decode(probe, errors) for (probe, _), errors in zip(probes, self._draws(), strict=True)]
        return {
            "z": self._tolerance(z, [probe for probe, _ in probes]),
            "log_prob": self._tolerance(log_prob[:, None], [value[:, None] for _, value in probes]),
            "x": self._tolerance(x, back),
        }

    def sampling(self, z: Array) -> dict[str, Array]:
        """Tolerances of x, of log_prob at that x, and of z -> x -> z, for rows z (N, D)."""
        x = self.clamp(reference.decode(self._weights, z))
        log_prob = reference.log_prob(self._weights, x)
        probes = [self._decode(z, errors) for errors in self._draws()]
        back = [self._encode(probe, errors) for probe, errors in zip(probes, self._draws(), strict=True)]
        return {
            "x": self._tolerance(x, probes),
            "log_prob": self._tolerance(log_prob[:, None], [value[:, None] for _, value in back]),
            "z": self._tolerance(z, [value for value, _ in back]),
        }

    @property
    def dear(self) -> bool:
        """A row takes so long that few are taken."""
        return self._passes.dear

    def clamp(self, x: Array) -> Array:
        """x as the sampling graph gives it: images in [0, largest number below levels], rows in their domain."""
        p, domain = self._weights.preprocessing, self._weights.domain
        if domain:
            return np.clip(x, *(end.astype(np.float64) for end in domain.ends(self._dtype)))
        return np.clip(x, 0.0, float(largest_below(p.levels, self._dtype))) if p else x

    @property
    def _how(self) -> Products:
        return Products(unit_roundoff(self._products) / self._unit, self._shrink)

    @property
    def _shrink(self) -> float:
        return 2 * unit_roundoff(TF32) if self._products == TF32 else 0.0

    def _draws(self) -> list[Errors]:
        def errors(rng: np.random.Generator) -> Errors:
            return lambda sizes: self._unit * sizes * rng.standard_normal(sizes.shape)

        return [errors(np.random.default_rng(probe)) for probe in range(_PROBES)]

    def _tolerance(self, exact: Array, probes: list[Array]) -> Array:
        deviation = np.sqrt(np.mean([(probe - exact) ** 2 for probe in probes], axis=0))
        return SAFETY * deviation.max(axis=1) + 4 * self._unit * np.abs(exact).max(axis=1)

    def _encode(self, x: Array, errors: Errors) -> tuple[Array, Array]:
        p, h, log_det, size = self._weights.preprocessing, x, np.zeros(len(x)), np.zeros(len(x))
        if p:
            h, log_det = reference.logit(x, p)
            size = np.abs(log_det)
            h = h + errors(of_elementwise(h))
        z, of_network, its_size = self._passes.encode(h, errors, self._how)
        base = reference.standard_normal_log_prob(z)
        in_sequence = max(1.0, sqrt(self._weights.dim) / 4)
        return z, base + log_det + of_network + errors(in_sequence * (size + its_size + np.abs(base)))

    def _decode(self, z: Array, errors: Errors) -> Array:
        p, h = self._weights.preprocessing, self._passes.decode(z, errors, self._how)
        if p is None:
            return self.clamp(h)
        x = reference.inverse_logit(h, p)
        return self.clamp(x + errors(of_inverse_logit(x, p)))
