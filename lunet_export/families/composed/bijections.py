"""The layers of composed flows in PyTorch. Shapes: (N, D) -> (N, D), (N,)."""

from math import log

import torch
from torch import Tensor, nn
from torch.linalg import solve_triangular
from torch.nn import functional

from lunet_export.families.composed.layers import (
    Affine,
    AffineAutoregressive,
    Inverse,
    Layer,
    LeakyReLU,
    LogTanh,
    Permutation,
    ScaleMap,
    Sigmoid,
    Softclip,
    Tanh,
    range_of,
)
from lunet_export.families.composed.modules import NetworkModule, array
from lunet_export.flows import Bijection
from lunet_export.lu import LUBlock


class LayerBijection(Bijection):
    """A layer that can say what it has become."""

    def layer(self) -> Layer:
        """The layer as float64 arrays."""
        raise NotImplementedError


def bijection_of(layer: Layer) -> LayerBijection:
    """The PyTorch module of a layer, in float64."""
    if isinstance(layer, Inverse):
        return Turned(bijection_of(layer.layer))
    if isinstance(layer, LUBlock):
        return LUFactors(layer)
    if isinstance(layer, Permutation):
        return Reordering(layer)
    if isinstance(layer, Affine):
        return ElementwiseAffine(layer)
    return Autoregressive(layer) if isinstance(layer, AffineAutoregressive) else Fixed(layer)


