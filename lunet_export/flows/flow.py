"""A flow: a chain of bijections and a standard normal."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from math import log, pi
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from lunet_export import noise
from lunet_export.family import family_of
from lunet_export.flows.chain import Chain
from lunet_export.preprocessing import Logit
from lunet_export.weights import Weights


class Flow(nn.Module, ABC):
    """log p(x) = log N(z; 0, I) + log|det dz/dx| in nats and in data space: pre-processing and 2 pi included.

    A family's module `flow` has one of these as `Network`. Shapes: x and z (N, D).
    """

    family: ClassVar[str]
    dim: int  # number of dimensions D
    preprocessing: Logit | None  # settings of the logit for grey levels, None for vectors
    chain: Chain

    @classmethod
    @abstractmethod
    def from_weights(cls, weights: Any, *, dtype: torch.dtype = torch.float32) -> Self:  # noqa: ANN401
        """The flow of these weights, rounded to `dtype`."""

    @abstractmethod
    def to_weights(self) -> Weights:
        """The flow as plain float64 arrays, checked."""

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, (N, D) -> (N,); NaN of rows outside the domain, where a logit's margin gives a number."""
        z, log_det = self.chain(x)
        log_prob, inside = standard_normal_log_prob(z) + log_det, self.contains(x)
        return log_prob if inside is None else torch.where(inside, log_prob, torch.nan)

    def contains(self, x: Tensor) -> Tensor | None:
        """For every row (N, D), whether it is inside the domain of the density, (N,); None where that is all of R^D."""
        if self.preprocessing is None:
            return None
        return ((x >= 0) & (x < self.preprocessing.levels)).all(-1)

    def decode(self, z: Tensor) -> Tensor:
        """z -> x, (N, D) -> (N, D); images are clamped to [0, largest float below levels]."""
        return self.clamp(self.chain.inverse(z)[0])

    @torch.no_grad()
    def sample(self, n: int, *, seed: int) -> Tensor:
        """n rows of the model as `decode` gives them, (n, D).

        The normal numbers are those of `lunet_export.noise`, so every runtime draws the same rows from a seed.
        """
        return self.decode(torch.from_numpy(noise.normal(seed, range(n), self.dim)).to(next(self.parameters())))

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

    def decaying(self) -> Iterable[tuple[nn.Parameter, Tensor]]:
        """Parameters that weight decay shrinks, and what of each: the parameter, with 0 in the place of what stays."""
        return []

    def compilable_decode(self, z: Tensor) -> Tensor:
        """`decode` without a loop that data ends, for `torch.compile`; `prepare_to_compile` comes before it."""
        return self.decode(z)

    def prepare_to_compile(self) -> None:
        """Settle what `compilable_decode` needs to know of the parameters' dtype."""


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I) in nats, (N, D) -> (N,)."""
    return -0.5 * (z.shape[1] * log(2 * pi) + z.square().sum(-1))


def of_weights(weights: Weights, *, dtype: torch.dtype = torch.float32) -> Flow:
    """The flow of weights of any family, rounded to `dtype`."""
    flow: Flow = family_of(weights).part("flow").Network.from_weights(weights, dtype=dtype)
    return flow
