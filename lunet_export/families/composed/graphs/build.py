"""x -> z, log_prob and z -> x: the layers in a row, one way and the other."""

from functools import reduce
from math import log, pi

import numpy as np
import onnx

from lunet_export import lu
from lunet_export.families.composed.graphs import autoregressive, elementwise
from lunet_export.families.composed.graphs.run import LinearRun
from lunet_export.families.composed.layers import Affine, AffineAutoregressive, Inverse, Layer, Permutation
from lunet_export.families.composed.weights import ComposedWeights
from lunet_export.graphs import elementwise as preprocessing
from lunet_export.graphs import solvers, triangular
from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.graphs.solvers import Solver
from lunet_export.lu import LUBlock


def density(
    weights: ComposedWeights,
    *,
    solver: Solver,
    dtype: str,
    products: str | None = None,
    metadata: dict[str, str],
) -> onnx.ModelProto:
    """The density graph: x [batch, dim] -> z [batch, dim] and log_prob [batch] in nats, data space.

    L U is multiplied in float64; permutations and elementwise affine maps go into the products beside them. Layers that
    are turned round are solved by `solver`.
    """
    g = GraphBuilder("density", dim=weights.dim, dtype=dtype, products=products)
    rows = preprocessing.preprocessed(g, g.input("x"), weights.preprocessing)
    chain = _Chain(g, rows.h, solver)
    for number, layer in enumerate(weights.layers, 1):
        with g.scope(f"layer{number}"):
            chain.apply(layer, forth=True)
    z = chain.run.rows()
    with g.scope("log_prob"):
        log_prob = _log_prob(g, weights.dim, z, chain.terms, chain.constant + rows.constant, sign=1.0)
        if rows.inverse_slope:
            log_prob = g.node("Sub", log_prob, g.sum_columns(g.node("Log", rows.inverse_slope)))
    g.output("log_prob", log_prob, rows=False)
    g.output("z", z)
    return g.finish(metadata)


def sampling(
    weights: ComposedWeights,
    *,
    solver: Solver,
    dtype: str,
    products: str | None = None,
    with_log_prob: bool = False,
    draws_noise: bool = False,
    metadata: dict[str, str],
) -> onnx.ModelProto:
    """The sampling graph: z [batch, dim] -> x [batch, dim], clamped into the domain.

    Args:
        weights: The model.
        solver: How its LU layers are inverted.
        dtype: Of all tensors.
        products: A shorter dtype for the matrix products alone.
        with_log_prob: Also gives log_prob [batch] in nats, of x before it is clamped.
        draws_noise: Takes `shape`, the two integers batch and dim, draws z itself and gives it too.
        metadata: For the file.
    """
    g = GraphBuilder("sampling", dim=weights.dim, dtype=dtype, products=products)
    z = g.random_normal("shape") if draws_noise else g.input("z")
    chain = _Chain(g, z, solver)
    for number, layer in reversed(list(enumerate(weights.layers, 1))):
        with g.scope(f"layer{number}"):
            chain.apply(layer, forth=False)
    x, p = chain.run.rows(), weights.preprocessing
    if x == z:
        x = g.node("Identity", z)
    negative = g.node("Neg", x) if p else x
    if with_log_prob:
        with g.scope("log_prob"):
            log_prob = _log_prob(g, weights.dim, z, chain.terms, chain.constant, sign=-1.0)
            if p:
                term, shift = preprocessing.inverse_logit_log_slope(g, negative, p)
                log_prob = g.node("Add", g.node("Add", log_prob, g.sum_columns(term)), shift)
        g.output("log_prob", log_prob, rows=False)
    if p:
        with g.scope("inverse_logit"):
            x = preprocessing.inverse_logit(g, negative, p)
    g.output("x", _clamped(g, weights, x))
    if draws_noise:
        g.output("z", z)
    return g.finish(metadata)


class _Chain:
    """Layers applied one after another, and what they add to the log-determinant."""

    def __init__(self, g: GraphBuilder, h: Value, solver: Solver) -> None:
        self._g, self._solver = g, solver
        self.run = LinearRun(g, h)
        self.terms: list[tuple[Value, int]] = []  # with their numbers of columns
        self.constant = 0.0

    def apply(self, layer: Layer, *, forth: bool) -> None:
        """The layer in one direction."""
        if isinstance(layer, Inverse):
            self.apply(layer.layer, forth=not forth)
        elif isinstance(layer, Permutation):
            self.run.permute(layer.order if forth else np.argsort(layer.order))
        elif isinstance(layer, Affine):
            scale, shift = (layer.scale, layer.shift) if forth else (1 / layer.scale, -layer.shift / layer.scale)
            self.run.stretch(scale, shift)
            self.constant += float(np.log(np.abs(scale)).sum())
        elif isinstance(layer, LUBlock):
            self._linear(layer, forth=forth)
        elif isinstance(layer, AffineAutoregressive):
            self._autoregressive(layer, forth=forth)
        else:
            apply = elementwise.value if forth else elementwise.inverse
            moved, term, constant = apply(self._g, layer, self.run.rows())
            self.run.replace(moved)
            self.terms.append((term, self._g.dim))
            self.constant += self._g.dim * constant

    def _linear(self, block: LUBlock, *, forth: bool) -> None:
        self.constant += lu.log_abs_det(block) if forth else -lu.log_abs_det(block)
        if forth:
            self.run.product(triangular.product(block.lower, block.upper), block.bias)
        elif self._solver.name == "fused":
            upper, lower = triangular.inverse_upper(block.upper), triangular.inverse_lower(block.lower)
            inverse = triangular.reversed_product(upper, lower)
            self.run.product(inverse, -(inverse * block.bias).sum(axis=1))
        else:
            self.run.replace(solvers.solve(self._g, self._solver, self.run.rows(), block))

    def _autoregressive(self, layer: AffineAutoregressive, *, forth: bool) -> None:
        if forth:
            log_scale = autoregressive.encode(self._g, self.run, layer)
            self.terms += [] if log_scale is None else [(log_scale, len(layer.changed))]
            return
        found, constant = autoregressive.decode(self._g, self.run, layer)
        self.terms += found
        self.constant += constant


def _log_prob(
    g: GraphBuilder, dim: int, z: Value, terms: list[tuple[Value, int]], constant: float, *, sign: float
) -> Value:
    """log N(z; 0, I) + sign (the terms' sums + constant), [batch]; terms of one width are added first."""
    total = g.node("Mul", g.sum_columns(g.node("Mul", z, z)), -0.5)
    for width in dict.fromkeys(width for _, width in terms):
        added = reduce(lambda a, b: g.node("Add", a, b), [term for term, columns in terms if columns == width])
        total = g.node("Add" if sign > 0 else "Sub", total, g.sum_columns(added))
    return g.node("Add", total, sign * constant - 0.5 * dim * log(2 * pi))


def _clamped(g: GraphBuilder, weights: ComposedWeights, x: Value) -> Value:
    """x inside the domain, where it has borders."""
    if weights.domain is None:
        return x
    low, high = (end.astype(np.float64) for end in weights.domain.ends(g.dtype))
    limits = np.finfo(g.dtype)
    low, high = np.maximum(low, limits.min), np.minimum(high, limits.max)
    if (low == low[0]).all() and (high == high[0]).all():
        return g.node("Clip", x, float(low[0]), float(high[0]))
    return g.node("Min", g.node("Max", x, g.constant(low, "low")), g.constant(high, "high"))
