"""Conditional LU-Nets at their start: behind every LU layer the context shifts, behind the first and last it scales.

With n(c) the standardised context, all layers see (n(c), tanh(W n(c) + b)), which is computed once, or n(c) alone where
contexts name classes. Each layer has a matrix of its own that makes of it D shifts, and where it scales the logarithms
of D scales. In the first layer the shift takes off what the mean of a row depends on linearly; all other entries of
these matrices are 0. Scales in between hardly gain anything (`benchmarks.conditional`), and cost an operation per row
each: a shift is added by the product in front of it. Where contexts name classes all layers scale: on MNIST that gains
0.005 bits/pixel, and an operation per row is nothing beside its products.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lunet_export.flows import LUNet, lunet
from lunet_export.layers import LU, Activation, Chain, ConditionalAffine, Context, ScaleMap
from lunet_export.layers.networks import Activation as NetworkActivation
from lunet_export.layers.networks import Dense, Residual
from lunet_export.training.gaussian import Gaussian

Array = NDArray[np.float64]

HIDDEN = 64  # hidden units
#: Scales of a layer, with a bound on every |log s|: contexts beyond those of training must not scale without limit.
SCALE = ScaleMap("soft-exp", 3.0)


def conditional(
    network: Chain,
    gaussian: Gaussian,
    seed: int,
    *,
    hidden: int | None = None,
    scale: ScaleMap = SCALE,
    everywhere: bool | None = None,
) -> Chain:
    """Return the conditional LU-Net that learns, at its start: the distribution of x given c is that of x - A n(c).

    Args:
        network: LU-Net of the rows x - A n(c), behind the pre-processing; A is the slope of the Gaussian.
        gaussian: Gaussian of the rows given their contexts; without contexts the network is returned unchanged.
        seed: Random seed of W and b.
        hidden: Number of hidden units; 0 leaves shifts and logarithms of scales that are linear in n(c). None takes
            HIDDEN, or 0 where contexts name classes: every function of a class is linear in such a context.
        scale: How scales are made; `none` leaves the shifts alone.
        everywhere: Whether all layers scale, and not the first and the last alone; None takes it where contexts name
            classes.
    """
    if gaussian.context is None or gaussian.slope is None:
        return network
    count, context = gaussian.context.dim, gaussian.context
    if hidden is None:
        hidden = HIDDEN if context.classes is None else 0
    if everywhere is None:
        everywhere = context.classes is not None
    last = len(network.of(LU)) - 1
    scales = [scale if everywhere or number in (0, last) else ScaleMap("none") for number in range(last + 1)]
    weights = [np.zeros((each.counts * network.dim, count + hidden)) for each in scales]
    weights[0][: network.dim, :count] = _shift(network, gaussian.slope)
    if hidden:
        context = replace(context, network=(*context.network, *_beside_hidden(count, hidden, seed)))
    maps = [
        ConditionalAffine((Dense(weight, np.zeros(len(weight))),), each)
        for weight, each in zip(weights, scales, strict=True)
    ]
    return _with(network, context, maps)


def shifted(network: Chain, gaussian: Gaussian) -> Chain:
    """Return the smallest conditional LU-Net with the same distribution as `conditional`, which only shifts."""
    return conditional(network, gaussian, 0, hidden=0, scale=ScaleMap("none"))


def _shift(network: Chain, slope: Array) -> Array:
    """Return -L U A of the first block, (D, C): L U (x - A n(c)) + b is that block's own map, shifted."""
    first = network.of(LU)[0]
    found: Array = -first.lower @ (first.upper @ slope)
    return found


def _beside_hidden(count: int, hidden: int, seed: int) -> tuple[Dense, Residual]:
    """Return the network that makes (a, tanh(W a + b)) of a (N, C); entries that are 0 stay 0 in training."""
    rng, width = np.random.default_rng([seed, 2]), count + hidden
    widen = np.eye(width, count)
    weight = np.pad(rng.standard_normal((hidden, count)) / np.sqrt(count), ((0, 0), (0, hidden)))
    bias, back = rng.standard_normal(hidden), np.eye(width, hidden, -count)
    inner = (Dense(weight, bias), NetworkActivation("tanh"), Dense(back, np.zeros(width)))
    return Dense(widen, np.zeros(width)), Residual(inner)


def _with(network: Chain, context: Context, maps: list[ConditionalAffine]) -> Chain:
    """Return the LU-Net with an affine map of the context behind every block."""
    assert isinstance(network.kind, LUNet)
    alpha = network.kind.alpha
    return lunet(
        network.of(LU),
        [each.alpha for each in network.of(Activation)] if alpha is None else alpha,
        network.preprocessing,
        network.kind.activation,
        conditional=maps,
        context=context,
    )
