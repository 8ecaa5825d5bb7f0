"""x -> z, log_prob and z -> x: the couplings in a row, one way and the other."""

from functools import reduce
from math import fsum, log, pi

import numpy as np
import onnx

from lunet_export.families.realnvp.graphs import coupling
from lunet_export.families.realnvp.graphs.columns import Columns
from lunet_export.families.realnvp.weights import RealNVPWeights, Reorder
from lunet_export.graphs import elementwise
from lunet_export.graphs.builder import GraphBuilder, Value


def density(
    weights: RealNVPWeights, *, dtype: str, products: str | None = None, metadata: dict[str, str]
) -> onnx.ModelProto:
    """The density graph: x [batch, dim] -> z [batch, dim] and log_prob [batch] in nats, data space."""
    g = GraphBuilder("density", dim=weights.dim, dtype=dtype, products=products)
    rows = elementwise.preprocessed(g, g.input("x"), weights.preprocessing)
    columns, terms = Columns(g, rows.h, weights.dim), {}
    number = 0
    for layer in weights.layers:
        if isinstance(layer, Reorder):
            _reorder(g, columns, layer.order)
            continue
        number += 1
        with g.scope(f"coupling{number}"):
            terms[number] = coupling.encode(g, columns, layer)
    z = columns.whole()
    with g.scope("log_prob"):
        log_prob = _log_prob(g, weights, z, list(terms.values()), constant=rows.constant)
        if rows.inverse_slope:
            log_prob = g.node("Sub", log_prob, g.sum_columns(g.node("Log", rows.inverse_slope)))
    g.output("log_prob", log_prob, rows=False)
    g.output("z", z)
    return g.finish(metadata)


def sampling(
    weights: RealNVPWeights,
    *,
    dtype: str,
    products: str | None = None,
    with_log_prob: bool = False,
    draws_noise: bool = False,
    metadata: dict[str, str],
) -> onnx.ModelProto:
    """The sampling graph: z [batch, dim] -> x [batch, dim]; images are clamped to [0, largest float below levels].

    Args:
        weights: The model.
        dtype: Of all tensors.
        products: A shorter dtype for the matrix products alone.
        with_log_prob: Also gives log_prob [batch] in nats, of x before it is clamped.
        draws_noise: Takes `shape`, the two integers batch and dim, draws z itself and gives it too.
        metadata: For the file.
    """
    g = GraphBuilder("sampling", dim=weights.dim, dtype=dtype, products=products)
    z = g.random_normal("shape") if draws_noise else g.input("z")
    columns, terms = Columns(g, z, weights.dim), []
    number = len(weights.couplings)
    for layer in reversed(weights.layers):
        if isinstance(layer, Reorder):
            _reorder(g, columns, np.argsort(layer.order))
            continue
        with g.scope(f"coupling{number}"):
            terms.append(coupling.decode(g, columns, layer))
        number -= 1
    x = columns.whole()
    p = weights.preprocessing
    negative = g.node("Neg", x) if p else x
    if with_log_prob:
        with g.scope("log_prob"):
            log_prob = _log_prob(g, weights, z, [g.node("Neg", term) for term in terms])
            if p:
                term, shift = elementwise.inverse_logit_log_slope(g, negative, p)
                log_prob = g.node("Add", g.node("Add", log_prob, g.sum_columns(term)), shift)
        g.output("log_prob", log_prob, rows=False)
    if p:
        with g.scope("inverse_logit"):
            x = elementwise.inverse_logit(g, negative, p)
    g.output("x", x)
    if draws_noise:
        g.output("z", z)
    return g.finish(metadata)


def _reorder(g: GraphBuilder, columns: Columns, order: np.ndarray) -> None:
    index = g.constant(order.astype(np.int64), "order")
    columns.replace([g.node("Gather", columns.whole(), index, axis=1)])


def _log_prob(
    g: GraphBuilder, weights: RealNVPWeights, z: Value, terms: list[Value], *, constant: float = 0.0
) -> Value:
    """log N(z; 0, I) + sum S + constant, [batch]; `terms` are S less log_scale of each coupling."""
    constant += -0.5 * weights.dim * log(2 * pi) + fsum(v for entry in weights.couplings for v in entry.log_scale)
    sums = [g.sum_columns(term) for term in terms]
    total = reduce(lambda a, b: g.node("Add", a, b), sums)
    energy = g.node("Mul", g.sum_columns(g.node("Mul", z, z)), -0.5)
    return g.node("Add", g.node("Add", total, constant), energy)
