"""A flow: a chain of bijections and a standard normal."""

from collections.abc import Iterable
from copy import copy
from dataclasses import replace
from math import log, pi
from typing import Self, TypeVar

import torch
from torch import Tensor, nn

from lunet_export import layers, noise
from lunet_export.errors import BadInputError
from lunet_export.layers import Context, Kind, Layer
from lunet_export.layers.domain import Domain
from lunet_export.preprocessing import Logit
from lunet_export.torch_layers.bijection import Bijection
from lunet_export.torch_layers.chain import Chain
from lunet_export.torch_layers.logit import LogitPreprocessing
from lunet_export.torch_layers.modules import bijection_of
from lunet_export.torch_layers.networks import NetworkModule

B = TypeVar("B", bound=Bijection)


class Flow(nn.Module):
    """A flow has log p(x) = log N(z; 0, I) + log|det dz/dx| in nats, in data space, pre-processing and 2 pi included.

    Shapes: x and z (N, D).

    Args:
        dim: Number of dimensions D.
        bijections: Bijections from data to latent, behind the pre-processing.
        kind: Kind of the chain, which says how it is stored.
        preprocessing: Settings of the logit for grey levels, None for vectors.
        domain: Domain of the density, without pre-processing; None where it is all of R^D.
        context: Context of a conditional flow, which has a density and samples once `given` one.
    """

    like: Tensor

    def __init__(
        self,
        dim: int,
        bijections: Iterable[Bijection],
        kind: Kind,
        *,
        preprocessing: Logit | None = None,
        domain: Domain | None = None,
        context: Context | None = None,
    ) -> None:
        super().__init__()
        self._context = context
        self.of_context = NetworkModule(context.network) if context else None
        self.dim, self.kind, self.preprocessing, self._domain = dim, kind, preprocessing, domain
        self.chain = Chain([*([LogitPreprocessing(preprocessing)] if preprocessing else []), *bijections])
        #: Empty: it tells the dtype and device of flows whose layers have no parameters.
        self.register_buffer("like", torch.empty(0), persistent=False)

    @classmethod
    def of(cls, chain: layers.Chain, *, dtype: torch.dtype = torch.float32) -> Self:
        """Return the flow of a chain, rounded to `dtype`."""
        bijections = map(bijection_of, chain.layers)
        flow = cls(
            chain.dim,
            bijections,
            chain.kind,
            preprocessing=chain.preprocessing,
            domain=chain.domain,
            context=chain.context,
        )
        return flow.to(dtype)

    def to_chain(self) -> layers.Chain:
        """Return the flow as plain float64 arrays, checked."""
        found: list[Layer] = []
        for bijection in self.chain:
            found = found if isinstance(bijection, LogitPreprocessing) else bijection.onto(found)
        context = self._context
        if context is not None and self.of_context is not None:
            context = replace(context, network=self.of_context.arrays())
        return layers.Chain(self.dim, tuple(found), self.preprocessing, self.kind, context)

    def given(self, context: Tensor | None) -> Self:
        """Return the flow of rows that belong to contexts (N, C), or of all rows with one context, (1, C).

        What depends on the context alone is computed here, once. The flow shares its parameters with this one. A flow
        that takes no context is itself, given None.

        Raises:
            BadInputError: if this flow takes no context and there is one, or another way round, or widths differ.
        """
        if self._context is None or self.of_context is None:
            if context is not None:
                raise BadInputError("Expected no context for a flow that takes none. Leave it out.")
            return self
        if context is None:
            raise BadInputError(f"Expected contexts of shape (N, {self._context.dim}); got none.")
        if context.ndim != 2 or context.shape[1] != self._context.dim:
            raise BadInputError(
                f"Expected contexts of shape (N, {self._context.dim}); got shape {tuple(context.shape)}."
            )
        found = copy(self)
        found._modules = dict(self._modules)  # so that the chain below is the copy's alone
        found.chain = self.chain.given(self.of_context(context))
        return found

    def modules_of(self, kind: type[B]) -> list[B]:
        """Return the bijections of one class, in the order of `forward`."""
        return [bijection for bijection in self.chain if isinstance(bijection, kind)]

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) in nats, (N, D) -> (N,).

        Rows outside the domain give NaN, also where a logit's margin would give a number.
        """
        z, log_det = self.chain(x)
        log_prob, inside = standard_normal_log_prob(z) + log_det, self.contains(x)
        return log_prob if inside is None else torch.where(inside, log_prob, torch.nan)

    def log_prob_estimate(self, x: Tensor, probe: Tensor) -> Tensor:
        """Return log p(x) with every divergence estimated along the probes, x and probe (N, D) -> (N,) nats.

        The estimate is unbiased where E[e e^T] = I, as for normal numbers or signs.
        """
        z, log_det = self.chain.along(x, probe)
        return standard_normal_log_prob(z) + log_det

    def contains(self, x: Tensor) -> Tensor | None:
        """Return for every row (N, D) whether it is inside the domain of the density, (N,); None where that is R^D."""
        if self.preprocessing:
            return ((x >= 0) & (x < self.preprocessing.levels)).all(-1)
        if self._domain is None:
            return None
        low, high = (torch.from_numpy(border).to(x.device) for border in (self._domain.low, self._domain.high))
        exact = x.double()
        inside = (exact >= low) & (exact <= high) if self._domain.closed else (exact > low) & (exact < high)
        return inside.all(-1)

    def decode(self, z: Tensor) -> Tensor:
        """Return x for z, (N, D) -> (N, D), inside the domain: images in [0, largest float below levels]."""
        return self.clamp(self.chain.decode(z))

    @torch.no_grad()
    def sample(self, n: int, *, seed: int) -> Tensor:
        """Return n rows of the model as `decode` gives them, (n, D).

        The normal numbers are those of `lunet_export.noise`, so every runtime draws the same rows from a seed.
        """
        return self.decode(torch.from_numpy(noise.normal(seed, range(n), self.dim)).to(self.like))

    @torch.no_grad()
    def sample_and_log_prob(self, n: int, *, seed: int) -> tuple[Tensor, Tensor]:
        """Return rows as `sample` draws them and log p of exactly these rows: (n, D), (n,)."""
        x = self.sample(n, seed=seed)
        return x, self.log_prob(x)

    def clamp(self, x: Tensor) -> Tensor:
        """Return x inside the domain of the density; where that is all of R^D, x is unchanged."""
        if self.preprocessing:
            levels = x.new_tensor(self.preprocessing.levels)
            return x.clamp(torch.zeros_like(levels), torch.nextafter(levels, torch.zeros_like(levels)))
        if self._domain is None:
            return x
        low, high = (torch.from_numpy(end) for end in self._domain.ends(x.new_empty(0).cpu().numpy().dtype))
        return torch.minimum(torch.maximum(x, low.to(x)), high.to(x))

    def decaying(self) -> Iterable[tuple[nn.Parameter, Tensor]]:
        """Return parameters that weight decay shrinks, and the part of each that shrinks: 0 stands for what stays."""
        return (entry for bijection in self.chain for entry in bijection.decaying())

    def compilable_decode(self, z: Tensor) -> Tensor:
        """Return `decode` without a data-dependent loop, for `torch.compile`; call `prepare_to_compile` first."""
        return self.clamp(self.chain.compilable_decode(z))

    def prepare_to_compile(self) -> None:
        """Settle what `compilable_decode` needs to know of the parameters' dtype."""
        for bijection in self.chain:
            bijection.prepare_to_compile(self.like.dtype)


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """Return log N(z; 0, I) in nats, (N, D) -> (N,)."""
    return -0.5 * (z.shape[1] * log(2 * pi) + z.square().sum(-1))
