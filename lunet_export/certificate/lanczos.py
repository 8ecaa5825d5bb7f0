"""The largest eigenvalue of many symmetric maps at once, without their matrices: Lanczos."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_CHANGE = 1e-6  # relative change of an eigenvalue below which a step counts as still
_STILL = 3  # steps in a row that must be
_MOST_STEPS = 80
_LARGEST = 1e150  # its square is a float64 still


def largest_eigenvalues(apply: Callable[[Array], Array], rows: int, dim: int) -> tuple[Array, bool]:
    """Return the largest eigenvalue of `rows` positive definite maps of R^dim, (rows,), and whether all converged.

    Plain power iteration stalls where large eigenvalues lie close together, as they do here: its error falls per step
    by the ratio of the second to the first. Lanczos (Golub and Van Loan 2013, chapter 10) takes the best vector of the
    whole Krylov space q, B q, B^2 q, ..., orthogonalised twice against all before it, so that dim steps are exact. An
    estimate never exceeds the eigenvalue except by rounding: it comes from below.

    Where `apply` overflows the eigenvalue is infinite.

    Args:
        apply: Map B of every row: (rows, dim) -> (rows, dim).
        rows: Number of maps.
        dim: Dimension of each.
    """
    steps = min(dim, _MOST_STEPS)
    start = np.random.default_rng(0).standard_normal(dim)  # the same for every row, so that batches change nothing
    basis = np.zeros((rows, steps, dim))
    basis[:, 0] = start / np.linalg.norm(start)
    diagonal, beside = np.zeros((rows, steps)), np.zeros((rows, steps))
    found, still, overflown = np.zeros(rows), np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.bool_)
    for step in range(steps):
        image = apply(basis[:, step])
        overflown |= ~(np.abs(image) < _LARGEST).all(axis=1)
        image = np.where(overflown[:, None], 0.0, image)
        diagonal[:, step] = np.einsum("nd,nd->n", image, basis[:, step])
        before, found = found, _top(diagonal[:, : step + 1], beside[:, :step])
        still = np.where(np.abs(found - before) <= _CHANGE * found, still + 1, 0)
        if (still >= _STILL).all() or step + 1 == dim:
            return np.where(overflown, np.inf, found), True
        if step + 1 == steps:
            break
        known = basis[:, : step + 1]
        for _ in range(2):
            image = image - np.einsum("nk,nkd->nd", np.einsum("nkd,nd->nk", known, image), known)
        length = np.linalg.norm(image, axis=1)
        beside[:, step] = length
        basis[:, step + 1] = image / np.maximum(length, np.finfo(np.float64).tiny)[:, None]
    return np.where(overflown, np.inf, found), False


def _top(diagonal: Array, beside: Array) -> Array:
    """Return the largest eigenvalues of symmetric tridiagonal matrices, (N, k) and (N, k - 1) -> (N,)."""
    size = diagonal.shape[1]
    matrix = np.zeros((len(diagonal), size, size))
    places = np.arange(size)
    matrix[:, places, places] = diagonal
    matrix[:, places[1:], places[:-1]] = beside  # eigvalsh reads the lower half
    return np.linalg.eigvalsh(matrix)[:, -1].astype(np.float64)
