"""The distribution function of the normal distribution, whose inverse makes uniform numbers normal.

With the upper tail Q(a) = 1 - Phi(a) and Mills' ratio,
    Phi(-a) = Q(a) = e^(-a^2 / 2) R(a),    Phi(a) = 1 - Q(a),    a >= 0,
where R falls slowly and never rounds to 0, so the lower tail keeps its digits. The inverse takes the smaller of u and
1 - u, which is exact, as p, with q = u - 1/2:
    z = q C(u (1 - u))                                  where p >= 5/32,
    z = sign(q) (s - T(s)),    s = sqrt(-2 log p),      elsewhere.
R, C and T are the best rational functions of their degrees, by Remez' algorithm in 70 digits, R up to the a where a
dtype's Q is 0 and T down to the least u. Their largest relative errors in Phi and in z, before rounding, beside the
roundoff of 6.0e-8 and 1.1e-16:
         float32                         float64
    R    degrees 4 and 5, 5.9e-9         degrees 9 and 10, 5.1e-17
    C    degrees 3 and 3, 3.9e-10        degrees 6 and 6, 1.6e-18
    T    degrees 4 and 4, 8.0e-10        degrees 9 and 9, 4.4e-18
All coefficients are positive, so no digit is lost in a sum.
"""

from dataclasses import dataclass, field
from math import inf, log, pi

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.layers.elementwise import Elementwise
from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.graph import Track, Value
from lunet_export.layers.layer import Ends, Step, step
from lunet_export.layers.rational import Rational, quotients

Array = NDArray[np.float64]

#: The least u that has a z of its own, -12.95, in every dtype: float32's least number that is not denormal.
LEAST = float(np.finfo(np.float32).tiny)
_LEAST_OF_MIDDLE = 5 / 32
_HALF_LOG_2_PI = 0.5 * log(2 * pi)


@dataclass(frozen=True)
class _Functions:
    """These are R, C and T for one dtype."""

    mills: Rational
    middle: Rational
    tail: Rational


_FUNCTIONS = {
    "float32": _Functions(
        mills=Rational(
            (48.4594634, 42.479036, 17.7589238, 3.93811913, 0.39894691),
            (96.9189263, 162.288228, 116.545192, 45.5005131, 9.87202561, 1.0),
        ),
        middle=Rational(
            (0.0222528427, 0.719204597, 2.62972913, 0.789682637),
            (0.00420227424, 0.208902634, 1.26474874, 1.0),
        ),
        tail=Rational(
            (195.658487, 493.674938, 132.80485, 5.64278585, 0.00821899174),
            (62.4706006, 310.462011, 240.7521, 36.9881573, 1.0),
        ),
    ),
    "float64": _Functions(
        mills=Rational(
            (
                144284.4215517596,
                223551.35944623592,
                171346.37438800887,
                83437.533192624253,
                28168.394611573398,
                6809.1899290947306,
                1178.4559059549298,
                141.28912040451048,
                10.729520958241038,
                0.3989422804002126,
            ),
            (
                288568.84310351922,
                677347.34353351137,
                738853.31493057327,
                494469.25551214924,
                225516.74037767808,
                73507.852016471862,
                17420.267432213601,
                2980.8458115965351,
                355.15930416235758,
                26.894920606542174,
                1.0,
            ),
        ),
        middle=Rational(
            (
                0.00012680609740039543,
                0.018314016589500483,
                0.50099704716146221,
                3.9431099411055442,
                9.5731535255273944,
                6.0892938899808371,
                0.4809000518914529,
            ),
            (
                2.0982318957268959e-5,
                0.0040326676368137167,
                0.14105095768009926,
                1.4435654440144829,
                4.8325807701462166,
                4.8782831040782577,
                1.0,
            ),
        ),
        tail=Rational(
            (
                364764.0708723853,
                3442196.5468448483,
                6418714.5663354168,
                4188346.1625623868,
                1536352.6135108783,
                309893.77297304051,
                27330.883325158579,
                864.06926481340369,
                7.0172450663643456,
                0.0022956475738731315,
            ),
            (
                99889.646539057616,
                1455232.9229213837,
                4201819.1277744463,
                4238244.2668975624,
                2100511.0114930407,
                622307.14627345331,
                97780.897937135121,
                6707.3961466344124,
                165.32479688354251,
                1.0,
            ),
        ),
    ),
}
_EXACT = _FUNCTIONS["float64"]
#: Beyond these a the tail is 0.
_FARTHEST = {"float32": 14.5, "float64": 38.7}


def normal_cdf(x: Array) -> Array:
    """Return Phi(x), with a relatively exact lower tail."""
    away = np.minimum(np.abs(x), _FARTHEST["float64"])
    tail = np.exp(-0.5 * away * away) * _EXACT.mills(away)
    return np.where(x < 0, tail, 1 - tail)


def normal_quantile(u: Array) -> Array:
    """Return the z with Phi(z) = u, for u in [1.2e-38, 1)."""
    rest, q = 1 - u, u - 0.5
    p = np.minimum(u, rest)
    s = np.sqrt(-2 * np.log(p))
    return np.where(p < _LEAST_OF_MIDDLE, np.sign(q) * (s - _EXACT.tail(s)), q * _EXACT.middle(u * rest))


