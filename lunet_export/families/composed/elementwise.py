"""The elementwise layers in plain float64 NumPy: value, log of the slope, and inverse. All arrays alike in shape."""

import numpy as np
from numpy.typing import NDArray

from lunet_export.checks.reference import softplus
from lunet_export.families.composed.layers import Affine, Elementwise, LeakyReLU, LogTanh, Sigmoid, Softclip, range_of

Array = NDArray[np.float64]


def value(layer: Elementwise, x: Array) -> Array:
    """y, as the layer's class says."""
    if isinstance(layer, Affine):
        return x * layer.scale + layer.shift
    if isinstance(layer, LeakyReLU):
        return np.where(x >= 0, x, layer.slope * x)
    if isinstance(layer, Sigmoid):
        return np.exp(-softplus(-x))
    if isinstance(layer, Softclip):
        return x / (1 + np.abs(x) / layer.bound)
    if isinstance(layer, LogTanh):
        far = layer.image + layer.tail * np.log(np.maximum(np.abs(x) / layer.cut, 1.0))
        return np.where(np.abs(x) > layer.cut, np.sign(x) * far, np.tanh(x))
    return np.tanh(x)


def log_slope(layer: Elementwise, x: Array) -> Array:
    """log|dy/dx| at x, in nats."""
    if isinstance(layer, Affine):
        return np.broadcast_to(np.log(np.abs(layer.scale)), x.shape)
    if isinstance(layer, LeakyReLU):
        return np.where(x >= 0, 0.0, np.log(layer.slope))
    if isinstance(layer, Sigmoid):
        return -softplus(x) - softplus(-x)
    if isinstance(layer, Softclip):
        return -2 * np.log1p(np.abs(x) / layer.bound)
    if isinstance(layer, LogTanh):
        far = np.log(layer.tail) - np.log(np.maximum(np.abs(x), layer.cut))
        return np.where(np.abs(x) > layer.cut, far, _log_slope_of_tanh(x))
    return _log_slope_of_tanh(x)


def inverse(layer: Elementwise, y: Array) -> Array:
    """The x with value(x) = y; of y at the ends of the open interval of values, that of the next number inside."""
    if isinstance(layer, Affine):
        return (y - layer.shift) / layer.scale
    if isinstance(layer, LeakyReLU):
        return np.where(y >= 0, y, y / layer.slope)
    y = inside(layer, y)
    if isinstance(layer, Sigmoid):
        y = np.clip(y, layer.margin, 1 - layer.margin)
        return np.log(y) - np.log1p(-y)
    if isinstance(layer, Softclip):
        return y / (1 - np.abs(y) / layer.bound)
    if isinstance(layer, LogTanh):
        away = np.abs(y)
        far = layer.cut * np.exp((away - layer.image) / layer.tail)
        return np.where(away > layer.image, np.sign(y) * far, np.arctanh(np.minimum(away, layer.image)) * np.sign(y))
    return np.arctanh(y)


def inside(layer: Elementwise, y: Array) -> Array:
    """y within the open interval that the layer's values lie in."""
    least, most = range_of(layer)
    return np.clip(y, np.nextafter(least, most), np.nextafter(most, least))


def _log_slope_of_tanh(x: Array) -> Array:
    """log(1 - tanh^2 x) = 2 (log 2 - |x| - log(1 + e^(-2|x|)))."""
    away = np.abs(x)
    return 2 * (np.log(2) - away - np.log1p(np.exp(-2 * away)))
