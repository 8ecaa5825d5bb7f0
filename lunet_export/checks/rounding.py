"""How much a runtime of finite precision may differ from the reference, by the model's conditioning.

Monte Carlo arithmetic (Parker 1997): the float64 reference runs several times, and after every linear map, solve and
elementwise function random errors of the size that rounding makes there are added. The differences in the outputs are
what the model's own conditioning makes of such errors. Sizes, in units of the dtype's roundoff u:
    elementwise functions        4 max(1, |value|), divided by the slope where the function is inverted
    the sum in log p             the sum of its terms' absolute values, times sqrt(D) / 4 where that is more than 1
    a = L U h + b                |L| (|U| |h|) + |b|, the componentwise bound of a dot product
    solve L y = r, U h = y       residuals |L| |y| and |U| |h| (Higham 2002, section 8.1)
and the sizes of any other layer are stated by its own class. A row's tolerance is SAFETY times the largest
root-mean-square deviation among its columns, plus 4 u of its largest number.

Rounding decides the bin of a spline for a number near a knot, and a steep bin may lie beside a flat one. A right
runtime's answer is then of either side, so a tolerance must span both, and no probe may be left to chance: with errors
e of its own, a probe leaves the number on its side with probability 1/2, and all 8 do in 1 of 256 rows. The errors of
flows with such seams therefore come in 8 pairs, e and -e, of which one carries the number across whenever e is larger
than its distance from the knot.

A runtime may add D terms one after another, as WebAssembly's nearly does, or in many short sums. The first errs more:
of similar terms, the k-th partial sum is k / D of the whole S and rounded with a standard deviation of about
0.4 u k S / D, and D of these come to 0.4 u S sqrt(D / 3), which is u S sqrt(D) / 4.

Products of a shorter dtype have its u. TF32 keeps 10 bits of the mantissa of both operands, 11 with the leading one: to
nearest that is an error of at most u = 2^-11 each. An implementation that truncates takes between 0 and 2u off each,
which is u off every one of them, and an error of at most u. So truncation is rounding after every operand has shrunk by
u, and every product by 2u. Random errors do not stand for that: all entries of a row shrink together, and log p sees
the sum. The errors of TF32 therefore hold both, the random part and the shrinking.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from math import sqrt
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks import reference
from lunet_export.layers import Chain
from lunet_export.layers.errors import Errors, Size, of_elementwise
from lunet_export.preprocessing import Logit, inverse_logit, largest_below, logit

Array = NDArray[np.float64]

SAFETY = 8.0
_PROBES = 8
_REACH = 4.0  # errors that a point may be off when its slope is taken
TF32 = "tf32"


def unit_roundoff(dtype: str) -> float:
    """Return u: 2^-11 for float16 and tf32, 2^-24 for float32, 2^-53 for float64."""
    return 2.0**-11 if dtype == TF32 else float(np.finfo(dtype).eps) / 2


def sizes(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the size of each row, (N,), which its digits are counted from.

    That is the largest number of a row (N, D). A single number (N,), as a log-likelihood, counts as at least one.
    """
    size = np.abs(values.reshape(len(values), -1)).max(axis=1)
    return np.maximum(size, 1.0) if values.ndim == 1 else size


def of_inverse_logit(x: Array, p: Logit) -> Array:
    """Return the size of the error of an inverse logit with values x, in units."""
    return 4 * (np.abs(x) + p.levels * p.margin)


