"""LU-Nets for the common tests."""

from dataclasses import replace

from lunet_export.layers import LU, Chain
from tests.networks import NETWORKS as ALL
from tests.networks import network

_CASES = ("plane, 3 blocks", "one block", "odd width", "digits", "images", "alpha 0.5")
NETWORKS = {name: make for name, make in ALL.items() if name in _CASES or name.startswith("leaky ")}
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
