"""z -> x: triangular solves as matrix products, inverse activations in as many steps as their dtype asks for."""

from math import log, pi

import numpy as np
import onnx

from lunet_export.families.lunet.graphs import activation
from lunet_export.families.lunet.graphs.density import log_products
from lunet_export.families.lunet.reference import Activation
from lunet_export.families.lunet.weights import LUNetWeights
from lunet_export.graphs import elementwise, solvers, triangular
from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.graphs.solvers import Solver
from lunet_export.lu import LUBlock


def build(
    weights: LUNetWeights,
    *,
    solver: Solver,
    dtype: str,
    products: str | None = None,
    with_log_prob: bool = False,
    draws_noise: bool = False,
    metadata: dict[str, str],
) -> onnx.ModelProto:
    """The sampling graph: z [batch, dim] -> x [batch, dim]; images are clamped to [0, largest float below levels].

    Args:
        weights: The model.
        solver: How its linear maps are inverted.
        dtype: Of all tensors.
        products: A shorter dtype for the matrix products alone.
        with_log_prob: Also gives log_prob [batch] in nats, of x before it is clamped.
        draws_noise: Takes `shape`, the two integers batch and dim, draws z itself and gives it too.
        metadata: For the file.
    """
    g = GraphBuilder("sampling", dim=weights.dim, dtype=dtype, products=products)
    inverse = activation.inverse_of(Activation.of(weights), dtype)
    z = h = g.random_normal("shape") if draws_noise else g.input("z")
    slopes: list[Value] = []
    for number in range(len(weights.blocks), 0, -1):
        with g.scope(f"block{number}"):
            h = solvers.solve(g, solver, h, scaled_block(weights, number, inverse))
        if number > 1:
            with g.scope(f"activation{number - 1}"):
                h = inverse.root(g, h)
                if with_log_prob:
                    slopes.append(inverse.slope(g, h))
    if with_log_prob:
        g.output("log_prob", _log_prob(g, weights, z, h, slopes), rows=False)
    if weights.preprocessing:
        with g.scope("inverse_logit"):
            h = elementwise.inverse_logit(g, h, weights.preprocessing)
    g.output("x", h)
    if draws_noise:
        g.output("z", z)
    return g.finish(metadata)


def scaled_block(weights: LUNetWeights, number: int, inverse: activation.Inverse) -> LUBlock:
    """Block `number` (from 1) in the units that its neighbours take: see `activation.Inverse`, `inverse_logit`."""
    block, offset = weights.blocks[number - 1], inverse.shift if number < len(weights.blocks) else 0.0
    if number > 1:
        scale = 1 / inverse.scale
        return triangular.rescaled(block, scale=scale, shift=-scale * inverse.shift, offset=offset)
    return triangular.rescaled(block, scale=-1.0 if weights.preprocessing else 1.0, offset=offset)


def _log_prob(g: GraphBuilder, weights: LUNetWeights, z: Value, last: Value, slopes: list[Value]) -> Value:
    """log N(z; 0, I) + sum log|det U| + sum log f' - log|dx/dh|, all at the points that sampling passed."""
    with g.scope("log_prob"):
        constant = -0.5 * weights.dim * log(2 * pi)
        constant += sum(log(abs(entry)) for block in weights.blocks for entry in np.diag(block.upper))
        terms = log_products(g, slopes, weights.alpha)
        if weights.preprocessing:
            term, shift = elementwise.inverse_logit_log_slope(g, last, weights.preprocessing)
            terms, constant = [*terms, term], constant + shift
        total = g.node("Mul", g.sum_columns(g.node("Mul", z, z)), -0.5)
        for term in terms:
            total = g.node("Add", total, g.sum_columns(term))
        return g.node("Add", total, constant)
