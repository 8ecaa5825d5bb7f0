"""The Jacobian of a network at given rows, as a map: products with it, its inverse and their transposes.

    J(x) = J_M ... J_1 diag(g),    J_m the Jacobian of layer m at what enters it,    g = dlogit/dx in data space, else 1
s_max(J) is the local stretch, the largest |dz| / |dx|, and s_min(J) the local squeeze, the smallest: an error in z is
up to 1 / s_min times as large in x.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lunet_export.certificate.lanczos import largest_eigenvalues
from lunet_export.checks import reference
from lunet_export.errors import BadInputError
from lunet_export.layers import Chain
from lunet_export.layers.linearised import Diagonal, Linearised
from lunet_export.preprocessing import logit_slope

Array = NDArray[np.float64]
Map = Callable[[Array], Array]


@dataclass(frozen=True)
class Local:
    """These are the largest and smallest singular value of J at each row, (N,) each, and whether Lanczos converged.

    An estimate lies on the inner side: stretch is at most s_max, squeeze at least s_min.
    """

    stretch: Array
    squeeze: Array
    converged: bool


class Linearization:
    """This is a network whose every layer has a Jacobian."""

    def __init__(self, weights: Chain) -> None:
        self.weights = weights

    def at(self, x: Array, context: Array | None = None) -> "Jacobians":
        """Return the Jacobians of the network on its own input at rows x (N, D) of data, with contexts (N, C) if any.

        Raises:
            BadInputError: if a layer has none.
        """
        maps = []
        for number, passage in enumerate(reference.passages(self.weights, x, context)):
            found = passage.layer.linearised(passage.x)
            if found is None:
                place = self.weights.kind.place(self.weights, number)
                raise BadInputError(
                    f"Expected layers with a Jacobian; {place} has none that is known here. Give an LU-Net, or another "
                    "model of LU layers and activations."
                )
            maps.append(found)
        return Jacobians(x.shape, maps)

    def local(self, x: Array, *, in_data_space: bool, context: Array | None = None) -> Local:
        """Return stretch and squeeze at rows x (N, D) of data, of the network on its own input or of the whole map."""
        jacobians = self.behind_logit(x, context) if in_data_space else self.at(x, context)
        (stretch, settled), (squeeze, also) = jacobians.stretch(), jacobians.squeeze()
        return Local(stretch, squeeze, settled and also)

    def behind_logit(self, x: Array, context: Array | None = None) -> "Jacobians":
        """Return the Jacobians in data space: those of the network with the pre-processing's diagonal in front."""
        p, found = self.weights.preprocessing, self.at(x, context)
        return Jacobians(found.shape, [Diagonal(logit_slope(x, p)), *found.maps]) if p else found


@dataclass(frozen=True)
class Jacobians:
    """This is J of N rows: the maps of the layers, in the order in which they are applied."""

    shape: tuple[int, ...]  # (N, D)
    maps: list[Linearised]

    def up_to(self, layers: int) -> "Jacobians":
        """Return the Jacobians of the first maps alone."""
        return Jacobians(self.shape, self.maps[:layers])

    def apply(self, v: Array) -> Array:
        """Return J v for every row, (N, D) -> (N, D)."""
        for one in self.maps:
            v = one.apply(v)
        return v

    def apply_transposed(self, v: Array) -> Array:
        """Return J^T v."""
        for one in reversed(self.maps):
            v = one.apply_transposed(v)
        return v

    def solve(self, v: Array) -> Array:
        """Return J^-1 v."""
        for one in reversed(self.maps):
            v = one.solve(v)
        return v

    def solve_transposed(self, v: Array) -> Array:
        """Return J^-T v."""
        for one in self.maps:
            v = one.solve_transposed(v)
        return v

    def stretch(self) -> tuple[Array, bool]:
        """Return s_max of J, the root of the largest eigenvalue of J^T J, (N,), and whether all rows converged."""
        return self._largest(self.apply, self.apply_transposed)

    def squeeze(self) -> tuple[Array, bool]:
        """Return s_min of J, 1 / s_max of its inverse, and whether all rows converged; it is 0 where that overflows."""
        largest, settled = self._largest(self.solve_transposed, self.solve)
        with np.errstate(divide="ignore"):
            return 1 / largest, settled

    def _largest(self, first: Map, then: Map) -> tuple[Array, bool]:
        """Return the root of the largest eigenvalue of both maps in a row, and whether all rows converged.

        They are applied in units of a power of two near their size: no digit changes, and a square of what float64
        holds neither overflows nor underflows.
        """
        rows, dim = self.shape
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            size = np.abs(first(np.full(self.shape, dim**-0.5))).max(axis=1, keepdims=True)
            unit = np.where(np.isfinite(size) & (size > 0), np.ldexp(1.0, np.frexp(size)[1] - 1), 1.0)
            largest, settled = largest_eigenvalues(lambda v: then(first(v) / unit) / unit, rows, dim)
            return unit[:, 0] * np.sqrt(largest), settled