@dataclass(frozen=True)
class NormalCDF(Elementwise):
    """This layer is y = Phi(x) = (1 + erf(x / sqrt(2))) / 2, from R to (0, 1), in some columns or in all.

    Its inverse makes numbers that are uniform on (0, 1) normal. Behind an affine map onto the unit box it turns a base
    that is uniform on a box into the standard normal one.

    The inverse takes every u below 1.2e-38 for that number, in every dtype: no flow tells such u apart.

    The other columns stay as they are. Shapes: columns (D,) of truth values; (1,) stands for all columns alike.

    Its rounding errors are min(y, 1 - y) (4 + x^2 / 2) of a value, from the square in the exponent, and one of y. Those
    of a root are 4 |x|, behind one of y, which becomes |y| / phi(x): near y = 1 no digit of x may be left.
    """

    columns: NDArray[np.bool_] = field(default_factory=lambda: np.ones(1, np.bool_))

    @property
    def width(self) -> int | None:
        return self.columns.size if self.columns.size > 1 else None

    @property
    def free(self) -> int:
        """Return 0: truth values are no numbers that training could choose."""
        return 0

    @property
    def range(self) -> tuple[Ends, Ends]:
        """Return (0, 1), for every column where they differ."""
        if self.columns.all():
            return 0.0, 1.0
        return np.where(self.columns, 0.0, -inf), np.where(self.columns, 1.0, inf)

    def spread(self, dim: int) -> "NormalCDF":
        return NormalCDF(np.repeat(self.columns, dim)) if self.columns.size == 1 else self

    def validate(self, dim: int, where: str) -> None:
        if self.columns.dtype != np.bool_ or self.columns.shape not in ((1,), (dim,)) or not self.columns.any():
            raise CheckpointError(
                f"Expected {dim} truth values, not all false, as columns of {where}; got {self.columns.dtype} of shape "
                f"{self.columns.shape}."
            )

    def value(self, x: Array) -> Array:
        return np.where(self.columns, normal_cdf(x), x)

    def log_slope(self, x: Array) -> Array:
        return np.where(self.columns, -0.5 * x * x - _HALF_LOG_2_PI, 0.0)

    def root(self, y: Array) -> Array:
        return np.where(self.columns, normal_quantile(np.where(self.columns, y, 0.5)), y)

    def forward(self, x: Array, errors: Errors = EXACT) -> Step:
        y = self.value(x)
        rows = y if errors.exact else self._inside(errors.value(y, lambda: self._size(x, y)))
        return step(rows, self.log_slope(x))  # it does not jump

    def inverse(self, y: Array, errors: Errors = EXACT) -> Array:
        x = self.root(self._inside(errors.value(y, lambda: np.where(self.columns, np.abs(y), 0.0))))
        return errors.value(x, lambda: np.where(self.columns, 4 * np.abs(x), 0.0))

    def _size(self, x: Array, y: Array) -> Array:
        return np.where(self.columns, np.minimum(y, 1 - y) * (4 + 0.5 * x * x) + y, 0.0)

    def _inside(self, y: Array) -> Array:
        return np.where(self.columns, np.clip(y, LEAST, np.nextafter(1, 0)), y)

    def nodes(self, track: Track) -> None:
        g, x, functions = track.g, track.rows(), _FUNCTIONS[track.g.dtype.name]
        exponent = g.node("Mul", g.node("Mul", x, x), -0.5)
        away = g.node("Min", g.node("Abs", x), _FARTHEST[g.dtype.name])
        (mills,) = quotients(g, [functions.mills], [away])
        tail = g.node("Mul", g.node("Exp", exponent), mills)
        y = g.node("Where", g.node("Less", x, 0.0), tail, g.node("Sub", 1.0, tail))
        self._replace(track, x, y, exponent)

    def inverse_nodes(self, track: Track) -> None:
        g, y, functions = track.g, track.rows(), _FUNCTIONS[track.g.dtype.name]
        u = g.node("Clip", y, LEAST, float(np.nextafter(g.dtype.type(1), g.dtype.type(0))))
        rest, q = g.node("Sub", 1.0, u), g.node("Sub", u, 0.5)
        p = g.node("Min", u, rest)
        s = g.node("Sqrt", g.node("Mul", g.node("Log", p), -2.0))
        tail, middle = quotients(g, [functions.tail, functions.middle], [s, g.node("Mul", u, rest)])
        far = g.node("Mul", g.node("Sign", q), g.node("Sub", s, tail))
        z = g.node("Where", g.node("Less", p, _LEAST_OF_MIDDLE), far, g.node("Mul", q, middle))
        exponent = g.node("Mul", g.node("Mul", z, z), -0.5) if track.wants_density else ""
        self._replace(track, y, z, exponent)

    def _replace(self, track: Track, before: Value, after: Value, exponent: Value) -> None:
        """Put the rows `after` in the place of those before, in the columns of this layer, and add log phi."""
        g = track.g
        if not self.columns.all():
            columns = g.constant(self.columns, "columns", np.bool_)
            after = g.node("Where", columns, after, before)
            exponent = g.node("Where", columns, exponent, 0.0) if exponent else exponent
        track.replace(after)
        if exponent:
            count = g.dim if self.columns.all() else int(self.columns.sum())
            track.log_slope(exponent, g.dim, -count * _HALF_LOG_2_PI)
