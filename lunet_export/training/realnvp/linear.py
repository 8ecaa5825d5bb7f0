"""A triangular linear map as couplings, so that a RealNVP can be a full-covariance Gaussian exactly."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lunet_export.layers import DenseCoupling, DenseNet, Permutation

Array = NDArray[np.float64]
Segment = tuple[int, int]  # first column, and the one after the last


def triangular_map(centre: Array, root: Array) -> tuple[DenseCoupling | Permutation, ...]:
    """Return the map x -> R (x - m) as 1 + ceil(log2 D) couplings whose networks are one matrix each.

    R = [[A, B], [0, C]] is diag(A, C) behind the coupling x_top + A^-1 B x_bottom. A and C are halved in the same way,
    all halves of one size by one coupling, down to the diagonal of R, which the last coupling multiplies in. The first
    coupling subtracts m, so that all others see centred numbers.

    Args:
        centre: m (D,).
        root: R (D, D), upper triangular with a positive diagonal.
    """
    dim = len(centre)
    still = np.zeros(dim)
    layers: list[DenseCoupling | Permutation] = [_coupling(np.zeros((dim - 1, 1)), log_scale=still, shift=-centre)]
    order = np.arange(dim)
    for level in _levels(dim):
        tops = np.concatenate([np.arange(first, middle) for first, middle, _ in level])
        wanted = np.concatenate([tops, np.setdiff1d(np.arange(dim), tops)])
        matrix = np.zeros((dim, dim))
        for first, middle, end in level:
            top, bottom = slice(first, middle), slice(middle, end)
            matrix[top, bottom] = np.linalg.solve(root[top, top], root[top, bottom])
        layers.append(Permutation(np.argsort(order)[wanted]))
        layers.append(_coupling(matrix[np.ix_(wanted[: len(tops)], wanted[len(tops) :])], log_scale=still, shift=still))
        order = wanted
    layers.append(Permutation(np.argsort(order)))
    layers.append(_coupling(np.zeros((dim - 1, 1)), log_scale=np.log(np.diag(root)), shift=still))
    return tuple(layers)


def _levels(dim: int) -> Iterator[list[tuple[int, int, int]]]:
    """Yield the segments that are cut in two, as (first, middle, end), beginning with the whole."""
    segments: list[Segment] = [(0, dim)]
    while cut := [(first, (first + end) // 2, end) for first, end in segments if end - first > 1]:
        yield cut
        segments = [half for first, middle, end in cut for half in ((first, middle), (middle, end))]


def _coupling(matrix: Array, *, log_scale: Array, shift: Array) -> DenseCoupling:
    """Return a coupling: the first columns plus `matrix` (changed, kept) times the others, all scaled and shifted."""
    changed, kept = matrix.shape
    mask = np.arange(changed + kept) >= changed
    net = DenseNet(((np.concatenate([np.zeros_like(matrix), matrix]), np.zeros(2 * changed)),))
    none = np.zeros(changed + kept)
    return DenseCoupling((changed + kept,), mask, none, log_scale, np.where(mask, 0.0, 1.0), shift, net=net)
