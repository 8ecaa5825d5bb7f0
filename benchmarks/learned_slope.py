"""A leaky softplus whose slope alpha is learnt: one of the choices that `benchmarks.ablation` tries."""

from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional

from lunet_export.layers import LeakySoftplus
from lunet_export.torch_layers import Bijection
from lunet_export.torch_layers.leaky_softplus import LeakySoftplusBijection
from lunet_export.training.fit import Trainer


class LearnedSlope(Bijection):
    """f(x) = alpha x + (1 - alpha) log(1 + e^x) with alpha = sigmoid(theta), one for all dimensions or one for each.

    It has only the direction that training needs. Shapes: (N, D) -> (N, D), (N,).
    """

    def __init__(self, alpha: float, entries: int) -> None:
        super().__init__()
        self._start = LeakySoftplus(alpha)
        self.theta = nn.Parameter(torch.full((entries,), log(alpha) - log(1 - alpha)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        alpha = self.theta.sigmoid()
        value = alpha * x - (1 - alpha) * functional.logsigmoid(-x)
        return value, (alpha + (1 - alpha) * x.sigmoid()).log().sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def layer(self) -> LeakySoftplus:
        """Return the layer that training keeps in its best model: with the first slope, as a chain has fixed slopes.

        Only the figures of such a run are used.
        """
        return self._start


def learn_slopes(trainer: Trainer, *, each_dimension: bool) -> None:
    """Give the flow of a fresh trainer learnt slopes, and its optimizer their parameters."""
    bijections, dim = trainer.flow.chain.bijections, trainer.flow.dim
    for number, bijection in enumerate(bijections):
        if isinstance(bijection, LeakySoftplusBijection):
            bijections[number] = LearnedSlope(bijection.alpha, dim if each_dimension else 1)
    trainer.optimizer = trainer.new_optimizer()
