"""Composed flows for the common tests: every kind of layer, in both directions."""

from dataclasses import replace

import numpy as np

from lunet_export.flows import layered
from lunet_export.layers import (
    LU,
    Affine,
    AffineAutoregressive,
    Chain,
    Inverse,
    Layer,
    LeakyReLU,
    LogTanh,
    NormalCDF,
    Permutation,
    RationalQuadratic,
    ScaleMap,
    Sigmoid,
    Softclip,
    SplineAutoregressive,
    Tanh,
    inverted,
)
from lunet_export.layers.networks import Activation, Dense, Network, Residual, Scaling, Wave
from tests.networks import network


def lu_layer(dim: int, *, seed: int = 0, diagonal_on: str = "upper") -> LU:
    """A layer whose triangle of that name has the diagonal, the other one ones."""
    (block,) = network(dim, 1, seed=seed).of(LU)
    if diagonal_on == "upper":
        return block
    scale = np.diag(block.upper)
    return LU(block.lower * scale, block.upper / scale[:, None], block.bias)


def narrow(dim: int, *, seed: int = 0) -> LU:
    """A layer that brings rows near 0."""
    block = lu_layer(dim, seed=seed)
    return LU(block.lower, 0.05 * block.upper, 0.1 * block.bias)


def permutation(dim: int, *, seed: int = 0) -> Permutation:
    return Permutation(np.random.default_rng(seed).permutation(dim).astype(np.int64))


def affine(dim: int, *, seed: int = 0) -> Affine:
    rng = np.random.default_rng(seed)
    return Affine(rng.choice([-1.0, 1.0], dim) * rng.uniform(0.5, 1.5, dim), rng.standard_normal(dim))


def dense(out: int, into: int, rng: np.random.Generator, *, scale: float = 0.7) -> Dense:
    return Dense(scale * rng.standard_normal((out, into)) / np.sqrt(into), 0.3 * rng.standard_normal(out))


def unit_box(dim: int) -> Affine:
    """A box of the base onto (0, 1)."""
    scale = np.linspace(0.25, 2.0, dim)
    return Affine(scale, np.linspace(-0.5, 0.7, dim))


SOME = np.array([True, False, True])
EXP, SOFTPLUS = ScaleMap("exp"), ScaleMap("softplus", 0.0, 1e-3)


def coupling(
    dim: int, *, seed: int = 0, scale: ScaleMap = EXP, inner: tuple[str, ...] = ("tanh",)
) -> AffineAutoregressive:
    """Every other column changes by the others."""
    rng = np.random.default_rng(seed)
    columns = np.arange(dim)
    changed, kept = columns[seed % 2 :: 2], np.setdiff1d(columns, columns[seed % 2 :: 2])
    out, width = len(changed) * (1 if scale.kind == "none" else 2), 9
    operations: list = [dense(width, len(kept), rng)]
    for name in inner:
        operations += [Activation(name, 0.1 if name == "leaky-relu" else 0.0), dense(width, width, rng)]
    operations += [Scaling(rng.uniform(0.5, 1.5, width), rng.standard_normal(width)), Activation("relu")]
    operations += [dense(out, width, rng, scale=0.3)]
    return AffineAutoregressive(dim, kept, changed, tuple(operations), scale)


def masked(dim: int, *, seed: int = 0, scale: ScaleMap = SOFTPLUS, residual: bool = False) -> AffineAutoregressive:
    """Column i changes by those before it, in an order of their own, as MADE has it (arXiv 1502.03509)."""
    rng, width = np.random.default_rng(seed), 4 * dim
    degree_in = np.random.default_rng(seed + 9).permutation(dim)
    degree = np.arange(width) % max(1, dim - 1)
    first, middle, last = dense(width, dim, rng), dense(width, width, rng), dense(2 * dim, width, rng, scale=0.4)
    first = replace(first, weight=first.weight * (degree[:, None] >= degree_in))
    middle = replace(middle, weight=middle.weight * (degree[:, None] >= degree))
    last = replace(last, weight=last.weight * (np.tile(degree_in, 2)[:, None] > degree))
    inside: Network = (Activation("elu"), middle)
    operations = (first, Residual(inside), Activation("silu"), last) if residual else (first, *inside, last)
    columns = np.arange(dim)
    return AffineAutoregressive(dim, columns, columns, operations, scale)


