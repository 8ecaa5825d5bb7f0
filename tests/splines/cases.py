"""Splines whose steep and flat bins lie side by side, and rows near their knots."""

from dataclasses import replace

import numpy as np

from lunet_export.layers import Chain, Inverse, Sigmoid, SplineAutoregressive
from lunet_export.layers.rational_quadratic import BOTTOM, FIRST, LAST, LEFT, RationalQuadratic, SplineFunctions
from tests.families.composed import (
    BOX,
    CIRCULAR,
    EXP_SPLINE,
    SPLINE,
    composed,
    fixed_splines,
    masked_splines,
    narrow,
    splines,
)

DIM = 4
X, Y = 0, 1  # rows of knots
SPLINES = {"identity": SPLINE, "box": BOX, "circular": CIRCULAR, "slopes of e^": EXP_SPLINE}
MAKE = {"fixed": fixed_splines, "coupling": splines, "masked": masked_splines}


def steeper(layer: SplineAutoregressive, factor: float) -> SplineAutoregressive:
    """The layer with all numbers of its splines times a factor."""
    *others, last = layer.network
    scaled = replace(last, weight=factor * last.weight, bias=factor * last.bias)
    return replace(layer, network=(*others, scaled))


def chain_of(layer: SplineAutoregressive, *, inverse: bool = False) -> Chain:
    """The layer, or its inverse, as a flow; a box is followed by a logit, which takes it to all of R."""
    layers = [Inverse(layer) if inverse else layer]
    if layer.spline.within:
        layers += [Inverse(Sigmoid()), Inverse(narrow(layer.dim))]
    return composed(*layers)


def chain(tails: str, kind: str, factor: float, *, inverse: bool = False) -> Chain:
    return chain_of(steeper(MAKE[kind](DIM, spline=SPLINES[tails]), factor), inverse=inverse)


def near_knots(weights: Chain, count: int, *, seed: int = 0, away: float = 4.0) -> np.ndarray:
    """Rows of which one column is some roundings of float32 away from a seam of the first layer."""
    rng, layer = np.random.default_rng(seed), weights.layers[0]
    low, high = ends(layer)
    x = layer.at_seams(rng.uniform(low, high, (count, weights.dim)))
    x = x * (1 + away * 2.0**-24 * rng.standard_normal(x.shape))
    return (np.clip(x, low, high) if weights.domain else x).astype(np.float32).astype(np.float64)


def ends(layer) -> tuple[float, float]:
    spline: RationalQuadratic = getattr(layer, "layer", layer).spline
    return spline.low, spline.high


def knots_of(functions: SplineFunctions) -> np.ndarray:
    """x, y and slopes of all knots, (N, C, 3, K + 1)."""
    table, high = functions.table, functions.spline.high
    last = np.stack([np.full_like(table[..., LAST, -1], high)] * 2 + [table[..., LAST, -1]], axis=-1)
    return np.concatenate([table[..., [LEFT, BOTTOM, FIRST], :], last[..., None]], axis=-1)
