"""The latent box of an exact mass: |z_i| <= c for every i, under N(0, I).

    P(|z_i| <= c for all i) = (2 Phi(c) - 1)^D = q,    c = Phi^-1((1 + q^(1/D)) / 2)

For every invertible f that maps x to z, P_model(f(x) in box) = P(z in box): the inputs f^-1(box) have the mass q under
the model, whatever the network. They are not a density level set: log p(x) contains the log-determinant, which is not
a function of |z|, so there are inputs of higher density outside and of lower density inside.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from math import erfc, exp, expm1, log, log1p, nextafter, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import BadInputError

Array = NDArray[np.float64]

#: Meaning of a box in a folder for verifiers, in words.
WORDS = "exact in model mass: P_model(x in f^-1(box)) = q; these sets are no density level sets"
_DIGITS = 15  # digits of any decimal number that a float64 keeps
_MOST_NUMBERS, _MOST_DRAWS, _BATCH_NUMBERS = 20_000_000, 1_000_000, 1_000_000


@dataclass(frozen=True)
class LatentBox:
    """This is the box of mass q in D dimensions, its bound as the decimal number that files hold.

    c is rounded up to 15 digits, outwards: an `unsat` over the written box holds for at least the mass q. This adds
    less than 1e-12 of mass.
    """

    mass: float  # q, as asked for
    dim: int
    bound: Decimal  # c as written

    @classmethod
    def of_mass(cls, mass: float, dim: int) -> "LatentBox":
        """Return the box of mass q.

        Raises:
            BadInputError: if q is not between 0 and 1, or so near that c is 0 or infinite.
        """
        if not 0.0 < mass < 1.0:
            raise BadInputError(f"Expected a mass between 0 and 1; got {mass}. A usual one is 0.9.")
        tail = -expm1(log(mass) / dim) / 2  # mass of one side of one dimension, (1 - q^(1/D)) / 2, without cancellation
        if not 0.0 < tail < 0.5:
            raise BadInputError(f"Expected a mass further from 0 and 1; got {mass} in {dim} dimensions.")
        c = -NormalDist().inv_cdf(tail)
        above = nextafter(nextafter(c, 10.0), 10.0)  # the quantile may be rounded down
        return cls(mass, dim, Context(prec=_DIGITS, rounding=ROUND_CEILING).create_decimal_from_float(above))

    @property
    def name(self) -> str:
        """Return the name for files, such as box-0.9."""
        return f"box-{self.mass!r}"

    @property
    def written_mass(self) -> float:
        """Return (1 - erfc(c / sqrt 2))^D of the written c."""
        return exp(self.dim * log1p(-erfc(float(self.bound) / sqrt(2))))

    def contains(self, z: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which of rows (N, D) lie in the box, (N,)."""
        return np.asarray((np.abs(z.astype(np.float64)) <= float(self.bound)).all(axis=1))


@dataclass(frozen=True)
class Share:
    """This is how many of some rows lie in a box."""

    rows: int
    inside: int

    @property
    def share(self) -> float:
        """Return inside / rows."""
        return self.inside / self.rows

    def standard_error(self, mass: float) -> float:
        """Return the standard error of the share, if the rows follow the model: sqrt(q (1 - q) / rows)."""
        return sqrt(mass * (1 - mass) / self.rows)

    def off(self, mass: float) -> float:
        """Return |share - q| in standard errors."""
        return abs(self.share - mass) / self.standard_error(mass)


def monte_carlo(box: LatentBox, *, seed: int) -> Share:
    """Return the share of draws of N(0, I) in the box, from at most a million draws and twenty million numbers."""
    rng, draws = np.random.default_rng(seed), min(_MOST_DRAWS, max(10_000, _MOST_NUMBERS // box.dim))
    batch = max(1, _BATCH_NUMBERS // box.dim)
    sizes = [min(batch, draws - start) for start in range(0, draws, batch)]
    return Share(draws, sum(int(box.contains(rng.standard_normal((size, box.dim))).sum()) for size in sizes))
