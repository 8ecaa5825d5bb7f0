"""Networks whose constants are known, and the Jacobian written out: what the certificate is tested against."""

import numpy as np

from lunet_export.checks import reference
from lunet_export.flows import lunet
from lunet_export.layers import LU, Activation, Chain

DIAGONAL = np.array([2.0, -0.5, 1.5, 0.25])


def diagonal(shift: float, *, blocks: int = 4, alpha: float = 0.1) -> Chain:
    """x -> f(diag x + shift) over and over; far off on one side every activation is a line, and the bounds are met."""
    block = LU(np.eye(4), np.diag(DIAGONAL), np.full(4, shift))
    signs = LU(np.eye(4), np.diag(np.abs(DIAGONAL)), np.full(4, shift))
    return lunet((block, *[signs] * (blocks - 1)), alpha)


def orthogonal(shift: float, *, dim: int = 6, blocks: int = 3, alpha: float = 0.1) -> Chain:
    """Blocks that turn and stretch nothing: L U = Q, orthogonal."""
    rng = np.random.default_rng(0)

    def block() -> LU:
        turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
        lower, upper = np.eye(dim), turn.copy()
        for column in range(dim):  # Gauss without pivoting
            lower[column + 1 :, column] = upper[column + 1 :, column] / upper[column, column]
            upper[column + 1 :] -= np.outer(lower[column + 1 :, column], upper[column])
        return LU(lower, np.triu(upper), np.full(dim, shift))

    return lunet(tuple(block() for _ in range(blocks)), alpha)


def jacobian(weights: Chain, row: np.ndarray, *, in_data_space: bool) -> np.ndarray:
    """J (D, D) at a row (D,) of data, multiplied out."""
    p = weights.preprocessing
    s = (1 - p.margin) * row / p.levels + p.margin / 2 if p else None
    first = (1 - p.margin) / p.levels / (s * (1 - s)) if p and in_data_space else np.ones(weights.dim)
    product = np.diag(first)
    for layer, a, _ in reference.passages(weights, row[None]):
        if isinstance(layer, LU):
            product = layer.lower @ layer.upper @ product
        else:
            assert isinstance(layer, Activation)
            product = np.diag(layer.slope(a[0])) @ product
    return product
