"""A composed flow in PyTorch."""

from collections.abc import Iterable
from typing import Self

import torch
from torch import Tensor, nn

from lunet_export.families.composed.bijections import LayerBijection, bijection_of
from lunet_export.families.composed.weights import ComposedWeights
from lunet_export.flows import Chain, Flow, LogitPreprocessing


class ComposedFlow(Flow):
    """Layers in a row, from data to latent, after an optional logit: what other libraries' flows become."""

    family = "composed"

    def __init__(self, weights: ComposedWeights) -> None:
        super().__init__()
        self.dim, self.preprocessing = weights.dim, weights.preprocessing
        p = weights.preprocessing
        self.chain = Chain([*([LogitPreprocessing(p)] if p else []), *map(bijection_of, weights.layers)])
        self._domain = weights.domain
        #: Of no number, for flows whose layers have no parameters: it tells their dtype and device.
        self.like = nn.Parameter(torch.empty(0, dtype=torch.float64), requires_grad=False)

    @classmethod
    def from_weights(cls, weights: ComposedWeights, *, dtype: torch.dtype = torch.float32) -> Self:
        """The flow of these weights, rounded to `dtype`."""
        return cls(weights).to(dtype)

    def to_weights(self) -> ComposedWeights:
        """The flow as plain float64 arrays, checked."""
        layers = (part.layer() for part in self.chain.bijections if isinstance(part, LayerBijection))
        return ComposedWeights(self.dim, tuple(layers), self.preprocessing)

    def contains(self, x: Tensor) -> Tensor | None:
        """As `Flow.contains`."""
        if self._domain is None:
            return super().contains(x)
        low, high = (torch.from_numpy(border).to(x.device) for border in (self._domain.low, self._domain.high))
        exact = x.double()
        inside = (exact >= low) & (exact <= high) if self._domain.closed else (exact > low) & (exact < high)
        return inside.all(-1)

    def clamp(self, x: Tensor) -> Tensor:
        """x inside the domain of the density."""
        if self._domain is None:
            return super().clamp(x)
        low, high = (torch.from_numpy(end) for end in self._domain.ends(x.new_empty(0).cpu().numpy().dtype))
        return torch.minimum(torch.maximum(x, low.to(x)), high.to(x))

    def decaying(self) -> Iterable[tuple[nn.Parameter, Tensor]]:
        """Matrices; no vectors."""
        return ((parameter, parameter.detach()) for parameter in self.parameters() if parameter.ndim > 1)


Network = ComposedFlow  # what a family's flow is called by those who do not know the family
