"""LU-Nets for the common tests."""

from dataclasses import replace

from lunet_export.layers import LU, Chain
from tests.networks import NETWORKS as ALL
from tests.networks import network

_CASES = ("plane, 3 blocks", "one block", "odd width", "digits", "images", "alpha 0.5")
_CASES += (
    "leaky relu",
    "leaky relu on images, alpha 0.5",
    "leaky tanh",
    "leaky tanh on images, alpha 0.05",
    "leaky squareplus",
    "leaky squareplus on images, alpha 0.05",
)
NETWORKS = {name: ALL[name] for name in _CASES}
PLANE = ALL["plane, 3 blocks"]
FACTS = {"kind": "lunet", "blocks": 3}  # of PLANE, in its manifest


def smallest() -> Chain:
    """Two blocks with an activation between, for a compiler."""
    return network(2, 2)


def changed(weights: Chain) -> Chain:
    """The same network with one number moved by 3e-4 of itself or so."""
    first, *others = weights.of(LU)
    upper = first.upper.copy()
    upper[-1, -1] *= 1 + 3e-4
    return weights.with_layers([replace(first, upper=upper), *others])
