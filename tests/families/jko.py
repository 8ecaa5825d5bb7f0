"""JKO-iFlows for the common tests: random fields, mild enough that few steps follow them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from lunet_export.flows import jko
from lunet_export.layers import Chain, Velocity, VelocityField
from lunet_export.preprocessing import NAMED
from tests.flows import test_laws as laws

#: What these flows may be off by, for a law of the exact flow: the error of the integrator at the steps below.
INTEGRATOR = 2e-6
INEXACT = dict.fromkeys(
    (laws.inverse_undoes_forward, laws.log_det_is_the_jacobians, laws.log_dets_cancel), INTEGRATOR / laws.TOLERANCE
)


def flow(
    dim: int,
    hidden: tuple[int, ...],
    *,
    blocks: int = 2,
    steps: int = 4,
    preprocessing: str = "none",
    beta: float = 2.0,
    whitened: bool = True,
    strength: float = 0.5,
    seed: int = 0,
) -> Chain:
    """Fields whose slopes are near 1, behind an affine map of condition 10 or so."""
    rng = np.random.default_rng(seed)
    widths = [dim, *hidden, dim]

    def field() -> VelocityField:
        layers = tuple(
            (rng.standard_normal((out, into)) / np.sqrt(into), 0.5 * rng.standard_normal(out))
            for into, out in pairwise(widths)
        )
        *inner, (last, bias) = layers
        return VelocityField((*inner, (strength * last, strength * bias)), 0.5 * rng.standard_normal(hidden[0]))

    root = np.triu(rng.standard_normal((dim, dim)), 1) / dim + np.diag(rng.uniform(0.5, 2.0, dim))
    centre = rng.standard_normal(dim)
    if not whitened:
        root, centre = np.eye(dim), np.zeros(dim)
    fields = tuple(field() for _ in range(blocks))
    return jko(centre, root, fields, steps, beta, NAMED[preprocessing])


NETWORKS = {
    "plane": lambda: flow(2, (16, 12), blocks=3),
    "one hidden layer": lambda: flow(5, (9,)),
    "three hidden layers": lambda: flow(3, (8, 7, 6)),
    "one dimension": lambda: flow(1, (6, 6), blocks=1),
    "no whitening": lambda: flow(4, (8, 8), whitened=False),
    "one step, eight blocks": lambda: flow(3, (8, 8), blocks=8, steps=1, beta=0.5, strength=0.05),
    "digits": lambda: flow(64, (32, 24), preprocessing="digits", steps=3),
}
PLANE = NETWORKS["plane"]
FACTS = {"kind": "jko", "blocks": 3, "steps": 4}


def smallest() -> Chain:
    """A block of two steps, for a compiler that takes every step apart."""
    return flow(2, (4, 4), blocks=1, steps=2)


def changed(weights: Chain) -> Chain:
    """The same network with one matrix moved by 1e-3 of itself."""
    first, *others = weights.of(Velocity)
    (matrix, bias), *layers = first.field.layers
    field = replace(first.field, layers=((matrix * (1 + 1e-3), bias), *layers))
    return weights.with_layers([replace(first, field=field), *others])
