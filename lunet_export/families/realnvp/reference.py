"""RealNVP in plain float64 NumPy: what the files mean, and the judge of every other implementation.

    h_0 = logit(x) or x,    h_m = coupling_m(h_{m-1}),    z = h_M              (arXiv 1605.08803, section 3)
    y = x e^S + T,  S = scale_factor tanh(s) + log_scale,  T = shift_factor t + shift,  s and t of the masked x
    log|det dz/dx| = sum_m sum S_m + log|det dh_0/dx|   [nats]

x (N, D) data, z (N, D) latent, log_det (N,) of the map from data to latent. Nothing here is fast.
"""

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from lunet_export.checks.reference import inverse_logit, logit
from lunet_export.families.realnvp.weights import ConvNet, Coupling, DenseNet, RealNVPWeights, Reorder

Array = NDArray[np.float64]

#: Added to every variance of an instance norm.
EPSILON = 1e-5
_ROWS = 16  # at once: columns take 9 times the memory of what they are made of


def convolved(h: Array, kernel: Array) -> Array:
    """3 x 3 correlation with zeros around, (N, C, H, W) and (K, C, 3, 3) -> (N, K, H, W)."""
    if len(h) > _ROWS:
        return np.concatenate([convolved(h[start : start + _ROWS], kernel) for start in range(0, len(h), _ROWS)])
    n, channels, height, width = h.shape
    padded = np.zeros((n, channels, height + 2, width + 2))
    padded[:, :, 1:-1, 1:-1] = h
    row, plane, line, pixel = padded.strides
    windows = as_strided(padded, (n, height, width, channels, 3, 3), (row, line, pixel, plane, line, pixel))
    columns = windows.reshape(n * height * width, channels * 9)
    return (columns @ kernel.reshape(len(kernel), -1).T).reshape(n, height, width, -1).transpose(0, 3, 1, 2)


def instance_norm(h: Array) -> Array:
    """Every plane of every row to mean 0 and variance 1, (N, C, H, W)."""
    mean, variance = h.mean(axis=(2, 3), keepdims=True), h.var(axis=(2, 3), keepdims=True)
    return (h - mean) / np.sqrt(variance + EPSILON)


def rectified(h: Array) -> Array:
    """max(h, 0)."""
    return np.maximum(h, 0.0)


def conv_net(net: ConvNet, h: Array) -> Array:
    """(N, C, H, W) -> (N, C, H, W)."""
    h = convolved(h, net.first)
    for first, second in net.residuals:
        inner = rectified(instance_norm(convolved(h, first)))
        h = rectified(h + instance_norm(convolved(inner, second)))
    return convolved(h, net.last)


def dense_net(net: DenseNet, h: Array) -> Array:
    """(N, in) -> (N, out)."""
    for number, (matrix, bias) in enumerate(net.layers):
        h = (rectified(h) if number else h) @ matrix.T + bias
    return h


def outputs(coupling: Coupling, h: Array) -> tuple[Array, Array]:
    """s and t of h, (N, k) each; only what the mask keeps of h is looked at, and there s and t are 0 if dense."""
    if len(coupling.nets) == 2:
        image = (h * coupling.mask).reshape(len(h), *coupling.shape)
        s, t = (conv_net(net, image).reshape(len(h), -1) for net in coupling.nets)
        return s, t
    found = dense_net(coupling.nets[0], h[:, coupling.mask])
    s, t = np.zeros_like(h), np.zeros_like(h)
    s[:, ~coupling.mask], t[:, ~coupling.mask] = np.split(found, 2, axis=1)
    return s, t


def scale_and_shift(coupling: Coupling, h: Array) -> tuple[Array, Array]:
    """S and T of h (N, k), (N, k) each."""
    s, t = outputs(coupling, h)
    return coupling.scale_factor * np.tanh(s) + coupling.log_scale, coupling.shift_factor * t + coupling.shift


def kept(coupling: Coupling, y: Array) -> Array:
    """What was in front of the coupling where the mask is set, and 0 elsewhere, from what is behind it."""
    return np.where(coupling.mask, (y - coupling.shift) * np.exp(-coupling.log_scale), 0.0)


def encode(weights: RealNVPWeights, x: Array) -> tuple[Array, Array]:
    """x -> (z, log_det)."""
    h, log_det = logit(x, weights.preprocessing) if weights.preprocessing else (x, np.zeros(len(x)))
    for layer in weights.layers:
        if isinstance(layer, Reorder):
            h = h[:, layer.order]
            continue
        changing, others = np.split(h, [layer.width], axis=1)
        log_scale, shift = scale_and_shift(layer, changing)
        h = np.concatenate([changing * np.exp(log_scale) + shift, others], axis=1)
        log_det = log_det + log_scale.sum(axis=1)
    return h, log_det


def decode(weights: RealNVPWeights, z: Array) -> Array:
    """z -> x, not clamped."""
    h = z
    for layer in reversed(weights.layers):
        if isinstance(layer, Reorder):
            h = h[:, np.argsort(layer.order)]
            continue
        changed, others = np.split(h, [layer.width], axis=1)
        log_scale, shift = scale_and_shift(layer, kept(layer, changed))
        h = np.concatenate([(changed - shift) * np.exp(-log_scale), others], axis=1)
    return inverse_logit(h, weights.preprocessing) if weights.preprocessing else h
