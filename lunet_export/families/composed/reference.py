"""Composed flows in plain float64 NumPy: what the files mean, and the judge of every other implementation.

    h_0 = logit(x) or x,    h_m = layer_m(h_{m-1}),    z = h_M
    log|det dz/dx| = sum_m log|det dlayer_m| + log|det dh_0/dx|   [nats]

x (N, D) data, z (N, D) latent, log_det (N,) of the map from data to latent. Nothing here is fast.
"""

import numpy as np
from numpy.typing import NDArray

from lunet_export import lu
from lunet_export.checks.reference import inverse_logit, logit, softplus
from lunet_export.families.composed import elementwise, networks
from lunet_export.families.composed.layers import AffineAutoregressive, Inverse, Layer, Permutation, ScaleMap
from lunet_export.families.composed.weights import ComposedWeights
from lunet_export.lu import LUBlock

Array = NDArray[np.float64]


def forward(layer: Layer, h: Array) -> tuple[Array, Array]:
    """y (N, D) and log|det dy/dh| (N,) of a layer."""
    if isinstance(layer, Inverse):
        y = inverse(layer.layer, h)
        return y, -forward(layer.layer, y)[1]
    if isinstance(layer, Permutation):
        return h[:, layer.order], np.zeros(len(h))
    if isinstance(layer, LUBlock):
        return lu.affine(h, layer), np.full(len(h), lu.log_abs_det(layer))
    if isinstance(layer, AffineAutoregressive):
        log_scale, shift = scale_and_shift(layer, h)
        y = h.copy()
        y[:, layer.changed] = h[:, layer.changed] * np.exp(log_scale) + shift
        return y, log_scale.sum(axis=1)
    return elementwise.value(layer, h), elementwise.log_slope(layer, h).sum(axis=1)


def inverse(layer: Layer, y: Array) -> Array:
    """The h with forward(h) = y, (N, D) -> (N, D)."""
    if isinstance(layer, Inverse):
        return forward(layer.layer, y)[0]
    if isinstance(layer, Permutation):
        return y[:, np.argsort(layer.order)]
    if isinstance(layer, LUBlock):
        return lu.inverse_affine(y, layer)
    if isinstance(layer, AffineAutoregressive):
        h = y.copy()
        h[:, layer.changed] = 0.0  # not known yet
        for level in layer.levels:
            log_scale, shift = scale_and_shift(layer, h)
            columns = layer.changed[level]
            h[:, columns] = (y[:, columns] - shift[:, level]) * np.exp(-log_scale[:, level])
        return h
    return elementwise.inverse(layer, y)


def scale_and_shift(layer: AffineAutoregressive, h: Array) -> tuple[Array, Array]:
    """log s and t of the columns that change, (N, C) each, from rows h (N, D)."""
    found = networks.apply(layer.network, h[:, layer.inputs])
    if layer.scale.kind == "none":
        return np.zeros_like(found), found
    shift, u = np.split(found, 2, axis=1)
    return log_scale(layer.scale, u), shift


def log_scale(scale: ScaleMap, u: Array) -> Array:
    """log s of the network's u, as `ScaleMap` says."""
    if scale.kind == "exp":
        return u
    if scale.kind == "soft-exp":
        return u / (1 + np.abs(u) / scale.offset)
    if scale.kind == "softplus":
        return np.log(softplus(u) + scale.floor)
    if scale.kind == "sigmoid":
        return np.log(np.exp(-softplus(-u - scale.offset)) + scale.floor)
    return softplus(-u - scale.offset)


def encode(weights: ComposedWeights, x: Array) -> tuple[Array, Array]:
    """x -> (z, log_det)."""
    h, log_det = logit(x, weights.preprocessing) if weights.preprocessing else (x, np.zeros(len(x)))
    for layer in weights.layers:
        h, term = forward(layer, h)
        log_det = log_det + term
    return h, log_det


def decode(weights: ComposedWeights, z: Array) -> Array:
    """z -> x, not clamped."""
    h = z
    for layer in reversed(weights.layers):
        h = inverse(layer, h)
    return inverse_logit(h, weights.preprocessing) if weights.preprocessing else h
