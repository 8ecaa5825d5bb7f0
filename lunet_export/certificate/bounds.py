"""Bounds that hold for every row: how far the network stretches and squeezes, and its range of log-determinants.

The network behind the pre-processing is f = f_M o ... o f_1, and every layer f_m has bounds of its own, if it has any
(`lunet_export.layers.layer.Stretch`). Bi-Lipschitz maps multiply their constants, so for all x and y
    |x - y| / K-  <=  |f(x) - f(y)|  <=  K+ |x - y|,    K+ = prod_m K+_m,    K- = prod_m K-_m
and the ends of log|det J| add up. For an LU-Net with A_m = L_m U_m and K activations with slopes in [alpha, 1],
    K+ = prod_m s_max(A_m)         K- = alpha^-K prod_m 1 / s_min(A_m)
    sum_m sum_i log|u_ii| + K D log alpha  <=  log|det J|  <=  sum_m sum_i log|u_ii|
Derived here, quoted from nowhere. In data space the logit comes first. Its slope c / (s (1 - s)), c = (1 - a) / levels,
is smallest at s = 1/2 and largest at both ends of [0, levels], s = a/2 and 1 - a/2. All is rounded outwards.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks.rounding import unit_roundoff
from lunet_export.layers import Chain
from lunet_export.layers.layer import up
from lunet_export.preprocessing import Logit

Array = NDArray[np.float64]

_UNIT = unit_roundoff("float64")


@dataclass(frozen=True)
class Bounds:
    """These bounds hold for all rows of a domain.

    |x - y| / lip_inverse <= |f(x) - f(y)| <= lip_forward |x - y|, log_det_min <= log|det df/dx| <= log_det_max [nats].
    Those of a conditional flow hold for two rows of one context, which is one of those that they were computed for.
    A bound that float64 cannot give, or cannot hold, is infinite.
    """

    lip_forward: float
    lip_inverse: float
    log_det_min: float
    log_det_max: float


def chain_bounds(chain: Chain, contexts: Array | None = None) -> Bounds | None:
    """Return bounds of the network on its own input, on all of R^D; None where a layer has none.

    Args:
        chain: The network.
        contexts: Contexts (N, C) that the bounds of a conditional flow shall hold for. Without any it has none: the
            scales of its layers are those of the context.
    """
    if chain.context is not None and contexts is None:
        return None
    layers = chain.given(contexts, 1 if contexts is None else len(contexts))
    if any(layer.linearised(np.zeros((1, chain.dim))) is None for layer in layers):
        return None
    forward = inverse = 1.0
    low = high = size = 0.0
    for layer in layers:
        found = layer.stretch(chain.dim)
        if found is None:
            return None
        with np.errstate(over="ignore"):
            forward, inverse = up(forward * found.lip_forward), up(inverse * found.lip_inverse)
        low, high, size = low + found.log_det_min, high + found.log_det_max, size + found.size
    # A sum of n numbers is off by at most n u times the sum of their sizes, each logarithm by an ulp of its own.
    slack = 2 * _UNIT * (chain.dim * len(chain.layers) + 2) * size
    return Bounds(forward, inverse, low - slack, high + slack)


def data_bounds(chain: Chain, network: Bounds) -> Bounds:
    """Return bounds of the whole map on its domain, [0, levels]^D for images: the network's times the logit's."""
    p = chain.preprocessing
    if p is None:
        return network
    least, most = logit_slopes(p)
    dim = chain.dim
    with np.errstate(over="ignore"):
        return Bounds(
            up(network.lip_forward * most),
            up(network.lip_inverse / least),
            network.log_det_min + dim * float(np.log(least)) - 1e-12 * dim,
            network.log_det_max + dim * float(np.log(most)) + 1e-12 * dim,
        )


def logit_slopes(p: Logit) -> tuple[float, float]:
    """Return the smallest and the largest slope of the logit on [0, levels], rounded outwards."""
    scale, end = (1 - p.margin) / p.levels, p.margin / 2
    return 4 * scale * (1 - 8 * _UNIT), scale / (end * (1 - end)) * (1 + 8 * _UNIT)


def outwards(bound: float, *, upper: bool, digits: int = 6) -> float:
    """Return a bound in a few digits that is still one: rounded up where it is an upper bound, else down.

    The text is then the same whatever the last digits of LAPACK.
    """
    return float(Context(prec=digits, rounding=ROUND_CEILING if upper else ROUND_FLOOR).create_decimal(bound))