def of_mixture(class_log_prob: Array, tolerance: Array, priors: Sequence[float], dtype: str) -> dict[str, Array]:
    """Return tolerances (N,) of the mixture's log_prob and of a row's posterior, from those of its classes' log_prob.

    Both are monotone in every class's log_prob, so the ends of what each may be give the ends of what they may be. The
    arithmetic between adds what `of_elementwise` says, and one unit per class for the sum.

    Args:
        class_log_prob: The reference's log densities of the classes in nats, (N, C).
        tolerance: Tolerance of each of these, (N, C).
        priors: Priors of the classes, (C,).
        dtype: Dtype of the runtime.
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


class Probe(Errors):
    """A probe adds random errors of the size that rounding makes, on one way through a chain.

    Args:
        unit: Roundoff of the runtime's dtype.
        products: Roundoff of its matrix products.
        shrink: Part that truncation takes off each product.
        rng: Random generator of the errors.
    """

    exact = False

    def __init__(self, unit: float, products: float, shrink: float, rng: np.random.Generator) -> None:
        self._unit, self._size, self._shrink, self._rng = unit, products / unit, shrink, rng
        self._of_last: Array | None = None  # sizes of the last product's errors
        self.left_out = 0.0
        #: Rows (N,) of which the probes are on different sides of a seam; False where there is none.
        self.by_rounding: NDArray[np.bool_] | bool = False

    def random(self, sizes: Array) -> Array:
        """Return random errors of these sizes."""
        return self._unit * sizes * self._rng.standard_normal(sizes.shape)

    def value(self, value: Array, size: Size | None = None) -> Array:
        return value + self.random(of_elementwise(value) if size is None else size())

    def product(
        self,
        value: Array,
        size: Size,
        *,
        constant: Array | float = 0.0,
        through: Array | None = None,
        count: int = 1,
    ) -> Array:
        self._of_last = count * self._size * size()
        lost = self.random(self._of_last)
        lost = lost if through is None else lost @ through.T
        return value + lost - count * self._shrink * (value - constant)

    def leave_out(self, size: Array) -> None:
        self.left_out = self.left_out + size

    def nearby(self, x: Array, size: Size | None = None) -> Array:
        return x + self.random(_REACH * (of_elementwise(x) if size is None else size()))

    def across(self, x: Array) -> Array:
        """Return x with its sign reversed within reach of 0.

        The reach is a few errors of the last product, or of an elementwise function where there was none.
        """
        fits = self._of_last is not None and self._of_last.shape == x.shape
        reach = self.random(_REACH * (self._of_last if fits and self._of_last is not None else of_elementwise(x)))
        return np.where(np.abs(x) < np.abs(reach), np.where(x < 0, 1.0, -1.0), x)


class PairedProbe(Probe):
    """In this probe the second half of all rows has the errors of the first half, with their signs reversed.

    Args:
        unit, products, shrink, rng: As of `Probe`.
        count: Number of probes of a row; all of a row's go together.
        rows: Number of rows N.
    """

    def __init__(
        self, unit: float, products: float, shrink: float, rng: np.random.Generator, count: int, rows: int
    ) -> None:
        super().__init__(unit, products, shrink, rng)
        self._count, self._rows = count, rows

    def random(self, sizes: Array) -> Array:
        if len(sizes) != self._count * self._rows:
            return super().random(sizes)
        first = self._rng.standard_normal((len(sizes) // 2, *sizes.shape[1:]))
        return self._unit * sizes * np.concatenate([first, -first])

    def took(self, sides: NDArray[np.generic]) -> None:
        each = sides.reshape(self._count, self._rows, -1)
        self.by_rounding = np.logical_or(self.by_rounding, (each != each[0]).any(axis=(0, 2)))


@dataclass(frozen=True)
class Allowed:
    """These are the tolerances (N,) by the names of what they are for, and the rows that rounding decides.

    `by_rounding` (N,) marks rows of which some number lies so near a seam, as a knot of a spline is, that rounding
    decides its side. The tolerances of such a row span both sides.
    """

    tolerance: dict[str, Array]
    by_rounding: NDArray[np.bool_]


class RoundingModel:
    """A rounding model predicts the differences that a correct implementation in `dtype` may show.

    Args:
        weights: Model to predict for.
        dtype: Dtype of the tensors, `float32` or `float64`.
        products: Shorter dtype of the linear maps and solves alone, `float16` or `tf32`.
    """

    def __init__(self, weights: Chain, dtype: str, products: str | None = None) -> None:
        self._weights, self._dtype = weights, np.dtype(dtype)
        self._unit = unit_roundoff(dtype)
        self._products = products or dtype
        #: Number of probes of a row.
        self._count = 2 * _PROBES if weights.has_seams else _PROBES

    def with_products(self, products: str) -> Self:
        """Return the same model with products of another dtype."""
        other = copy(self)
        other._products = products
        return other

    def density(self, x: Array, context: Array | None = None) -> dict[str, Array]:
        """Return tolerances of z, log_prob and of x -> z -> x, for rows x (N, D) and their contexts (N, C)."""
        return self.of_density(x, *self.encode(x, context), context).tolerance

    def sampling(self, z: Array, context: Array | None = None) -> dict[str, Array]:
        """Return tolerances of x, of log_prob at that x, and of z -> x -> z, for rows z (N, D) and their contexts."""
        x = self.clamp(reference.decode(self._weights, z, context))
        return self.of_sampling(z, x, self.encode(x, context)[1], context).tolerance

    def encode(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """Return the reference's z and log_prob of rows x (N, D)."""
        z, log_det = reference.encode(self._weights, x, context)
        return z, reference.standard_normal_log_prob(z) + log_det

    def of_density(self, x: Array, z: Array, log_prob: Array, context: Array | None = None) -> Allowed:
        """Return what `density` does with the rows that rounding decides, for rows whose z and log_prob are known."""
        contexts, forth, back = self._contexts(context, len(x)), *self._probes(len(x))
        probes, values = self._encode(self._repeated(x), contexts, forth)
        tolerance = {
            "z": self._tolerance(z, probes),
            "log_prob": self._tolerance(log_prob[:, None], values[:, None]),
            "x": self._tolerance(x, self._decode(probes, contexts, back)),
        }
        return Allowed(tolerance, _decided(len(x), forth, back))

    def of_sampling(self, z: Array, x: Array, log_prob: Array, context: Array | None = None) -> Allowed:
        """Return what `sampling` does with the rows that rounding decides, for rows whose x and log_prob are known."""
        contexts, forth, back = self._contexts(context, len(z)), *self._probes(len(z))
        probes = self._decode(self._repeated(z), contexts, back)
        again, values = self._encode(probes, contexts, forth)
        tolerance = {
            "x": self._tolerance(x, probes),
            "log_prob": self._tolerance(log_prob[:, None], values[:, None]),
            "z": self._tolerance(z, again),
        }
        return Allowed(tolerance, _decided(len(x), forth, back))

    def by_rounding(self, x: Array, context: Array | None = None) -> NDArray[np.bool_]:
        """Return for which rows x (N, D) rounding decides a side on the way to z."""
        forth, _ = self._probes(len(x))
        self._encode(self._repeated(x), self._contexts(context, len(x)), forth)
        return _decided(len(x), forth)

    def stays_inside(self, x: Array, context: Array | None = None) -> NDArray[np.bool_]:
        """Return for which rows x (N, D) every layer on the way to z takes its numbers, whatever rounding does.

        At an end that a layer does not take, a logit, for example, gives what the clip in front of it makes of the
        dtype's smallest number.
        """
        forth, found = self._probes(len(x))[0], np.ones(len(x), dtype=np.bool_)
        h, probes = (reference.behind_logit(self._weights, rows)[0] for rows in (x, self._repeated(x)))
        with_errors = self._weights.passages(probes, forth, context=self._contexts(context, len(x)))
        for (layer, exact, _), moved in zip(self._weights.passages(h, context=context), with_errors, strict=True):
            least, most = layer.takes
            if layer.takes_ends:
                found &= ((exact >= least) & (exact <= most)).all(axis=1)
            else:
                reach = SAFETY * self._deviation(exact, moved.x)
                found &= ((exact > least + reach) & (exact < most - reach)).all(axis=1)
        return found

    @property
    def expensive(self) -> bool:
        """Return whether a row takes so long that few are taken."""
        return self._weights.expensive

    def clamp(self, x: Array) -> Array:
        """Return x as the sampling graph gives it: images in [0, largest number below levels], rows in their domain."""
        p, domain = self._weights.preprocessing, self._weights.domain
        if domain:
            return np.clip(x, *(end.astype(np.float64) for end in domain.ends(self._dtype)))
        return np.clip(x, 0.0, float(largest_below(p.levels, self._dtype))) if p else x

    def _probes(self, rows: int) -> tuple[Probe, Probe]:
        """Return the errors of the ways to z and to x; all probes of a row go together."""
        shrink = 2 * unit_roundoff(TF32) if self._products == TF32 else 0.0
        sizes = self._unit, unit_roundoff(self._products), shrink
        forth, back = (np.random.default_rng(seed) for seed in (0, 1))
        if self._weights.has_seams:
            return PairedProbe(*sizes, forth, self._count, rows), PairedProbe(*sizes, back, self._count, rows)
        return Probe(*sizes, forth), Probe(*sizes, back)

    def _tolerance(self, exact: Array, probes: Array) -> Array:
        deviation = self._deviation(exact, probes)
        return SAFETY * deviation.max(axis=1) + 4 * self._unit * np.abs(exact).max(axis=1)

    def _deviation(self, exact: Array, probes: Array) -> Array:
        """Return the root-mean-square deviation of the probes of each number, (N, D)."""
        apart = probes.reshape(self._count, *exact.shape) - exact
        return np.sqrt(np.mean(apart**2, axis=0))

    def _repeated(self, rows: Array) -> Array:
        """Return every row once per probe, (N, D) -> (probes N, D)."""
        return np.tile(rows, (self._count, 1))

    def _contexts(self, context: Array | None, rows: int) -> Array | None:
        """Return the contexts of repeated rows; None where the model takes none."""
        of_chain = self._weights.context
        return context if of_chain is None else self._repeated(of_chain.matched(context, rows))

    def _encode(self, x: Array, context: Array | None, errors: Probe) -> tuple[Array, Array]:
        p, h, log_det, size = self._weights.preprocessing, x, np.zeros(len(x)), np.zeros(len(x))
        if p:
            h, log_det = logit(x, p)
            size = np.abs(log_det)
            h = errors.value(h)
        found = self._weights.encode(h, errors, context=context)
        base = reference.standard_normal_log_prob(found.rows)
        in_sequence = max(1.0, sqrt(self._weights.dim) / 4)
        lost = errors.random(in_sequence * (size + found.size + np.abs(base)))
        return found.rows, base + log_det + found.log_det + lost

    def _decode(self, z: Array, context: Array | None, errors: Probe) -> Array:
        p, h = self._weights.preprocessing, self._weights.decode(z, errors, context=context)
        if p is None:
            return self.clamp(h)
        x = inverse_logit(h, p)
        return self.clamp(errors.value(x, lambda: of_inverse_logit(x, p)))


def _decided(rows: int, *ways: Probe) -> NDArray[np.bool_]:
    """Return which of so many rows rounding decides on some way, (N,)."""
    return np.any([np.broadcast_to(way.by_rounding, rows) for way in ways], axis=0)
