"""One table of extreme cases: all are judged by `python -m tests.extremes`, and a sample of them by the tests."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from lunet_export import flows
from lunet_export.flows import layered
from lunet_export.graphs import solvers
from lunet_export.layers import (
    ACTIVATIONS,
    LU,
    Affine,
    Chain,
    Inverse,
    LeakyReLU,
    LogTanh,
    NormalCDF,
    RationalQuadratic,
    Sigmoid,
    Softclip,
    SplineAutoregressive,
    Tanh,
    Velocity,
    VelocityField,
    Whitening,
)
from lunet_export.layers.networks import Wave
from lunet_export.preprocessing import NAMED
from tests.extremes.verdict import Case
from tests.families import composed as parts
from tests.families import jko, realnvp
from tests.networks import network

DTYPES = ("float32", "float64", "float16")


def scaled(weights: Chain, *, first: float = 1.0, last: float = 1.0, bias: float = 1.0) -> Chain:
    """The first and the last U times a number, and all biases."""
    blocks = [replace(block, bias=bias * block.bias) for block in weights.of(LU)]
    blocks[0] = replace(blocks[0], upper=first * blocks[0].upper)
    blocks[-1] = replace(blocks[-1], upper=last * blocks[-1].upper)
    return weights.with_layers(blocks)


def tame(dim: int, blocks: int) -> Chain:
    """Blocks near the identity, as training from whitened data leaves them: so many keep their digits."""
    plain = network(dim, blocks, alpha=0.9, off_diagonal=0.02)
    tamed = [
        replace(
            block, upper=np.triu(block.upper, 1) + np.diag(np.abs(np.diag(block.upper)) ** 0.1), bias=0.1 * block.bias
        )
        for block in plain.of(LU)
    ]
    return plain.with_layers(tamed)


def conditioned(dim: int, condition: float, *, blocks: int = 2) -> Chain:
    """Blocks whose L U are rotations around singular values from sqrt(condition) down to 1 / sqrt(condition)."""
    rng = np.random.default_rng(5)
    plain = network(dim, blocks)

    def block(bias: np.ndarray) -> LU:
        left, right = (np.linalg.qr(rng.standard_normal((dim, dim)))[0] for _ in range(2))
        matrix = left @ np.diag(np.geomspace(condition**0.5, condition**-0.5, dim)) @ right
        lower, upper = np.eye(dim), matrix.copy()
        for k in range(dim):
            lower[k + 1 :, k] = upper[k + 1 :, k] / upper[k, k]
            upper[k + 1 :] -= lower[k + 1 :, k, None] * upper[k]
        return LU(lower, np.triu(upper), bias)

    first, *others = plain.of(LU)
    return plain.with_layers([block(first.bias), *others])


def graded(dim: int, condition: float) -> Chain:
    """Diagonals of U from 1 down to 1 / condition: a change of units, not of shape."""
    plain = network(dim, 2)
    first, *others = plain.of(LU)
    scale = np.geomspace(1.0, 1 / condition, dim)
    return plain.with_layers([replace(first, upper=first.upper * scale), *others])


def denormal() -> Chain:
    """Entries of L and U that are denormal in float64; the diagonal is not."""
    plain = network(4, 2)
    first, *others = plain.of(LU)
    tiny = np.triu(np.full((4, 4), 5e-324), 1)
    return plain.with_layers([LU(np.eye(4) + tiny.T, np.eye(4) + tiny, first.bias), *others])


def pivot(size: float) -> Chain:
    """One diagonal entry of U of that size."""
    plain = network(3, 2)
    first, *others = plain.of(LU)
    upper = first.upper.copy()
    upper[1, 1] = size
    return plain.with_layers([replace(first, upper=upper), *others])


_LUNET: dict[str, Callable[[], Any]] = {
    **{
        f"{name}, alpha {alpha!r}": lambda name=name, alpha=alpha: network(4, 3, activation=name, alpha=alpha)
        for name in ACTIVATIONS
        for alpha in (1e-30, 1e-6, 1e-3, 0.999, 0.9999, 1 - 1e-6, 1 - 1e-15)
    },
    **{f"{name}, one dimension": lambda name=name: network(1, 3, activation=name) for name in ACTIVATIONS},
    "one dimension, one block": lambda: network(1, 1),
    "64 blocks": lambda: network(3, 64, off_diagonal=0.1),
    "64 blocks that are near 1": lambda: tame(3, 64),
    "64 blocks, one dimension": lambda: network(1, 64),
    "64 blocks, leaky tanh": lambda: network(3, 64, off_diagonal=0.1, activation="leaky-tanh"),
    "64 blocks, leaky relu": lambda: network(3, 64, off_diagonal=0.1, activation="leaky-relu"),
    "data of 1e-30": lambda: scaled(network(3, 2), first=1e30),
    "data of 1e-6": lambda: scaled(network(3, 2), first=1e6),
    "data of 1e6": lambda: scaled(network(3, 2), first=1e-6),
    "data of 1e30": lambda: scaled(network(3, 2), first=1e-30),
    "data of 1e300": lambda: scaled(network(3, 2), first=1e-300),
    "biases of 1e6": lambda: scaled(network(3, 2), bias=1e6),
    "biases of 1e30": lambda: scaled(network(3, 2), bias=1e30),
    "condition 1e4": lambda: conditioned(6, 1e4),
    "condition 1e8": lambda: conditioned(6, 1e8),
    "condition 1e12": lambda: conditioned(6, 1e12),
    "units from 1 to 1e12": lambda: graded(6, 1e12),
    "units from 1 to 1e60": lambda: graded(6, 1e60),
    "denormal entries": denormal,
    "a pivot of 1e-6": lambda: pivot(1e-6),
    "a pivot of 1e-12": lambda: pivot(1e-12),
    "a pivot of 1e-40": lambda: pivot(1e-40),
    "a pivot of 1e-310": lambda: pivot(1e-310),
    "a pivot of 0": lambda: pivot(0.0),
    "a pivot that is no number": lambda: pivot(np.nan),
    "images": lambda: network(16, 3, preprocessing=NAMED["images"]),
    "images far from the network": lambda: scaled(network(16, 2, preprocessing=NAMED["digits"]), bias=1e4),
}


def coupled(*, scale: float = 1.0, log_scale: float = 0.0, shift: float = 1.0):
    """A dense RealNVP whose S is up to `scale` around `log_scale`, and T `shift` times as large."""
    weights = realnvp.dense(4, 8)

    def changed(layer):
        if not hasattr(layer, "mask"):
            return layer
        free = ~layer.mask
        return replace(
            layer,
            scale_factor=np.where(free, scale, 0.0),
            log_scale=np.full_like(layer.log_scale, log_scale),
            shift_factor=shift * layer.shift_factor,
            shift=shift * layer.shift,
        )

    return replace(weights, layers=tuple(changed(layer) for layer in weights.layers))


_REALNVP: dict[str, Callable[[], Any]] = {
    "two dimensions": lambda: realnvp.dense(2, 4),
    "scales of e^10": lambda: coupled(scale=10.0),
    "scales of e^60": lambda: coupled(scale=60.0),
    "data of e^-40": lambda: coupled(log_scale=20.0),
    "data of e^40": lambda: coupled(log_scale=-20.0),
    "data of e^400": lambda: coupled(log_scale=-200.0),
    "shifts of 1e6": lambda: coupled(shift=1e6),
    "shifts of 1e30": lambda: coupled(shift=1e30),
}


def driven(
    *,
    field: float = 1.0,
    beta: float = 10.0,
    root: float = 1.0,
    dim: int = 3,
    steps: int = 3,
    repeated: int = 1,
) -> Chain:
    """A JKO-iFlow whose velocities are `field` times as large, and whose data are 1 / root as wide."""
    weights = jko.flow(dim, (8,))
    (whitening,) = weights.of(Whitening)
    fields = [
        VelocityField((*entry.layers[:-1], (field * entry.layers[-1][0], field * entry.layers[-1][1])), entry.time)
        for entry in (block.field for block in weights.of(Velocity))
    ]
    return flows.jko(whitening.centre, root * whitening.root, repeated * fields, steps, beta)


_JKO: dict[str, Callable[[], Any]] = {
    "one dimension": lambda: driven(dim=1),
    "velocities of 1e3": lambda: driven(field=1e3),
    "velocities of 1e30": lambda: driven(field=1e30),
    "beta 1e-6": lambda: driven(beta=1e-6),
    "beta 1e6": lambda: driven(beta=1e6),
    "data of 1e-12": lambda: driven(root=1e12),
    "data of 1e12": lambda: driven(root=1e-12),
    "data of 1e45": lambda: driven(root=1e-45),
    "64 blocks": lambda: driven(dim=2, steps=1, field=0.05, repeated=32),
}


def _affine(dim: int, scale: float) -> Affine:
    return Affine(np.full(dim, scale), np.zeros(dim))


def steep(layer: SplineAutoregressive, factor: float) -> SplineAutoregressive:
    """The same splines, with numbers from the network that are `factor` times as large."""
    *others, last = layer.network
    grown = replace(last, weight=factor * last.weight, bias=factor * last.bias)
    return replace(layer, network=(*others, grown))


def spline(
    bins: int = 5, low: float = -3.0, high: float = 3.0, tails: str = "identity", **options
) -> RationalQuadratic:
    """Least sizes of 1e-3 unless a limit is given."""
    least = {} if "limit" in options else dict.fromkeys(("least_width", "least_height", "least_slope"), 1e-3)
    return RationalQuadratic(bins, low, high, **(least | options))


def _in_box(*layers: SplineAutoregressive) -> Chain:
    """Rows on the box of the first layer, as a base that is uniform there leaves them."""
    low, high = layers[0].spline.interval
    dim = layers[0].dim
    onto = Affine(np.full(dim, 1 / (high - low)), np.full(dim, -low / (high - low)))
    return layered(dim, (*layers, onto, Inverse(NormalCDF())))


def _with_tails(given: RationalQuadratic, factor: float = 1.0) -> Chain:
    return parts.composed(parts.lu_layer(4), steep(parts.splines(4, spline=given), factor), parts.lu_layer(4, seed=1))


def _fixed(given: RationalQuadratic, factor: float) -> Chain:
    return parts.composed(steep(parts.fixed_splines(4, spline=given), factor), parts.lu_layer(4))


_SPLINES: dict[str, Callable[[], Any]] = {
    **{
        f"splines, numbers x {factor!r}": lambda factor=factor: _with_tails(spline(), factor)
        for factor in (10.0, 100.0, 1e4, 1e30, 1e300)
    },
    **{
        f"splines with slopes of e^, limit {limit!r}": lambda limit=limit: _with_tails(spline(limit=limit), 10.0)
        for limit in (1e-6, 6.9, 30.0, 80.0, 700.0, 1e4)
    },
    **{
        f"splines of {bins} bins": lambda bins=bins: _with_tails(
            spline(bins, **dict.fromkeys(("least_width", "least_height", "least_slope"), 1e-6))
        )
        for bins in (1, 2, 64, 500)
    },
    **{
        f"splines on a box of {half!r}": lambda half=half: _with_tails(spline(low=-half, high=half))
        for half in (1e-30, 1e-3, 1e6, 1e30, 1e308)
    },
    "splines on a box far from 0": lambda: _with_tails(spline(low=1e6, high=1e6 + 1)),
    "splines on a box of two numbers": lambda: _with_tails(spline(low=1.0, high=1.0 + 2.0**-52)),
    **{
        f"splines whose bins are at least {least!r}, numbers x 100": lambda least=least: _with_tails(
            spline(least_width=least, least_height=least, least_slope=least), 100.0
        )
        for least in (1e-300, 1e-30, 1e-10, 1e-6, 0.19)
    },
    "splines without a least width": lambda: _with_tails(spline(least_width=0.0)),
    "fixed splines without a least width, numbers x 10": lambda: _fixed(spline(least_width=0.0), 10.0),
    "fixed splines without a least width, numbers x 1e3": lambda: _fixed(spline(least_width=0.0), 1e3),
    "masked splines, numbers x 10": lambda: parts.composed(steep(parts.masked_splines(4), 10.0), parts.lu_layer(4)),
    "inverse masked splines, numbers x 10": lambda: parts.composed(
        Inverse(steep(parts.masked_splines(4), 10.0)), parts.lu_layer(4)
    ),
    "fixed splines, numbers x 10": lambda: _fixed(spline(), 10.0),
    "16 masked splines": lambda: layered(3, tuple(parts.masked_splines(3, seed=seed) for seed in range(16))),
    **{
        f"splines of a box, numbers x {factor!r}": lambda factor=factor: _in_box(
            steep(parts.splines(4, spline=parts.BOX), factor), steep(parts.masked_splines(4, spline=parts.BOX), factor)
        )
        for factor in (1.0, 10.0, 100.0)
    },
    **{
        f"circular splines, turned by {turn!r}": lambda turn=turn: _in_box(
            steep(parts.splines(4, spline=replace(parts.CIRCULAR, turn=turn)), 10.0)
        )
        for turn in (1e-300, 1e-9, 0.5, 1 - 2.0**-52)
    },
    "waves of frequency 1e4": lambda: parts.composed(_waving(1e4), parts.lu_layer(4)),
    "waves of frequency 1e30": lambda: parts.composed(_waving(1e30), parts.lu_layer(4)),
}


def _waving(frequency: float) -> SplineAutoregressive:
    """A coupling whose network begins with sines."""
    layer = parts.splines(4)
    ones = np.ones(len(layer.inputs))
    return replace(layer, network=(Wave(ones, frequency * ones, 0.5 * ones, 0.0 * ones), *layer.network))


_COMPOSED: dict[str, Callable[[], Any]] = {
    "one dimension": lambda: parts.composed(parts.lu_layer(1), LeakyReLU(0.1), parts.lu_layer(1, seed=1)),
    "one affine layer": lambda: layered(1, (Affine(np.array([2.0]), np.array([1.0])),)),
    **{
        f"affine {scale!r}": lambda scale=scale: parts.composed(_affine(3, scale), parts.lu_layer(3))
        for scale in (1e-300, 1e-30, 1e-6, 1e6, 1e30, 1e300)
    },
    **{
        f"slope {slope!r}": lambda slope=slope: parts.composed(parts.lu_layer(3), LeakyReLU(slope), parts.lu_layer(3))
        for slope in (1e-310, 1e-30, 1e-6, 1e6, 1e30)
    },
    **{
        f"log tanh of {cut!r} and {tail!r}": lambda cut=cut, tail=tail: parts.composed(
            parts.lu_layer(3), LogTanh(cut, tail), parts.lu_layer(3)
        )
        for cut, tail in ((1e-6, 1e-6), (1.0, 1e-6), (1.0, 1e6), (8.0, 0.1), (17.0, 0.1), (25.0, 1.0))
    },
    **{
        f"soft clip at {bound!r} and back": lambda bound=bound: parts.composed(
            parts.lu_layer(3), Softclip(bound), Inverse(Softclip(bound)), parts.lu_layer(3)
        )
        for bound in (1e-30, 1e-3, 1e3, 1e30)
    },
    "a logit without a margin": lambda: parts.composed(Inverse(Sigmoid()), parts.lu_layer(3)),
    "a logit with a margin of 1e-30": lambda: parts.composed(Inverse(Sigmoid(1e-30)), parts.lu_layer(3)),
    "a logit with a margin of 0.49": lambda: parts.composed(Inverse(Sigmoid(0.49)), parts.lu_layer(3)),
    "a uniform base": lambda: parts.composed(_affine(3, 0.5), Inverse(NormalCDF())),
    "a uniform base on a box of 1e-6": lambda: parts.composed(_affine(3, 1e6), Inverse(NormalCDF())),
    "a uniform base on a box of 1e30": lambda: parts.composed(_affine(3, 1e-30), Inverse(NormalCDF())),
    "a base that is uniform in one column": lambda: parts.composed(
        Inverse(NormalCDF(np.array([False, True, False]))), parts.lu_layer(3)
    ),
    "a normal cdf and back": lambda: parts.composed(
        parts.narrow(3), NormalCDF(), Inverse(NormalCDF()), parts.lu_layer(3)
    ),
    "the inverse of tanh": lambda: parts.composed(Inverse(Tanh()), parts.lu_layer(3)),
    "a soft box of 1e6": lambda: parts.composed(Inverse(Softclip(1e6)), _affine(3, 1e-6), parts.lu_layer(3)),
    "64 LU layers": lambda: parts.composed(*(parts.lu_layer(3, seed=seed) for seed in range(64))),
    "32 couplings": lambda: layered(4, tuple(parts.coupling(4, seed=seed) for seed in range(32))),
    **{
        f"clamped by {kind} {offset!r}": lambda kind=kind, offset=offset: parts.composed(
            parts.coupling(4, scale=parts.ScaleMap(kind, offset)), parts.lu_layer(4)
        )
        for kind, offset in (("atan", 10.0), ("atan", 40.0), ("tanh", 60.0), ("centred-atan", 20.0), ("tanh", 1e-30))
    },
    "clipped softplus": lambda: parts.composed(
        parts.coupling(4, scale=parts.ScaleMap("clipped-softplus", 3.0, 1e-30)), parts.lu_layer(4)
    ),
    "masked autoregressive": lambda: parts.composed(parts.masked(4), parts.lu_layer(4)),
    **_SPLINES,
}


def _cases() -> dict[str, Case]:
    found = {}
    for family, models in (("lunet", _LUNET), ("realnvp", _REALNVP), ("jko", _JKO), ("composed", _COMPOSED)):
        for name, make in models.items():
            for dtype in DTYPES:
                found[f"{family}, {name}, {dtype}"] = Case(make, {"dtype": dtype})
    models = {
        "lunet, condition 1e8": lambda: conditioned(6, 1e8),
        "lunet, condition 1e12": lambda: conditioned(6, 1e12),
        "lunet, units from 1 to 1e12": lambda: graded(6, 1e12),
        "lunet, one dimension": lambda: network(1, 3),
        "lunet, 64 blocks": lambda: network(3, 64, off_diagonal=0.1),
        "composed, one dimension": _COMPOSED["one dimension"],
        "composed, 64 LU layers": _COMPOSED["64 LU layers"],
    }
    for name, make in models.items():
        for solver in solvers.SOLVERS:
            for dtype in DTYPES:
                found[f"{name}, {solver}, {dtype}"] = Case(make, {"dtype": dtype, "solver": solver})
    return found


CASES = _cases()


def _wide(dim: int) -> Chain:
    return network(dim, 1, off_diagonal=0.05)


#: Minutes each.
HEAVY = {
    "realnvp, 4096 dimensions, float32": Case(lambda: realnvp.dense(4096, 32), alone=True),
    "jko, 4096 dimensions, float32": Case(lambda: jko.flow(4096, (16,), blocks=1, steps=1), alone=True),
    **{
        f"lunet, 4096 dimensions, {solver}, float32": Case(lambda: _wide(4096), {"solver": solver}, alone=True)
        for solver in ("fused", "unrolled")
    },
    "composed, 4096 dimensions, fused, float32": Case(
        lambda: parts.composed(parts.lu_layer(4096), LeakyReLU(0.5)), {"solver": "fused"}, alone=True
    ),
}
