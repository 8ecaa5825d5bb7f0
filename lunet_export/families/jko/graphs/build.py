"""x -> z, log_prob and z -> x: the blocks in a row, one way and the other."""

from math import fsum, log, pi

import numpy as np
import onnx
from numpy.typing import NDArray

from lunet_export.families.jko.graphs.integration import BlockGraph, divergences
from lunet_export.families.jko.reference import QUADRATURE
from lunet_export.families.jko.weights import JKOWeights
from lunet_export.graphs import elementwise
from lunet_export.graphs.builder import GraphBuilder, Value

Array = NDArray[np.float64]


def density(
    weights: JKOWeights,
    *,
    dtype: str,
    products: str | None = None,
    with_probe: bool = False,
    metadata: dict[str, str],
) -> onnx.ModelProto:
    """The density graph: x [batch, dim] -> z [batch, dim] and log_prob [batch] in nats, data space.

    Args:
        weights: The model.
        dtype: Of all tensors.
        products: A shorter dtype for the matrix products alone.
        with_probe: Takes `probe` [batch, dim] too and gives `log_prob_estimate`, by Hutchinson's estimate along it.
        metadata: For the file.
    """
    g = GraphBuilder("density", dim=weights.dim, dtype=dtype, products=products)
    rows = elementwise.preprocessed(g, g.input("x"), weights.preprocessing)
    probe = g.input("probe") if with_probe else None
    y, offset = _whitened(g, weights, rows.h)
    z, log_prob = _encoded(g, weights, y, offset, probe=probe, constant=rows.constant + _log_det_root(weights))
    if rows.inverse_slope:
        log_prob = g.node("Sub", log_prob, g.sum_columns(g.node("Log", rows.inverse_slope)))
    g.output("log_prob_estimate" if with_probe else "log_prob", log_prob, rows=False)
    g.output("z", z)
    return g.finish(metadata)


def sampling(
    weights: JKOWeights,
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
        with_log_prob: Also gives log_prob [batch] in nats, of x before it is clamped: that of the density graph, which
            integrates x forth. Summed on the way back it would be that of the flow too, but another in its last digits.
        draws_noise: Takes `shape`, the two integers batch and dim, draws z itself and gives it too.
        metadata: For the file.
    """
    g = GraphBuilder("sampling", dim=weights.dim, dtype=dtype, products=products)
    z = g.random_normal("shape") if draws_noise else g.input("z")
    y, offset = z, np.zeros(weights.dim)
    for number, field in reversed(list(enumerate(weights.fields, 1))):
        block = BlockGraph(g, field, weights.beta, weights.steps, offset - field.layers[-1][1])
        with g.scope(f"block{number}"):
            y, offset = block.back(y), block.offset
    p = weights.preprocessing
    inverse = np.asarray(np.linalg.inv(weights.root), dtype=np.float64)
    sign = -1.0 if p else 1.0
    with g.scope("whitening"):
        x = g.gemm(y, sign * inverse, sign * (inverse @ offset + weights.centre))
    if with_log_prob:
        with g.scope("density"):
            _, log_prob = _encoded(g, weights, y, offset, constant=_log_det_root(weights))
            if p:
                term, shift = elementwise.inverse_logit_log_slope(g, x, p)
                log_prob = g.node("Add", g.node("Add", log_prob, g.sum_columns(term)), shift)
        g.output("log_prob", log_prob, rows=False)
    if p:
        with g.scope("inverse_logit"):
            x = elementwise.inverse_logit(g, x, p)
    g.output("x", x)
    if draws_noise:
        g.output("z", z)
    return g.finish(metadata)


def _whitened(g: GraphBuilder, weights: JKOWeights, h: Value) -> tuple[Value, Array]:
    """R h, and what must be added to it: -R m."""
    with g.scope("whitening"):
        return g.gemm(h, weights.root), -weights.root @ weights.centre


def _log_det_root(weights: JKOWeights) -> float:
    return fsum(np.log(np.diag(weights.root)))


def _encoded(
    g: GraphBuilder,
    weights: JKOWeights,
    y: Value,
    offset: Array,
    *,
    probe: Value | None = None,
    constant: float,
) -> tuple[Value, Value]:
    """z [batch, dim] and log N(z; 0, I) + sum_k int div v_k + constant [batch], of h_0 = y + offset."""
    terms = []
    for number, field in enumerate(weights.fields, 1):
        block = BlockGraph(g, field, weights.beta, weights.steps, offset)
        with g.scope(f"block{number}"):
            y, evaluations = block.forth(y)
            terms.append(divergences(g, evaluations, field, probe))
        offset = block.end
    z = g.node("Add", y, g.constant(offset, "offset"))
    with g.scope("log_prob"):
        shares = np.tile(QUADRATURE, len(weights.fields) * weights.steps) / weights.steps
        integral = g.sum_columns(g.node("Mul", g.concat(terms), g.constant(shares, "quadrature")))
        energy = g.node("Mul", g.sum_columns(g.node("Mul", z, z)), -0.5)
        base = g.node("Add", energy, constant - 0.5 * weights.dim * log(2 * pi))
        return z, g.node("Add", integral, base)
