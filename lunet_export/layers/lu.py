"""The linear layer of LU-Net (arXiv 2302.10524, section 3): x -> L (U x) + b."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.layers import triangular
from lunet_export.layers.errors import EXACT, Errors
from lunet_export.layers.graph import Track
from lunet_export.layers.layer import Layer, Step, Stretch, up
from lunet_export.layers.linearised import Linearised, Matrix, RoundTrip

Array = NDArray[np.float64]

_UNIT = 2.0**-53  # roundoff of float64
_BACKWARD = 64.0  # times D^2 u |A|_F: what a singular value decomposition may be off


@dataclass(frozen=True)
class LU(Layer):
    """This layer computes y = L (U x) + b; log|det| = sum log|diag L| + sum log|diag U|.

    Shapes: lower (D, D), upper (D, D), both with non-zero diagonals, bias (D,). LU-Net's L has a unit diagonal.

    Its rounding errors are |L| (|U| |x|) + |b|, the componentwise bound of a dot product. Its inverse, which solves
    L v = y - b and U x = v, has the residuals |L| |v| + |y| + |b| and |U| |x| (Higham 2002, section 8.1).
    """

    name: ClassVar[str] = "LULinear"
    solves: ClassVar[bool] = True

    lower: Array
    upper: Array
    bias: Array

    @property
    def width(self) -> int:
        return len(self.bias)

    @property
    def free(self) -> int:
        """Return the numbers of both triangles, of which one diagonal is scale only, and of the bias."""
        return self.width**2 + self.width

    def forward(self, x: Array, errors: Errors = EXACT) -> Step:
        y = x @ self.upper.T @ self.lower.T + self.bias
        y = errors.product(y, lambda: self._size(x), constant=self.bias)
        log_det = np.full(len(x), self.log_abs_det)
        return Step(y, log_det, np.abs(log_det))

    def inverse(self, y: Array, errors: Errors = EXACT) -> Array:
        between = triangular.solve_lower(self.lower, y - self.bias)
        if not errors.exact:  # the inverses carry errors on; a reference has none
            inner, of_bias = between, self.bias @ self._inverses[0].T
            between = errors.product(
                inner, lambda: self._residual(inner, y), constant=-of_bias, through=self._inverses[0]
            )
        x = triangular.solve_upper(self.upper, between)
        return x if errors.exact else errors.product(x, lambda: self._size_of_upper(x), through=self._inverses[1])

    @property
    def log_abs_det(self) -> float:
        """Return log|det L U| in nats."""
        return float(sum(np.log(np.abs(np.diag(factor))).sum() for factor in (self.lower, self.upper)))

    @cached_property
    def _sizes(self) -> tuple[Array, Array, Array]:
        return np.abs(self.lower), np.abs(self.upper), np.abs(self.bias)

    @cached_property
    def _inverses(self) -> tuple[Array, Array]:
        with np.errstate(over="ignore", invalid="ignore"):
            lower, upper = (np.asarray(np.linalg.inv(part), np.float64) for part in (self.lower, self.upper))
            return lower, upper

    def _size(self, x: Array) -> Array:
        lower, upper, bias = self._sizes
        return np.abs(x) @ upper.T @ lower.T + bias

    def _residual(self, between: Array, y: Array) -> Array:
        lower, _, bias = self._sizes
        return np.abs(between) @ lower.T + np.abs(y) + bias

    def _size_of_upper(self, x: Array) -> Array:
        return np.abs(x) @ self._sizes[1].T

    def nodes(self, track: Track) -> None:
        track.product(triangular.product(self.lower, self.upper), self.bias)
        self._add_constant(track)

    def inverse_nodes(self, track: Track) -> None:
        track.solve(self.lower, self.upper, self.bias)
        self._add_constant(track)

    def _add_constant(self, track: Track) -> None:
        track.constant(sum(log(abs(entry)) for factor in (self.upper, self.lower) for entry in np.diag(factor)))

    def rescaled(self, scale: Array, shift: Array, offset: Array) -> "LU":
        """Return the layer whose solution is scale x + shift, when it is given y - offset in place of y.

        With U' = U / scale: L U' (scale x + shift) + b - L U' shift - offset = y - offset. Shapes: (D,) each.
        """
        upper = self.upper / scale
        alike = bool((shift == shift[0]).all())  # then in the order of sums in which the first exports were written
        rows = upper.sum(axis=1) * shift[0] if alike else (upper * shift).sum(axis=1)
        return LU(self.lower, upper, self.bias - (self.lower * rows).sum(axis=1) - offset)

    def scaled(self, scale: Array, shift: Array) -> "LU":
        """Return the layer scale (L (U x) + b) + shift, with the diagonal of L kept. Shapes: (D,) each."""
        lower = scale[:, None] * self.lower / scale
        return LU(lower, scale[:, None] * self.upper, scale * self.bias + shift)

    def stretch(self, dim: int) -> Stretch:
        """Return bounds by the singular values of L U.

        Singular values by Householder bidiagonalisation are those of a matrix at most c D^2 u |A|_F away (Higham 2002,
        section 19.3; c is a small integer, 64 is taken), and a computed L U is at most D u | |L| |U| |_F away from the
        product (section 3.5, here doubled). By Weyl neither moves a singular value by more.
        """
        with np.errstate(over="ignore", divide="ignore"):
            product = self.lower @ self.upper
            largest, smallest = np.inf, 0.0
            if np.isfinite(product).all():
                values = np.linalg.svd(product, compute_uv=False)
                lost = _BACKWARD * dim**2 * _UNIT * np.linalg.norm(product)
                lost += 2 * dim * _UNIT * np.linalg.norm(np.abs(self.lower) @ np.abs(self.upper))
                largest, smallest = float(values[0] + lost), max(0.0, float(values[-1] - lost))
            shrink = np.inf if smallest == 0 else up(1 / smallest)
        logs = np.concatenate([np.log(np.abs(np.diag(factor))) for factor in (self.upper, self.lower)])
        total = float(logs.sum())
        return Stretch(largest, shrink, total, total, float(np.abs(logs).sum()))

    def linearised(self, x: Array) -> Linearised:
        """Return L U, with its inverse computed once, as U^-1 L^-1 in float64.

        NumPy has no triangular solve, and substitution row by row in Python takes D steps per application. An inverse
        loses about cond(L) cond(U) 2^-53, so a squeeze has the wanted 1e-3 up to a product of condition numbers of
        1e12.
        """
        del x
        return self._as_matrix

    @cached_property
    def _as_matrix(self) -> Matrix:
        lower, upper = self._inverses
        with np.errstate(over="ignore", invalid="ignore"):
            return Matrix(self.lower @ self.upper, upper @ lower)

    def round_trip(self, x: Array, y: Array) -> RoundTrip:
        between = x @ self.upper.T
        sizes = [self._size(x), self._residual(between, y), self._size_of_upper(x) @ self._sizes[0].T]
        return RoundTrip(products_at_y=sizes)

    def folded(self, mean: Array, covariance: Array) -> "LU":
        """Return the layer whose output N(mean, covariance) has become N(0, I), exactly.

        With covariance = K K^T, W = K^-1 (lower triangular) and d = diag W it turns into
        L' = W L diag(1/d), U' = diag(d) U, b' = W (b - mean): an L with a unit diagonal keeps it.

        Shapes: mean (D,), covariance (D, D).

        Raises:
            CheckpointError: if the shapes do not fit, a number is not finite, or the covariance is not positive
                definite.
        """
        whiten = _whitening(mean, covariance, self.width)
        scale, ones = np.diag(whiten), np.diag(self.lower)
        lower = np.tril(whiten @ self.lower / scale, -1) + np.diag(ones)
        return LU(lower, scale[:, None] * self.upper, whiten @ (self.bias - mean))

    def validate(self, dim: int, where: str) -> None:
        shapes = (self.lower.shape, self.upper.shape, self.bias.shape)
        if shapes != ((dim, dim), (dim, dim), (dim,)):
            raise CheckpointError(
                f"Expected L, U and bias of shapes ({dim}, {dim}), ({dim}, {dim}) and ({dim},) in {where}; got "
                f"{', '.join(map(str, shapes))}. Every block must have the width of the first."
            )
        for name, array in (("L", self.lower), ("U", self.upper), ("bias", self.bias)):
            bad = np.argwhere(~np.isfinite(array))
            if len(bad):
                raise CheckpointError(
                    f"Expected finite numbers in {name} of {where}; got {array[tuple(bad[0])]} at "
                    f"{_place(bad[0])}. The training diverged or the file is damaged; use an earlier checkpoint."
                )
        if np.tril(self.upper, -1).any() or np.triu(self.lower, 1).any():
            raise CheckpointError(f"Expected L lower and U upper triangular in {where}; got entries on the other side.")
        for name, array in (("L", self.lower), ("U", self.upper)):
            zeros = np.flatnonzero(np.diag(array) == 0.0)
            if len(zeros):
                raise CheckpointError(
                    f"Expected a non-zero diagonal in {name} of {where}; got 0 at position {zeros[0]}. "
                    "Such a map has no inverse; use another checkpoint."
                )


def unit_lower(layer: LU) -> LU:
    """Return the same map with ones on the diagonal of L."""
    scale = np.diag(layer.lower)
    return layer if (scale == 1.0).all() else LU(layer.lower / scale, scale[:, None] * layer.upper, layer.bias)


def _whitening(mean: Array, covariance: Array, dim: int) -> Array:
    if mean.shape != (dim,) or covariance.shape != (dim, dim):
        raise CheckpointError(
            f"Expected latent statistics of shapes ({dim},) and ({dim}, {dim}); got {mean.shape} and "
            f"{covariance.shape}. Give the statistics file of this model."
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise CheckpointError("Expected finite latent statistics; got NaN or infinity. Recompute them.")
    if not np.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-9 * np.abs(covariance).max()):
        raise CheckpointError("Expected a symmetric latent covariance; got one that is not. Recompute it.")
    try:
        root = np.linalg.cholesky((covariance + covariance.T) / 2)
    except np.linalg.LinAlgError:
        raise CheckpointError(
            "Expected a positive definite latent covariance; got one that is not. Estimate it from more samples."
        ) from None
    return np.tril(np.linalg.inv(root))


def _place(index: Sequence[int]) -> str:
    return "[" + ", ".join(str(int(i)) for i in index) + "]"
