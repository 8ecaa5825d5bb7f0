"""Bounds that hold for every row: how far the network stretches and squeezes, and its range of log-determinants.

The network behind the pre-processing is f = A_M o phi o ... o phi o A_1 with A_m = L_m U_m (biases move nothing) and
K = M - 1 activations, whose slopes lie in [alpha, 1]. Bi-Lipschitz maps multiply their constants, so for all x and y
    |x - y| / K-  <=  |f(x) - f(y)|  <=  K+ |x - y|
    K+ = prod_m s_max(A_m)         K- = alpha^-K prod_m 1 / s_min(A_m)
    sum_m sum_i log|u_ii| + K D log alpha  <=  log|det J|  <=  sum_m sum_i log|u_ii|
Derived here, quoted from nowhere. In data space the logit comes first. Its slope c / (s (1 - s)), c = (1 - a) / levels,
is smallest at s = 1/2 and largest at both ends of [0, levels], s = a/2 and 1 - a/2.

What is returned holds in floating point too. Singular values by Householder bidiagonalisation are those of a matrix at
most c D^2 u |A|_F away (Higham 2002, section 19.3; c is a small integer, 64 is taken), and a computed L U is at most
D u | |L| |U| |_F away from the product (section 3.5, here doubled). By Weyl neither moves a singular value by more.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks.rounding import unit_roundoff
from lunet_export.families.lunet.weights import LUNetWeights
from lunet_export.lu import LUBlock
from lunet_export.preprocessing import Logit

Array = NDArray[np.float64]

_BACKWARD = 64.0  # times D^2 u |A|_F: what an SVD may be off
_UNIT = unit_roundoff("float64")


@dataclass(frozen=True)
class Bounds:
    """What holds for all rows of a domain.

    |x - y| / lip_inverse <= |f(x) - f(y)| <= lip_forward |x - y|, log_det_min <= log|det df/dx| <= log_det_max [nats].
    A bound that float64 cannot give, or cannot hold, is infinite.
    """

    lip_forward: float
    lip_inverse: float
    log_det_min: float
    log_det_max: float


def chain_bounds(weights: LUNetWeights) -> Bounds:
    """Of the network on its own input, whatever that is: all of R^D."""
    blocks, alpha = weights.blocks, weights.alpha
    activations = len(blocks) - 1
    with np.errstate(over="ignore", divide="ignore"):
        largest, smallest = zip(*(_singular_values(block) for block in blocks), strict=True)
        forward = reduce(lambda left, right: _up(left * right), largest, 1.0)
        shrink = reduce(lambda left, right: _down(left * right), (*smallest, *[alpha] * activations), 1.0)
    lip_inverse = _up(1 / shrink) if shrink > 0 else np.inf
    logs = np.concatenate([np.log(np.abs(np.diag(block.upper))) for block in blocks])
    low = activations * weights.dim * float(np.log(alpha))
    # A sum of n numbers is off by at most n u times the sum of their sizes, each logarithm by an ulp of its own.
    slack = 2 * _UNIT * (len(logs) + 2) * (float(np.abs(logs).sum()) + abs(low))
    top = float(logs.sum())
    return Bounds(float(forward), float(lip_inverse), top + low - slack, top + slack)


def data_bounds(weights: LUNetWeights, chain: Bounds) -> Bounds:
    """Of the whole map on its domain, [0, levels]^D for images: the chain's times those of the logit."""
    p = weights.preprocessing
    if p is None:
        return chain
    least, most = logit_slopes(p)
    dim = weights.dim
    with np.errstate(over="ignore"):
        return Bounds(
            _up(chain.lip_forward * most),
            _up(chain.lip_inverse / least),
            chain.log_det_min + dim * float(np.log(least)) - 1e-12 * dim,
            chain.log_det_max + dim * float(np.log(most)) + 1e-12 * dim,
        )


def logit_slopes(p: Logit) -> tuple[float, float]:
    """The smallest and the largest slope of the logit on [0, levels], rounded outwards."""
    scale, end = (1 - p.margin) / p.levels, p.margin / 2
    return 4 * scale * (1 - 8 * _UNIT), scale / (end * (1 - end)) * (1 + 8 * _UNIT)


def outwards(bound: float, *, upper: bool, digits: int = 6) -> float:
    """A bound in a few digits that is still one: up where it is an upper bound, else down.

    Written so, it has the same text whatever the last digits of LAPACK.
    """
    return float(Context(prec=digits, rounding=ROUND_CEILING if upper else ROUND_FLOOR).create_decimal(bound))


def _singular_values(block: LUBlock) -> tuple[float, float]:
    """Upper bound of s_max and lower bound of s_min, 0 where there is none, of L U."""
    dim, product = len(block.bias), block.lower @ block.upper
    if not np.isfinite(product).all():
        return np.inf, 0.0
    values = np.linalg.svd(product, compute_uv=False)
    lost = _BACKWARD * dim**2 * _UNIT * np.linalg.norm(product)
    lost += 2 * dim * _UNIT * np.linalg.norm(np.abs(block.lower) @ np.abs(block.upper))
    return float(values[0] + lost), max(0.0, float(values[-1] - lost))


def _up(value: float) -> float:
    return float(np.nextafter(value, np.inf))


def _down(value: float) -> float:
    return float(np.nextafter(value, 0.0))
