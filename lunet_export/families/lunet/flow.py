"""LU-Net in PyTorch."""

from collections.abc import Callable, Iterable
from typing import Self

import torch
from torch import Tensor, nn

from lunet_export.families.lunet.leaky_relu import LeakyReLU
from lunet_export.families.lunet.leaky_softplus import LeakySoftplus
from lunet_export.families.lunet.leaky_tanh import LeakyTanh
from lunet_export.families.lunet.lu_linear import LULinear
from lunet_export.families.lunet.newton import NewtonBijection, newton, newton_steps
from lunet_export.families.lunet.weights import ACTIVATIONS, LUNetWeights
from lunet_export.flows import Bijection, Chain, Flow, LogitPreprocessing
from lunet_export.preprocessing import Logit

#: By name, from alpha.
BIJECTIONS: dict[str, Callable[[float], Bijection]] = {
    "leaky-softplus": LeakySoftplus,
    "leaky-relu": LeakyReLU,
    "leaky-tanh": LeakyTanh,
}


class LUNet(Flow):
    """The normalizing flow of arXiv 2302.10524: logit (for images), then `blocks` LU layers, an activation between.

    Args:
        dim: Number of dimensions D.
        blocks: Number of LU layers M; the paper's "3 + 1" is 4.
        alpha: Smallest slope of the activation, in (0, 1).
        preprocessing: Settings of the logit for grey levels, None for vectors.
        activation: One of `weights.ACTIVATIONS`; the first is the paper's.
        whitened: Every layer's U in whitened coordinates, and
        bound: a bound on |log diag U|, both as in `LULinear`; for training.
    """

    family = "lunet"

    def __init__(
        self,
        dim: int,
        *,
        blocks: int = 4,
        alpha: float = 0.1,
        preprocessing: Logit | None = None,
        activation: str = ACTIVATIONS[0],
        whitened: bool = False,
        bound: float | None = None,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.alpha = alpha
        self.preprocessing = preprocessing
        self.activation = activation
        layers: list[Bijection] = [LogitPreprocessing(preprocessing)] if preprocessing else []
        for number in range(blocks):
            layers += [BIJECTIONS[activation](alpha)] if number else []
            layers.append(LULinear(dim, whitened=whitened, bound=bound))
        self.chain = Chain(layers)

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
            activation=weights.activation,
            whitened=whitened,
            bound=bound,
        ).to(dtype)
        for layer, block in zip(flow.linear_layers(), weights.blocks, strict=True):
            layer.load(block)
        return flow

    def to_weights(self) -> LUNetWeights:
        """The flow as plain float64 arrays, checked."""
        blocks = tuple(layer.to_block() for layer in self.linear_layers())
        return LUNetWeights(blocks, self.alpha, self.preprocessing, self.activation)

    def decaying(self) -> Iterable[tuple[nn.Parameter, Tensor]]:
        """The entries off the diagonals of L and U (of V where a layer is whitened)."""
        for layer in self.linear_layers():
            part = layer.packed.detach().clone()
            part.diagonal().zero_()
            yield layer.packed, part

    def prepare_to_compile(self) -> None:
        """As `Flow.prepare_to_compile`."""
        f = BIJECTIONS[self.activation](self.alpha)
        self._steps = newton_steps(f, next(self.parameters()).dtype) if isinstance(f, NewtonBijection) else 0

    def compilable_decode(self, z: Tensor) -> Tensor:
        """`decode` by as many of Newton's steps as this activation and dtype need, whatever the data."""
        for layer in reversed(self.chain.bijections):
            z = newton(layer, z, self._steps) if isinstance(layer, NewtonBijection) else layer.inverse(z)[0]  # type: ignore[operator]
        return self.clamp(z)


Network = LUNet  # what a family's flow is called by those who do not know the family
