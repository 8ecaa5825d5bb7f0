"""The functions that transformers make of a network's numbers, in PyTorch."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lunet_export.layers import RationalQuadratic, ScaleMap, Transformer
from lunet_export.layers.affine_transformer import AffineTransformer


class TensorFunctions(ABC):
    """These are increasing functions of C columns, for each of N rows; see `lunet_export.layers.transformer`."""

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return f(x) and log f'(x) for x (N, C)."""

    @abstractmethod
    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the x with f(x) = y, and log f'(x) there, for y (N, C)."""


class AffineTensors(TensorFunctions):
    """These are y = s x + t."""

    def __init__(self, numbers: Tensor, transformer: AffineTransformer) -> None:
        self._log_scale, self._shift = scale_and_shift(numbers, transformer.scale)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * self._log_scale.exp() + self._shift, self._log_scale

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return (y - self._shift) * (-self._log_scale).exp(), self._log_scale


def scale_and_shift(found: Tensor, scale: ScaleMap) -> tuple[Tensor, Tensor]:
    """Return log s and t from what a network gives, (N, C) or (N, 2 C)."""
    if scale.counts == 1:
        return torch.zeros_like(found), found
    shift, u = found.chunk(2, dim=1)
    return _LOG_SCALES[scale.kind](u, scale), shift


def _centred(log_scale: Tensor) -> Tensor:
    return log_scale - log_scale.mean(-1, keepdim=True)


_LOG_SCALES: dict[str, Callable[[Tensor, ScaleMap], Tensor]] = {
    "exp": lambda u, scale: u,
    "soft-exp": lambda u, scale: u / (1 + u.abs() / scale.offset),
    "softplus": lambda u, scale: (-functional.logsigmoid(-u) + scale.floor).log(),
    "clipped-softplus": lambda u, scale: (-functional.logsigmoid(-u) + scale.floor).clamp(max=scale.offset).log(),
    "sigmoid": lambda u, scale: (torch.sigmoid(u + scale.offset) + scale.floor).log(),
    "reciprocal-sigmoid": lambda u, scale: -functional.logsigmoid(u + scale.offset),
    "atan": lambda u, scale: scale.offset * u.atan(),
    "tanh": lambda u, scale: scale.offset * u.tanh(),
    "centred-atan": lambda u, scale: _centred(scale.offset * u.atan()),
    "centred-tanh": lambda u, scale: _centred(scale.offset * u.tanh()),
}


class SplineTensors(TensorFunctions):
    """These are rational-quadratic splines; their formulas stand in `lunet_export.layers.RationalQuadratic`."""

    def __init__(self, numbers: Tensor, spline: RationalQuadratic) -> None:
        self._spline, bins = spline, spline.bins
        u = numbers.reshape(len(numbers), -1, 3, bins + 1)
        shares, slopes = u[..., :2, :-1], u[..., 2, :]
        if spline.limit:
            shares = shares / (1 + 2 * shares.abs() / spline.limit)
            self._slopes = (slopes / (1 + slopes.abs() / spline.limit)).exp()
        else:
            self._slopes = spline.least_slope - functional.logsigmoid(-slopes)
        widths, heights = shares.softmax(-1).unbind(2)
        self._x, self._y = self._knots(widths, spline.least_width), self._knots(heights, spline.least_height)

    def _knots(self, shares: Tensor, least: float) -> Tensor:
        spline = self._spline
        inner = (least + (1 - spline.bins * least) * shares).cumsum(-1)[..., :-1]
        knots = functional.pad(spline.low + (spline.high - spline.low) * inner, (1, 0), value=spline.low)
        return functional.pad(knots, (0, 1), value=spline.high)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        v = x.clamp(self._spline.low, self._spline.high)
        if turn := self._spline.turn:
            low, high = self._spline.low, self._spline.high
            v = torch.where(v < high - turn, v + turn, v - (high - low - turn))
        x0, x1, y0, y1, d0, d1 = self._bin(self._x, v)
        xi, rest = (v - x0) / (x1 - x0), (x1 - v) / (x1 - x0)
        s, both = (y1 - y0) / (x1 - x0), xi * rest
        q = s * (xi * xi + rest * rest) + (d0 + d1) * both
        y = y0 + (y1 - y0) * (s * xi * xi + d0 * both) / q
        return self._outside(x, y, self._log_slope(s, d0, d1, xi, rest))

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        v = y.clamp(self._spline.low, self._spline.high)
        x0, x1, y0, y1, d0, d1 = self._bin(self._y, v)
        s, t, other = (y1 - y0) / (x1 - x0), (v - y0) / (y1 - y0), (y1 - v) / (y1 - y0)
        u, p, q = d0 * other - d1 * t, 2 * s * t, 2 * s * other
        m = u.abs() + (u * u + p * q).sqrt()
        over, under = torch.where(u >= 0, p, m), torch.where(u >= 0, m, q)
        xi, rest = over / (over + under), under / (over + under)
        x = x0 + (x1 - x0) * xi
        if turn := self._spline.turn:
            low, high = self._spline.low, self._spline.high
            x = torch.where(x < low + turn, x + (high - low - turn), x - turn)
        return self._outside(y, x, self._log_slope(s, d0, d1, xi, rest))

    def _bin(self, edges: Tensor, v: Tensor) -> list[Tensor]:
        """Return x, y and slope at both ends of the bins of v (N, C), whose ends are given."""
        number = (v[..., None] >= edges[..., 1:-1]).sum(-1, keepdim=True)
        tables = (table.expand(*v.shape, -1) for table in (self._x, self._y, self._slopes))
        return [table.gather(-1, number + end)[..., 0] for table in tables for end in (0, 1)]

    @staticmethod
    def _log_slope(s: Tensor, d0: Tensor, d1: Tensor, xi: Tensor, rest: Tensor) -> Tensor:
        both = xi * rest
        q = s * (xi * xi + rest * rest) + (d0 + d1) * both
        return 2 * (s / q).log() + (d1 * xi * xi + 2 * s * both + d0 * rest * rest).log()

    def _outside(self, given: Tensor, found: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        if self._spline.tails != "identity":
            return found, log_slope
        inside = (given >= self._spline.low) & (given <= self._spline.high)
        return torch.where(inside, found, given), torch.where(inside, log_slope, 0.0)


_FUNCTIONS: dict[type[Transformer], Callable[[Tensor, Any], TensorFunctions]] = {
    AffineTransformer: AffineTensors,
    RationalQuadratic: SplineTensors,
}


def functions_of(numbers: Tensor, transformer: Transformer) -> TensorFunctions:
    """Return the functions of numbers (N, C P)."""
    return _FUNCTIONS[type(transformer)](numbers, transformer)
