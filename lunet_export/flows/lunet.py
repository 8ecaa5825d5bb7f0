"""LU-Net: a chain of bijections and a standard normal."""

from math import log, pi
from typing import Self

import torch
from torch import Tensor, nn

from lunet_export import noise
from lunet_export.flows.bijection import Bijection
from lunet_export.flows.chain import Chain
from lunet_export.flows.leaky_softplus import LeakySoftplus
from lunet_export.flows.logit import LogitPreprocessing
from lunet_export.flows.lu_linear import LULinear
from lunet_export.preprocessing import Logit
from lunet_export.weights import LUNetWeights


class LUNet(nn.Module):
    """The normalizing flow of arXiv 2302.10524: logit (for images), then `blocks` LU layers, leaky softplus between.

    log p(x) = log N(z; 0, I) + log|det dz/dx| in nats and in data space: pre-processing and 2 pi included.

    Args:
        dim: Number of dimensions D.
        blocks: Number of LU layers M; the paper's "3 + 1" is 4.
        alpha: Slope of the activation's left branch, in (0, 1).
        preprocessing: Settings of the logit for grey levels, None for vectors.
        whitened: Every layer's U in whitened coordinates, and
        bound: a bound on |log diag U|, both as in `LULinear`; for training.
    """

    def __init__(
        self,
        dim: int,
        *,
        blocks: int = 4,
        alpha: float = 0.1,
        preprocessing: Logit | None = None,
        whitened: bool = False,
        bound: float | None = None,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.alpha = alpha
        self.preprocessing = preprocessing
        layers: list[Bijection] = [LogitPreprocessing(preprocessing)] if preprocessing else []
        for number in range(blocks):
            layers += [LeakySoftplus(alpha)] if number else []
            layers.append(LULinear(dim, whitened=whitened, bound=bound))
        self.chain = Chain(layers)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, (N, D) -> (N,)."""
        z, log_det = self.chain(x)
        return standard_normal_log_prob(z) + log_det

    @torch.no_grad()
    def sample(self, n: int, *, seed: int) -> Tensor:
        """n rows of the model, (n, D); images are clamped to [0, largest float below levels].

        The normal numbers are those of `lunet_export.noise`, so every runtime draws the same rows from a seed.
        """
        like = self.linear_layers()[0].bias
        z = torch.from_numpy(noise.normal(seed, range(n), self.dim)).to(like)
        return self.clamp(self.chain.inverse(z)[0])

    @torch.no_grad()
    def sample_and_log_prob(self, n: int, *, seed: int) -> tuple[Tensor, Tensor]:
        """Rows as `sample` draws them and log p of exactly these rows: (n, D), (n,)."""
        x = self.sample(n, seed=seed)
        return x, self.log_prob(x)

    def clamp(self, x: Tensor) -> Tensor:
        """x inside the domain of the density; vectors are returned as they are."""
        if self.preprocessing is None:
            return x
        levels = x.new_tensor(self.preprocessing.levels)
        return x.clamp(torch.zeros_like(levels), torch.nextafter(levels, torch.zeros_like(levels)))

    def linear_layers(self) -> list[LULinear]:
        """The LU layers in the order of `forward`."""
        return [layer for layer in self.chain.bijections if isinstance(layer, LULinear)]

    @classmethod
    def from_weights(
        cls,
        weights: LUNetWeights,
        *,
        dtype: torch.dtype = torch.float32,
        whitened: bool = False,
        bound: float | None = None,
    ) -> Self:
        """The flow of these weights, rounded to `dtype`."""
        flow = cls(
            weights.dim,
            blocks=len(weights.blocks),
            alpha=weights.alpha,
            preprocessing=weights.preprocessing,
            whitened=whitened,
            bound=bound,
        ).to(dtype)
        for layer, block in zip(flow.linear_layers(), weights.blocks, strict=True):
            layer.load(block)
        return flow

    def to_weights(self) -> LUNetWeights:
        """The flow as plain float64 arrays, checked."""
        blocks = tuple(layer.to_block() for layer in self.linear_layers())
        return LUNetWeights(blocks, self.alpha, self.preprocessing)


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I) in nats, (N, D) -> (N,)."""
    return -0.5 * (z.shape[1] * log(2 * pi) + z.square().sum(-1))
