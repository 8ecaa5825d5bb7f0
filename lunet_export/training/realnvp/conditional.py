"""Conditional RealNVPs: the mean of the linear Gaussian is taken off in front, and the networks see the context.

With n(c) the standardised context, the first layer of every dense network computes W h + V n(c) + b.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lunet_export.flows import realnvp
from lunet_export.layers import Chain, ConditionalAffine, DenseCoupling, Layer, ScaleMap
from lunet_export.layers.networks import Dense
from lunet_export.training.gaussian import Gaussian


def shifted(layers: Sequence[Layer], gaussian: Gaussian) -> Chain:
    """Return the RealNVP of rows x - A n(c), or of x without contexts.

    Args:
        layers: Couplings and permutations.
        gaussian: Gaussian of the rows, whose slope is A, with their pre-processing.
    """
    dim = len(gaussian.mean)
    if gaussian.context is None or gaussian.slope is None:
        return realnvp(dim, layers, gaussian.preprocessing)
    front = ConditionalAffine((Dense(-gaussian.slope, np.zeros(dim)),), ScaleMap("none"))
    return realnvp(dim, [front, *layers], gaussian.preprocessing, gaussian.context)


def seeing(layers: Sequence[Layer], gaussian: Gaussian, seed: int) -> list[Layer]:
    """Return the layers with dense networks that see the context; without contexts they stay as they are.

    Args:
        layers: Couplings, with dense networks where there are contexts, and permutations.
        gaussian: Gaussian of the rows, whose context is seen.
        seed: Random seed of V.
    """
    if gaussian.context is None:
        return list(layers)
    count, rng = gaussian.context.dim, np.random.default_rng([seed, 2])
    return [_seeing(layer, count, rng) if isinstance(layer, DenseCoupling) else layer for layer in layers]


def _seeing(coupling: DenseCoupling, count: int, rng: np.random.Generator) -> DenseCoupling:
    """Return the coupling with V in its network; V is as large as PyTorch's W would be for h and n(c) side by side."""
    (weight, bias), *others = coupling.net.layers
    bound = 1 / np.sqrt(weight.shape[1] + count)
    moved = Dense(rng.uniform(-bound, bound, (len(bias), count)), bias)
    net = replace(coupling.net, layers=((weight, np.zeros_like(bias)), *others), conditional=(moved,))
    return replace(coupling, net=net)
