"""The rational-quadratic splines of other libraries: their networks' numbers in the order in which ours are."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from lunet_export.importers import networks
from lunet_export.importers.parts import Foreign, Layers, Refused
from lunet_export.importers.twin import array, row
from lunet_export.layers import Affine, RationalQuadratic, SplineAutoregressive
from lunet_export.layers.networks import Dense, Network

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

_ROUNDED = 1e-5  # of a corner, in a float32; what else it differs by is seen by the comparison with the library

#: Slopes at both ends of a spline: one free number each, one for both, or 1.
FREE, TIED, ONE = "free", "tied", "one"


@dataclass(frozen=True)
class Splines:
    """These are the splines of some columns, as nflows and normflows describe them.

    Attributes:
        bins: Number of bins K.
        low: Low end of each column's box, (C,).
        high: High end, (C,).
        tails: Tails of all columns, as `RationalQuadratic` has them.
        ends: What is known of the end slopes of each column: FREE, TIED or ONE.
        slopes: How many slopes the library's network gives per column: K + 1, K or K - 1.
        least: Least width, height and slope.
        angles: Which columns are angles, defined on their box alone; None where none are, or all.
    """

    bins: int
    low: Array
    high: Array
    tails: str
    ends: tuple[str, ...]
    slopes: int
    least: tuple[float, float, float]
    angles: tuple[bool, ...] | None = None

    @property
    def spline(self) -> RationalQuadratic:
        """Return the transformer, on [-1, 1] where the columns have boxes of their own."""
        low, high = (float(self.low[0]), float(self.high[0])) if self.alike else (-1.0, 1.0)
        return RationalQuadratic(self.bins, low, high, self.tails, *self.least)

    @property
    def alike(self) -> bool:
        """Return whether all columns have the same box."""
        return len({*zip(self.low.tolist(), self.high.tolist(), strict=True)}) == 1

    def ordered(self, divisor: float = 1.0) -> tuple[Array, Array]:
        """Return the matrix and the shift that make our numbers of the library's.

        Args:
            divisor: What the library divides widths and heights by.
        """
        bins, theirs, ours = self.bins, 2 * self.bins + self.slopes, 3 * (self.bins + 1)
        count = len(self.ends)
        matrix, shift = np.zeros((count, ours, count, theirs)), np.zeros((count, ours))
        one = log(exp(1 - self.least[2]) - 1)  # whose slope is 1
        for column, ends in enumerate(self.ends):
            block = matrix[column, :, column]
            block[: 2 * bins + 2, : 2 * bins] = for_knots(np.eye(2 * bins), bins) / divisor
            for knot in range(bins + 1):
                row = 2 * bins + 2 + knot
                if knot in (0, bins) and ends == ONE:
                    shift[column, row] = one
                    continue
                place = (0 if knot == bins and ends == TIED else knot) - (self.slopes == bins - 1)
                block[row, 2 * bins + place] = 1.0
        return matrix.reshape(count * ours, count * theirs), shift.ravel()

    def layers(self, dim: int, inputs: Indices, changed: Indices, network: Network, divisor: float = 1.0) -> Layers:
        """Return the layer that changes some columns by a network of others, whose numbers are the library's.

        Columns with boxes of their own are scaled onto [-1, 1] in front of it, and back behind it.

        Raises:
            Refused: if the network gives another count of numbers.
        """
        matrix, shift = self.ordered(divisor)
        if networks.leaving(network) != matrix.shape[1]:
            raise Refused(f"its network gives {networks.leaving(network)} numbers, not {matrix.shape[1]}")
        network = networks.after(network, matrix, shift)
        if self.alike:
            return (self._layer(dim, inputs, changed, network),)
        scale = np.ones(dim)
        scale[changed] = self.high
        nothing = np.zeros(dim)
        if len(inputs):
            network = networks.before(network, np.diag(scale[inputs]), np.zeros(len(inputs)))
        layer = self._layer(dim, inputs, changed, network)
        return (Affine(1 / scale, nothing), layer, Affine(scale, nothing))

    def _layer(self, dim: int, inputs: Indices, changed: Indices, network: Network) -> SplineAutoregressive:
        inside = None if self.angles is None else np.array(self.angles, dtype=np.bool_)
        return SplineAutoregressive(dim, inputs, changed, network, self.spline, inside)

    def fixed(self, dim: int, changed: Indices, numbers: Array) -> Layers:
        """Return the layer that changes some columns by splines of their own, of numbers (C, P) as the library has."""
        return self.layers(dim, np.arange(0), changed, constant(numbers.ravel()))


def for_knots(rows: Array, bins: int) -> Array:
    """Return rows of K widths and K heights with the last of each repeated, for the last knot."""
    return np.insert(rows, [bins, 2 * bins], rows[[bins - 1, 2 * bins - 1]], axis=0)


def constant(numbers: Array) -> Network:
    """Return the network without inputs that gives these numbers."""
    return (Dense(np.zeros((len(numbers), 0)), numbers),)


def from_knots(x: Array, y: Array, slopes: Array) -> tuple[RationalQuadratic, Array]:
    """Return a spline through knots, and its numbers (C, P), from their x, y and slopes, (C, K + 1) each.

    The first knot tells the box [-B, B]. The last one may have been rounded: it is a sum, and that of a float32.

    Raises:
        Refused: if knots do not increase from one corner of a box to the other, the same for all columns.
    """
    low = float(x[0, 0])
    fits = all(np.allclose(ends, (low, -low), rtol=_ROUNDED, atol=0.0) for ends in (*x[:, [0, -1]], *y[:, [0, -1]]))
    if not fits or (np.diff(x) <= 0).any() or (np.diff(y) <= 0).any() or (slopes <= 0).any():
        raise Refused("its knots do not increase from one corner of a box to the other")
    least = float(slopes.min() / 2)
    spline = RationalQuadratic(x.shape[1] - 1, low, -low, "identity", 0.0, 0.0, least)
    grown = slopes - least
    logits = np.concatenate([np.log(np.diff(knots)) for knots in (x, y)], axis=1)
    logits = for_knots(logits.T, spline.bins).T
    return spline, np.concatenate([logits, grown + np.log(-np.expm1(-grown))], axis=1)


def circular_shift(bound: float) -> Layers:
    """Return what moves numbers in [-bound, bound] by bound, around a circle: a spline of one straight bin."""
    spline = RationalQuadratic(1, -bound, bound, "box", limit=1.0, turn=bound)
    return (SplineAutoregressive(1, np.arange(0), np.arange(1), constant(np.zeros(spline.count)), spline),)


def divisor_of(network: Foreign) -> float:
    """Return what couplings divide widths and heights by: the root of the width that their network says it has."""
    for name in ("hidden_features", "hidden_channels"):
        if hasattr(network, name):
            return sqrt(getattr(network, name))
    return 1.0


def described(module: Foreign, tails: Foreign, bound: Foreign, columns: int) -> Splines:
    """Return the splines of a module of nflows or normflows.

    Args:
        module: Coupling, autoregressive transform or `PiecewiseRationalQuadraticCDF`.
        tails: Its tails: None, a word, or one word per column.
        bound: Its tail bound: a number, or one per column.
        columns: Number of columns C.

    Raises:
        Refused: if it has other tails.
    """
    bins = module.num_bins if hasattr(module, "num_bins") else module.unnormalized_widths.shape[-1]
    least = (float(module.min_bin_width), float(module.min_bin_height), float(module.min_derivative))
    if tails is None:
        return Splines(bins, np.zeros(columns), np.ones(columns), "box", (FREE,) * columns, bins + 1, least)
    words: Sequence[str] = [tails] * columns if isinstance(tails, str) else list(tails)
    if any(word not in _ENDS for word in words) or len(words) != columns:
        raise Refused(f"its tails are {tails}")
    slopes = bins + 1 if not isinstance(tails, str) else bins - 1 if tails == "linear" else bins
    angles = None if isinstance(tails, str) else tuple(word == "circular" for word in words)
    high = np.broadcast_to(row(bound), columns).copy()
    return Splines(bins, -high, high, "identity", tuple(_ENDS[word] for word in words), slopes, least, angles)


_ENDS = {"linear": ONE, "circular": TIED}


def numbers_of(module: Foreign) -> Array:
    """Return the numbers (C, P) of a `PiecewiseRationalQuadraticCDF`."""
    parts = (module.unnormalized_widths, module.unnormalized_heights, module.unnormalized_derivatives)
    return np.concatenate([array(part) for part in parts], axis=-1)
