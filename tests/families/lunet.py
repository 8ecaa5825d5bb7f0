"""LU-Nets for the common tests."""

from dataclasses import replace

from lunet_export.families.lunet.weights import LUNetWeights
from tests.networks import NETWORKS as ALL
from tests.networks import network

_CASES = ("plane, 3 blocks", "one block", "odd width", "digits", "images", "alpha 0.5")
_CASES += ("leaky relu", "leaky relu on images, alpha 0.5", "leaky tanh", "leaky tanh on images, alpha 0.05")
NETWORKS = {name: ALL[name] for name in _CASES}
PLANE = ALL["plane, 3 blocks"]
FACTS = {"kind": "lunet", "blocks": 3}  # of PLANE, in its manifest


def smallest() -> LUNetWeights:
    """Two blocks with an activation between, for a compiler."""
    return network(2, 2)


def changed(weights: LUNetWeights) -> LUNetWeights:
    """The same network with one number moved by 3e-4 of itself or so."""
    first = weights.blocks[0]
    upper = first.upper.copy()
    upper[-1, -1] *= 1 + 3e-4
    return replace(weights, blocks=(replace(first, upper=upper), *weights.blocks[1:]))
