"""The Jacobian of a network at given rows, as a map: products with it, its inverse and their transposes.

    J(x) = A_M diag(phi'(a_{M-1})) A_{M-1} ... diag(phi'(a_1)) A_1 diag(g)      g = dlogit/dx in data space, else 1
s_max(J) is the local stretch, the largest |dz| / |dx|, and s_min(J) the local squeeze, the smallest: an error in z is
up to 1 / s_min times as large in x.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lunet_export.certificate.lanczos import largest_eigenvalues
from lunet_export.checks import reference
from lunet_export.families.lunet import reference as lunet
from lunet_export.families.lunet.weights import LUNetWeights

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Local:
    """Largest and smallest singular value of J at each row, (N,) each; `converged` tells whether Lanczos came to rest.

    An estimate lies on the inner side: stretch is at most s_max, squeeze at least s_min.
    """

    stretch: Array
    squeeze: Array
    converged: bool


class Linearization:
    """A network's maps A_m and their inverses, from which the Jacobian at any row is made.

    A_m^-1 is taken once, as U^-1 L^-1 in float64: NumPy has no triangular solve, and substitution row by row in Python
    takes D steps an application. An inverse loses about cond(L) cond(U) 2^-53, so the 1e-3 that is wanted of a squeeze
    are there up to a product of 1e12.
    """

    def __init__(self, weights: LUNetWeights) -> None:
        self.weights = weights
        self.maps = [block.lower @ block.upper for block in weights.blocks]
        with np.errstate(over="ignore", invalid="ignore"):
            self.inverses = [np.linalg.inv(block.upper) @ np.linalg.inv(block.lower) for block in weights.blocks]

    def at(self, x: Array) -> "Jacobians":
        """The Jacobians of the network on its own input at rows x (N, D) of data."""
        slopes: list[Array] = []
        f = lunet.Activation.of(self.weights)
        lunet.encode(self.weights, x, lambda _, a: slopes.append(f.slope(a)))
        return Jacobians(self, [np.ones_like(x), *slopes])

    def local(self, x: Array, *, in_data_space: bool) -> Local:
        """Stretch and squeeze at rows x (N, D) of data, of the network on its own input or of the whole map."""
        jacobians = self.at(x).behind_logit(x) if in_data_space else self.at(x)
        (stretch, settled), (squeeze, also) = jacobians.stretch(), jacobians.squeeze()
        return Local(stretch, squeeze, settled and also)


@dataclass(frozen=True)
class Jacobians:
    """J of N rows: `slopes` holds, for each block, the (N, D) diagonal that comes right before it."""

    linear: Linearization
    slopes: list[Array]

    def behind_logit(self, x: Array) -> "Jacobians":
        """The same with the pre-processing's diagonal at rows x in front: the Jacobian in data space."""
        p = self.linear.weights.preprocessing
        first = reference.logit_slope(x, p) if p else self.slopes[0]
        return replace(self, slopes=[first, *self.slopes[1:]])

    def up_to(self, block: int) -> "Jacobians":
        """Of the first `block` blocks alone: da_m/dx for m = block."""
        return replace(self, slopes=self.slopes[:block])

    def apply(self, v: Array) -> Array:
        """J v for every row, (N, D) -> (N, D)."""
        for slope, matrix in zip(self.slopes, self.linear.maps, strict=False):
            v = (v * slope) @ matrix.T
        return v

    def apply_transposed(self, v: Array) -> Array:
        """J^T v."""
        for slope, matrix in self._backwards(self.linear.maps):
            v = (v @ matrix) * slope
        return v

    def solve(self, v: Array) -> Array:
        """J^-1 v."""
        for slope, inverse in self._backwards(self.linear.inverses):
            v = (v @ inverse.T) / slope
        return v

    def solve_transposed(self, v: Array) -> Array:
        """J^-T v."""
        for slope, inverse in zip(self.slopes, self.linear.inverses, strict=False):
            v = (v / slope) @ inverse
        return v

    def stretch(self) -> tuple[Array, bool]:
        """s_max of J, the root of the largest eigenvalue of J^T J, (N,), and whether all rows came to rest."""
        with np.errstate(over="ignore", invalid="ignore"):
            largest, settled = largest_eigenvalues(lambda v: self.apply_transposed(self.apply(v)), *self._shape)
        return np.sqrt(largest), settled

    def squeeze(self) -> tuple[Array, bool]:
        """s_min of J, 1 / s_max of its inverse; 0 where that overflows."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            largest, settled = largest_eigenvalues(lambda v: self.solve(self.solve_transposed(v)), *self._shape)
        return 1 / np.sqrt(largest), settled

    @property
    def _shape(self) -> tuple[int, int]:
        rows, dim = self.slopes[0].shape
        return rows, dim

    def _backwards(self, matrices: list[Array]) -> list[tuple[Array, Array]]:
        return list(zip(self.slopes, matrices, strict=False))[::-1]
