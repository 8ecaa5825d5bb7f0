"""LU-Nets for the common tests."""

from dataclasses import replace

from lunet_export.families.lunet.weights import LUNetWeights
from tests.networks import NETWORKS as ALL

NETWORKS = {name: ALL[name] for name in ("plane, 3 blocks", "one block", "odd width", "digits", "images", "alpha 0.5")}
PLANE = ALL["plane, 3 blocks"]
FACTS = {"kind": "lunet", "blocks": 3}  # of PLANE, in its manifest


def changed(weights: LUNetWeights) -> LUNetWeights:
    """The same network with one number moved by 3e-4 of itself or so."""
    first = weights.blocks[0]
    upper = first.upper.copy()
    upper[-1, -1] *= 1 + 3e-4
    return replace(weights, blocks=(replace(first, upper=upper), *weights.blocks[1:]))
