"""The bijections of RealNVP (arXiv 1605.08803, sections 3.2 to 3.7). Those of k columns let the others pass."""

from collections.abc import Iterable, Sequence
from copy import copy
from math import prod
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lunet_export.layers import ConvolutionalCoupling, DenseCoupling, Layer
from lunet_export.torch_layers.bijection import Bijection
from lunet_export.torch_layers.coupling_networks import Convolutions, Dense


class AffineCoupling(Bijection):
    """This module computes y = x e^S + T on the first k columns, as `lunet_export.layers.Coupling` does.

    It starts as the identity: the factors are 0. Shapes: (N, D) -> (N, D), (N,).

    Args:
        shape: Shape (C, H, W) of images, (k,) of vectors.
        mask: Mask (k,), set where x passes and enters the networks.
        nets: Two convolutional networks, or one dense.
    """

    mask: Tensor
    log_scale: Tensor
    offset: Tensor

    def __init__(
        self, shape: Sequence[int], mask: NDArray[np.bool_], nets: tuple[Convolutions, Convolutions] | tuple[Dense]
    ) -> None:
        super().__init__()
        self.shape, width = tuple(shape), prod(shape)
        self._context: Tensor | None = None
        self.nets = nn.ModuleList(nets)
        self.scale_factor = nn.Parameter(torch.zeros(width))
        self.shift_factor = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("mask", torch.from_numpy(mask.copy()))
        self.register_buffer("log_scale", torch.zeros(width))  # what folded norms leave
        self.register_buffer("offset", torch.zeros(width))  # the same where the mask is set

    @property
    def width(self) -> int:
        """Return k."""
        return len(self.mask)

    def given(self, context: Tensor | None) -> Self:
        found = copy(self)
        found._context = context
        return found

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        changing, others = x[:, : self.width], x[:, self.width :]
        log_scale, shift = self._scale_and_shift(changing)
        return torch.cat([changing * log_scale.exp() + shift, others], 1), log_scale.sum(1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        changed, others = z[:, : self.width], z[:, self.width :]
        entering = (changed - self.offset) * (-self.log_scale).exp()
        log_scale, shift = self._scale_and_shift(entering)
        return torch.cat([(changed - shift) * (-log_scale).exp(), others], 1), -log_scale.sum(1)

    def _scale_and_shift(self, h: Tensor) -> tuple[Tensor, Tensor]:
        free = ~self.mask
        if len(self.nets) == 2:
            image = (h * self.mask).view(-1, *self.shape)
            s, t = (net(image).flatten(1) for net in self.nets)
        else:
            found = self.nets[0](h[:, self.mask], self._context)
            s, t = (h.new_zeros(h.shape).masked_scatter(free, part) for part in found.chunk(2, 1))
        log_scale = free * self.scale_factor * s.tanh() + self.log_scale
        return log_scale, free * (self.shift_factor * t + self.bias) + self.offset

    @classmethod
    @torch.no_grad()
    def of(cls, layer: DenseCoupling | ConvolutionalCoupling) -> Self:
        if isinstance(layer, DenseCoupling):
            found = cls(layer.shape, layer.mask, (Dense.of(layer.net),)).double()
        else:
            s, t = map(Convolutions.of, layer.nets)
            found = cls(layer.shape, layer.mask, (s, t)).double()
        shift = torch.from_numpy(layer.shift)
        found.scale_factor.copy_(torch.from_numpy(layer.scale_factor))
        found.shift_factor.copy_(torch.from_numpy(layer.shift_factor))
        found.log_scale.copy_(torch.from_numpy(layer.log_scale))
        found.bias.copy_(shift * ~found.mask)
        found.offset.copy_(shift * found.mask)
        return found

    def layer(self) -> DenseCoupling | ConvolutionalCoupling:
        mask, *found = (
            tensor.detach().cpu().numpy()
            for tensor in (self.mask, self.scale_factor, self.log_scale, self.shift_factor, self.bias, self.offset)
        )
        factor, log_scale, shift_factor, bias, offset = (array.astype(np.float64) for array in found)
        vectors = (
            np.where(mask, 0.0, factor),
            log_scale,
            np.where(mask, 0.0, shift_factor),
            np.where(mask, 0.0, bias) + offset,
        )
        if len(self.nets) == 1:
            return DenseCoupling(self.shape, mask, *vectors, net=self.nets[0].arrays())  # type: ignore[operator]
        s, t = (net.arrays() for net in self.nets)  # type: ignore[operator]
        return ConvolutionalCoupling(self.shape, mask, *vectors, nets=(s, t))

    def decaying(self) -> Iterable[tuple[nn.Parameter, Tensor]]:
        """Return kernels and matrices of the networks; no vectors."""
        return ((parameter, parameter.detach()) for parameter in self.nets.parameters() if parameter.ndim > 1)


class FlowNorm(Bijection):
    """This module is batch norm as a bijection of the first k columns (arXiv 1605.08803, section 3.7).

    While it trains it normalises by running moments in which the batch already counts with `momentum`, and gradients
    flow through that part. Afterwards, and in `inverse`, the moments are constants. Shapes: (N, D) -> (N, D), (N,).
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, width: int, *, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.epsilon = momentum, epsilon
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        changing, others = x[:, : len(self.mean)], x[:, len(self.mean) :]
        mean, variance = self.mean, self.variance
        if self.training:
            variance_of_batch, mean_of_batch = torch.var_mean(changing, 0, correction=0)
            mean = torch.lerp(mean, mean_of_batch, self.momentum)
            variance = torch.lerp(variance, variance_of_batch, self.momentum)
            self.mean, self.variance = mean.detach(), variance.detach()
        log_deviation = 0.5 * (variance + self.epsilon).log()
        changed = (changing - mean) * (-log_deviation).exp()
        return torch.cat([changed, others], 1), -log_deviation.sum().expand(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        changed, others = z[:, : len(self.mean)], z[:, len(self.mean) :]
        log_deviation = 0.5 * (self.variance + self.epsilon).log()
        changing = changed * log_deviation.exp() + self.mean
        return torch.cat([changing, others], 1), log_deviation.sum().expand(len(z))

    def onto(self, layers: Sequence[Layer]) -> list[Layer]:
        """Return the layers with the norm folded into the coupling in front of it."""
        *others, coupling = layers
        assert isinstance(coupling, DenseCoupling | ConvolutionalCoupling)
        return [*others, coupling.normed(*self.moments())]

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and log deviation, (k,) each."""
        mean, variance = (tensor.cpu().double().numpy() for tensor in (self.mean, self.variance))
        return mean, 0.5 * np.log(variance + self.epsilon)