class Turned(LayerBijection):
    """The other direction of a bijection."""

    def __init__(self, inner: LayerBijection) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner.inverse(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner(z)

    def layer(self) -> Layer:
        return Inverse(self.inner.layer())


class LUFactors(LayerBijection):
    """x -> L (U x) + b; log_det = sum log|diag L| + sum log|diag U|. Only the triangles are read."""

    def __init__(self, block: LUBlock) -> None:
        super().__init__()
        self.lower, self.upper, self.bias = (
            nn.Parameter(torch.tensor(values)) for values in (block.lower, block.upper, block.bias)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x @ self.upper.triu().T @ self.lower.tril().T + self.bias, self._log_det().expand(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y = solve_triangular(self.lower, (z - self.bias).T, upper=False)
        return solve_triangular(self.upper, y, upper=True).T, -self._log_det().expand(len(z))

    def _log_det(self) -> Tensor:
        return self.lower.diagonal().abs().log().sum() + self.upper.diagonal().abs().log().sum()

    def layer(self) -> Layer:
        return LUBlock(array(self.lower.tril()), array(self.upper.triu()), array(self.bias))


class Reordering(LayerBijection):
    """x -> x[:, order]."""

    order: Tensor

    def __init__(self, layer: Permutation) -> None:
        super().__init__()
        self.register_buffer("order", torch.from_numpy(layer.order.copy()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, self.order], x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z[:, self.order.argsort()], z.new_zeros(len(z))

    def layer(self) -> Layer:
        return Permutation(self.order.cpu().numpy().copy())


class ElementwiseAffine(LayerBijection):
    """x -> scale x + shift."""

    def __init__(self, layer: Affine) -> None:
        super().__init__()
        self.scale, self.shift = (nn.Parameter(torch.tensor(values)) for values in (layer.scale, layer.shift))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * self.scale + self.shift, self.scale.abs().log().sum().expand(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return (z - self.shift) / self.scale, -self.scale.abs().log().sum().expand(len(z))

    def layer(self) -> Layer:
        return Affine(array(self.scale), array(self.shift))


class Fixed(LayerBijection):
    """An elementwise layer without parameters."""

    def __init__(self, layer: LeakyReLU | Sigmoid | Tanh | LogTanh | Softclip) -> None:
        super().__init__()
        self._layer = layer

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _value(self._layer, x), _log_slope(self._layer, x).sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = _inverse(self._layer, z)
        return x, -_log_slope(self._layer, x).sum(-1)

    def layer(self) -> Layer:
        return self._layer

    def extra_repr(self) -> str:
        return repr(self._layer)


def _value(layer: Layer, x: Tensor) -> Tensor:
    if isinstance(layer, LeakyReLU):
        return torch.where(x >= 0, x, layer.slope * x)
    if isinstance(layer, Sigmoid):
        return torch.sigmoid(x)
    if isinstance(layer, Softclip):
        return x / (1 + x.abs() / layer.bound)
    if isinstance(layer, LogTanh):
        far = layer.image + layer.tail * (x.abs() / layer.cut).clamp(min=1).log()
        return torch.where(x.abs() > layer.cut, x.sign() * far, torch.tanh(x))
    return torch.tanh(x)


def _log_slope(layer: Layer, x: Tensor) -> Tensor:
    if isinstance(layer, LeakyReLU):
        return (x < 0).to(x.dtype) * log(layer.slope)
    if isinstance(layer, Sigmoid):
        return functional.logsigmoid(x) + functional.logsigmoid(-x)
    if isinstance(layer, Softclip):
        return -2 * torch.log1p(x.abs() / layer.bound)
    near = 2 * (log(2) - x.abs() - torch.log1p((-2 * x.abs()).exp()))
    if isinstance(layer, LogTanh):
        far = log(layer.tail) - x.abs().clamp(min=layer.cut).log()
        return torch.where(x.abs() > layer.cut, far, near)
    return near


def _inverse(layer: Layer, y: Tensor) -> Tensor:
    if isinstance(layer, LeakyReLU):
        return torch.where(y >= 0, y, y / layer.slope)
    least, most = (torch.tensor(end, dtype=y.dtype, device=y.device) for end in range_of(layer))
    y = y.clamp(torch.nextafter(least, most), torch.nextafter(most, least))  # a number near an end may round onto it
    if isinstance(layer, Sigmoid):
        y = y.clamp(layer.margin, 1 - layer.margin)
        return y.log() - torch.log1p(-y)
    if isinstance(layer, Softclip):
        return y / (1 - y.abs() / layer.bound)
    if isinstance(layer, LogTanh):
        away = y.abs()
        far = layer.cut * ((away - layer.image) / layer.tail).exp()
        return torch.where(away > layer.image, y.sign() * far, torch.atanh(y.clamp(-layer.image, layer.image)))
    return torch.atanh(y)


class Autoregressive(LayerBijection):
    """y_i = s_i x_i + t_i with s and t from a network of x; the inverse takes a pass of it a level."""

    inputs: Tensor
    changed: Tensor

    def __init__(self, layer: AffineAutoregressive) -> None:
        super().__init__()
        self.dim, self.scale = layer.dim, layer.scale
        self.register_buffer("inputs", torch.from_numpy(layer.inputs.copy()))
        self.register_buffer("changed", torch.from_numpy(layer.changed.copy()))
        self.network = NetworkModule(layer.network)
        self._levels = [torch.from_numpy(level.copy()) for level in layer.levels]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._scale_and_shift(x)
        y = x.index_copy(1, self.changed, x[:, self.changed] * log_scale.exp() + shift)
        return y, log_scale.sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = z.index_fill(1, self.changed, 0.0)
        log_det = z.new_zeros(len(z))
        for level in self._levels:
            log_scale, shift = (part[:, level] for part in self._scale_and_shift(x))
            columns = self.changed[level]
            x = x.index_copy(1, columns, (z[:, columns] - shift) * (-log_scale).exp())
            log_det = log_det - log_scale.sum(-1)
        return x, log_det

    def layer(self) -> Layer:
        inputs, changed = (columns.cpu().numpy().copy() for columns in (self.inputs, self.changed))
        return AffineAutoregressive(self.dim, inputs, changed, self.network.arrays(), self.scale)

    def _scale_and_shift(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self.network(x[:, self.inputs])
        if self.scale.kind == "none":
            return torch.zeros_like(found), found
        shift, u = found.chunk(2, dim=1)
        return _log_scale(self.scale, u), shift


def _log_scale(scale: ScaleMap, u: Tensor) -> Tensor:
    if scale.kind == "exp":
        return u
    if scale.kind == "soft-exp":
        return u / (1 + u.abs() / scale.offset)
    if scale.kind == "softplus":
        return (-functional.logsigmoid(-u) + scale.floor).log()
    if scale.kind == "sigmoid":
        return (torch.sigmoid(u + scale.offset) + scale.floor).log()
    return -functional.logsigmoid(u + scale.offset)