SPLINE = RationalQuadratic(5, -3.0, 3.0, "identity", 1e-3, 1e-3, 1e-3)
#: zuko's, whose slopes are e^ and whose bins have no least width.
BOX = RationalQuadratic(6, 0.0, 1.0, "box", 1e-3, 1e-2, 1e-3)
CIRCULAR = RationalQuadratic(3, 0.0, 1.0, "box", limit=4.0, turn=0.3)
EXP_SPLINE = RationalQuadratic(4, -5.0, 5.0, "identity", limit=6.9)


def splines(
    dim: int, *, seed: int = 0, spline: RationalQuadratic = SPLINE, inner: tuple[str, ...] = ("tanh",)
) -> SplineAutoregressive:
    """Every other column changes by the others."""
    affine = coupling(dim, seed=seed, scale=ScaleMap("none"), inner=inner)
    *others, last = affine.network
    out = dense(len(affine.changed) * spline.count, last.weight.shape[1], np.random.default_rng(seed))
    return SplineAutoregressive(dim, affine.inputs, affine.changed, (*others, out), spline)


def masked_splines(dim: int, *, seed: int = 0, spline: RationalQuadratic = SPLINE) -> SplineAutoregressive:
    """Column i changes by those before it."""
    affine = masked(dim, seed=seed, scale=ScaleMap("none"))
    *others, last = affine.network
    new = dense(dim * spline.count, last.weight.shape[1], np.random.default_rng(seed))
    shown = (last.weight[:dim] != 0).repeat(spline.count, axis=0)
    return SplineAutoregressive(
        dim, affine.inputs, affine.changed, (*others, replace(new, weight=new.weight * shown)), spline
    )


def fixed_splines(dim: int, *, seed: int = 0, spline: RationalQuadratic = SPLINE) -> SplineAutoregressive:
    """Every column changes by a spline of its own."""
    bias = 2 * np.random.default_rng(seed).standard_normal(dim * spline.count)
    nothing, columns = np.arange(0), np.arange(dim)
    return SplineAutoregressive(dim, nothing, columns, (Dense(np.zeros((len(bias), 0)), bias),), spline)


def beside_angles(dim: int, on_circle: np.ndarray, *, seed: int = 0) -> SplineAutoregressive:
    """Every other column changes by the others: by the sine of those on a circle, whose box is one turn long."""
    layer = splines(dim, seed=seed)
    circle = on_circle[layer.inputs].astype(np.float64)
    wave = Wave(1.5 * circle, np.pi / 3 * circle, 0.2 * circle, 1 - circle)
    return replace(layer, network=(wave, *layer.network), only_inside=on_circle[layer.changed])


def with_angles() -> Chain:
    """Columns on a circle, where the base is uniform, and others, where it is normal."""
    on_circle = np.array([False, False, True])
    onto = Affine(np.where(on_circle, 1 / 6, 1.0), np.where(on_circle, 0.5, 0.0))
    layers = (beside_angles(3, on_circle, seed=seed) for seed in range(3))
    return composed(*layers, onto, Inverse(NormalCDF(on_circle)), lu_layer(3))


def composed(*layers: Layer) -> Chain:
    """The layers in a row."""
    dims = (layer.width for layer in layers if layer.width)
    return layered(next(dims), layers)


def _stack(dim: int) -> list[Layer]:
    layers: list[Layer] = []
    for seed in range(3):
        layers += [permutation(dim, seed=seed), lu_layer(dim, seed=seed), affine(dim, seed=seed), LeakyReLU(0.3)]
    return [*layers, lu_layer(dim, seed=3)]


