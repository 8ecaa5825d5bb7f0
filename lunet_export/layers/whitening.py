"""The data's own whitening in front of a JKO-iFlow: x -> R (x - m)."""

from dataclasses import dataclass
from functools import cached_property
from math import fsum

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.graph import Track
from lunet_export.layers.layer import Layer, Step

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Whitening(Layer):
    """This layer computes y = R (x - m).

    Shapes: centre m (D,), root R (D, D) upper triangular with a positive diagonal. Its rounding errors are
    |R| |x| + |R m|; those of its inverse are |R^-1| |y| + |m|.
    """

    centre: Array
    root: Array

    @property
    def width(self) -> int:
        return self.centre.size

    @property
    def free(self) -> int:
        """Return 0: the numbers are the data's own."""
        return 0

    @property
    def shift(self) -> Array:
        """Return -R m."""
        return -self.root @ self.centre

    @cached_property
    def _inverse(self) -> Array:
        return np.asarray(np.linalg.inv(self.root), dtype=np.float64)

    def forward(self, x: Array, errors: Errors = EXACT) -> Step:
        y = (x - self.centre) @ self.root.T
        y = errors.product(y, lambda: np.abs(x) @ np.abs(self.root).T + np.abs(self.shift), constant=self.shift)
        log_det = np.full(len(x), np.log(np.diag(self.root)).sum())
        return Step(y, log_det, np.abs(log_det))

    def inverse(self, y: Array, errors: Errors = EXACT) -> Array:
        x = np.linalg.solve(self.root, y.T).T + self.centre
        size = lambda: (np.abs(y) + errors.left_out) @ np.abs(self._inverse).T + np.abs(self.centre)  # noqa: E731
        return errors.product(x, size, constant=self.centre)

    def nodes(self, track: Track) -> None:
        track.product(self.root, None)
        track.stretch(1.0, self.shift)
        self._add_constant(track)

    def inverse_nodes(self, track: Track) -> None:
        track.product(self._inverse, self.centre)
        self._add_constant(track)

    def _add_constant(self, track: Track) -> None:
        track.constant(fsum(np.log(np.diag(self.root))))

    def validate(self, dim: int, where: str) -> None:
        if self.centre.ndim != 1 or dim == 0 or self.centre.shape != (dim,) or self.root.shape != (dim, dim):
            raise CheckpointError(
                f"Expected a centre (D,) and a root (D, D); got {self.centre.shape} and {self.root.shape}. Train again."
            )
        if not (np.isfinite(self.centre).all() and np.isfinite(self.root).all()):
            raise CheckpointError(
                f"Expected finite numbers in {where}; got NaN or infinity. The training diverged or the file is "
                "damaged; use an earlier checkpoint."
            )
        if np.tril(self.root, -1).any() or not (np.diag(self.root) > 0).all():
            raise CheckpointError(
                "Expected an upper triangular root with a positive diagonal; got another. Train it again."
            )
