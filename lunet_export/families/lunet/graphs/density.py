"""x -> z, log_prob: one product a block, slopes multiplied before one logarithm."""

from functools import reduce
from math import log, pi

import numpy as np
import onnx

from lunet_export.families.lunet.graphs import activation
from lunet_export.families.lunet.reference import Activation
from lunet_export.families.lunet.weights import LUNetWeights
from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.graphs.elementwise import Preprocessed, preprocessed
from lunet_export.graphs.triangular import product

_SMALLEST_PRODUCT = 1e-26  # of slopes; divided by s r <= levels^2 / 4 it is still far above float32's 1e-38


def build(
    weights: LUNetWeights, *, dtype: str, products: str | None = None, metadata: dict[str, str]
) -> onnx.ModelProto:
    """The density graph: x [batch, dim] -> z [batch, dim] and log_prob [batch] in nats, data space.

    L U is multiplied in float64, and the scale of the activations' values is folded into the product behind
    them, so the linear maps cost one Gemm each.
    """
    g = GraphBuilder("density", dim=weights.dim, dtype=dtype, products=products)
    z, log_prob = of_network(g, weights, preprocessed(g, g.input("x"), weights.preprocessing))
    g.output("log_prob", log_prob, rows=False)
    g.output("z", z)
    return g.finish(metadata)


def of_network(
    g: GraphBuilder, weights: LUNetWeights, rows: Preprocessed, *, keep: bool = False
) -> tuple[Value, Value]:
    """z [batch, dim] and log_prob [batch], or [batch, 1] where the axis is kept, of one network."""
    f, h = Activation.of(weights), rows.h
    constant = -0.5 * weights.dim * log(2 * pi) + rows.constant
    slopes: list[Value] = []
    for number, block in enumerate(weights.blocks):
        matrix = product(block.lower, block.upper)
        if number:
            with g.scope(f"activation{number}"):
                h, slope = activation.scaled_value(g, h, f)
            slopes.append(slope)
            matrix = activation.scale_of(f) * matrix
        with g.scope(f"block{number + 1}"):
            h = g.gemm(h, matrix, block.bias)
        constant += sum(log(abs(entry)) for entry in np.diag(block.upper))
    with g.scope("log_prob"):
        energy = g.sum_columns(g.node("Mul", h, h), keep=keep)
        log_prob = g.node("Add", g.node("Mul", energy, -0.5), constant)
        for logs in log_products(g, slopes, weights.alpha, divisor=rows.inverse_slope):
            log_prob = g.node("Add", log_prob, g.sum_columns(logs, keep=keep))
    return h, log_prob


def log_products(g: GraphBuilder, slopes: list[Value], alpha: float, *, divisor: Value = "") -> list[Value]:
    """log of the product of groups of slopes, [batch, dim] each; a group is as long as its product stays normal.

    Slopes lie in [alpha, 1], so k of them multiply to alpha^k at least. The first group is divided by `divisor`.
    """
    length = max(1, int(log(_SMALLEST_PRODUCT) / log(alpha)))
    groups = [slopes[begin : begin + length] for begin in range(0, len(slopes), length)]
    factors = [reduce(lambda a, b: g.node("Mul", a, b), group) for group in groups]
    if divisor:
        factors = [g.node("Div", factors[0] if factors else 1.0, divisor), *factors[1:]]
    return [g.node("Log", factor) for factor in factors]