NETWORKS = {
    "plane": lambda: composed(*_stack(2)),
    "one dimension": lambda: composed(lu_layer(1), LeakyReLU(0.5), lu_layer(1, seed=1)),
    "LU layers in a row": lambda: composed(*(lu_layer(6, seed=seed) for seed in range(3)), affine(6)),
    "the diagonal on L": lambda: composed(
        *(lu_layer(5, seed=1, diagonal_on="lower"), Softclip(4.0), Inverse(Softclip(4.0)), lu_layer(5, seed=2))
    ),
    "turned round": lambda: composed(*inverted(_stack(7))),
    "leaky ReLU, steep to the left": lambda: composed(lu_layer(4), LeakyReLU(3.0), lu_layer(4, seed=1)),
    # Narrow between: what rounds to the end of an interval does not come back.
    "tanh and back": lambda: composed(narrow(3), Tanh(), Inverse(Tanh()), Inverse(narrow(3, seed=1))),
    "sigmoid and back": lambda: composed(narrow(3), Sigmoid(), Inverse(Sigmoid()), Inverse(narrow(3, seed=1))),
    "normal cdf and back": lambda: composed(narrow(3), NormalCDF(), Inverse(NormalCDF()), Inverse(narrow(3, seed=1))),
    "normal cdf in some columns": lambda: composed(
        *(narrow(3), NormalCDF(SOME), Inverse(NormalCDF(SOME)), lu_layer(3, seed=1))
    ),
    "a uniform base": lambda: composed(unit_box(3), Inverse(NormalCDF()), lu_layer(3)),
    "a base that is uniform in some columns": lambda: composed(
        *(affine(3), permutation(3, seed=4), Inverse(NormalCDF(SOME)), lu_layer(3), affine(3, seed=2))
    ),
    "log tanh": lambda: composed(lu_layer(4), LogTanh(1.0, 0.42), lu_layer(4, seed=1), Inverse(LogTanh(1.0, 0.3))),
    "a logit in front": lambda: composed(Inverse(Sigmoid(1e-6)), affine(4), lu_layer(4), LeakyReLU(0.2), lu_layer(4)),
    "another interval for every column": lambda: composed(
        *(affine(3), permutation(3, seed=4), Inverse(Sigmoid()), lu_layer(3), affine(3, seed=2))
    ),
    "couplings": lambda: composed(
        *(coupling(5), lu_layer(5), coupling(5, seed=1, scale=ScaleMap("sigmoid", 2.0, 1e-3), inner=("relu", "elu"))),
        *(permutation(5), coupling(5, seed=2, scale=ScaleMap("none"), inner=("leaky-relu", "silu", "sigmoid"))),
    ),
    "couplings, turned round": lambda: composed(
        *(Inverse(coupling(4, scale=ScaleMap("reciprocal-sigmoid", 2.0))), Inverse(lu_layer(4))),
        Inverse(coupling(4, seed=1, scale=ScaleMap("soft-exp", 6.9))),
    ),
    "clamped couplings": lambda: composed(
        *(coupling(5, scale=ScaleMap("atan", 1.6)), lu_layer(5), coupling(5, seed=1, scale=ScaleMap("tanh", 2.0))),
        *(permutation(5), coupling(5, seed=2, scale=ScaleMap("centred-atan", 1.2))),
        Inverse(coupling(5, seed=3, scale=ScaleMap("centred-tanh", 1.9))),
    ),
    "clipped couplings": lambda: composed(
        *(coupling(4, scale=ScaleMap("clipped-softplus", 0.8, 1e-3)), lu_layer(4)),
        Inverse(coupling(4, seed=1, scale=ScaleMap("clipped-softplus", 0.8, 1e-3))),
    ),
    "masked autoregressive": lambda: composed(masked(6), lu_layer(6), masked(6, seed=1, residual=True)),
    "spline couplings": lambda: composed(
        *(splines(5), lu_layer(5), splines(5, seed=1, spline=EXP_SPLINE, inner=("relu",)), affine(5)),
        *(fixed_splines(5), Inverse(splines(5, seed=2))),
    ),
    "masked splines": lambda: composed(masked_splines(3), lu_layer(3), masked_splines(3, seed=1, spline=EXP_SPLINE)),
    "inverse masked splines": lambda: composed(
        Inverse(masked_splines(3)), lu_layer(3), Inverse(fixed_splines(3, seed=1))
    ),
    # A box in front of a logit, which takes it to all of R; narrow behind it, as above.
    "splines of a box": lambda: composed(
        *(splines(4, spline=BOX), Inverse(masked_splines(4, seed=1, spline=BOX)), fixed_splines(4, spline=CIRCULAR)),
        *(Inverse(Sigmoid()), Inverse(narrow(4))),
    ),
    "splines of angles": with_angles,
    "inverse autoregressive": lambda: composed(Inverse(masked(4)), lu_layer(4), Inverse(masked(4, residual=True))),
}
PLANE = NETWORKS["plane"]
FACTS = {"kind": "composed", "layers": 13}


def smallest() -> Chain:
    """One layer of every kind that PLANE has, for a compiler."""
    return composed(permutation(2), lu_layer(2), affine(2), LeakyReLU(0.3), lu_layer(2, seed=3))


def changed(weights: Chain) -> Chain:
    """The same network with one number of its first LU layer moved by 3e-4 of itself or so."""
    number, first = next((k, layer) for k, layer in enumerate(weights.layers) if "LULinear" in layer.label)
    block = first.layer if isinstance(first, Inverse) else first
    upper = block.upper.copy()
    upper[-1, -1] *= 1 + 3e-4
    moved: Layer = replace(block, upper=upper)
    layers = list(weights.layers)
    layers[number] = Inverse(moved) if isinstance(first, Inverse) else moved
    return replace(weights, layers=tuple(layers))
