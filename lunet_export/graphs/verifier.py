"""z -> x in Gemm and LeakyRelu alone, with slopes in (0, 1], which is what verifiers of piecewise linear networks read.

The inverse of leaky ReLU with slope a is leaky ReLU with slope 1/a > 1, which verifiers refuse. It folds:

    LReLU_{1/a}(y) = -(1/a) LReLU_a(-y)

(y < 0: -(1/a)(-y) = y/a; y >= 0: -(1/a)(-a y) = y), so -1 goes into the Gemm before and -1/a into the one behind. With
A_m = L_m U_m, inverted in float64, and M blocks:

    u_M = -A_M^-1 (z - b_M)
    v_m = LReLU_a(u_m),    u_{m-1} = -A_{m-1}^-1 (-(1/a) v_m - b_{m-1})    for m = M .. 2
    x = -u_1

One Gemm per block, one LeakyRelu between two. x is the network's own input: where a logit stands before it, x is h, the
logit of the pixels, since the map from there to the pixels is not piecewise linear.
"""

from collections.abc import Iterator
from math import log, pi

import numpy as np
import onnx
from numpy.typing import NDArray

from lunet_export.errors import BadInputError
from lunet_export.flows import LUNet
from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.layers import LU, Chain, LeakyReLU, triangular

Array = NDArray[np.float64]

OPSET = 13
OPERATORS = frozenset({"Gemm", "LeakyRelu"})


def validate_piecewise_linear(weights: Chain) -> None:
    """Raise unless the network is piecewise linear.

    Raises:
        BadInputError: if its activation is not leaky ReLU with one slope.
    """
    assert isinstance(weights.kind, LUNet)
    if weights.kind.activation != LeakyReLU.option:
        activation = weights.kind.activation.replace("-", " ")
        raise BadInputError(
            f"Expected an LU-Net with leaky ReLU for a verifier; this one has {activation}, "
            "which is not piecewise linear. Train one with `activation='leaky-relu'`."
        )
    if weights.kind.alpha is None:
        raise BadInputError(
            "Expected an LU-Net with one slope for a verifier, whose LeakyRelu has one; this one has its own slope per "
            "unit or layer. Train one with `alpha=0.1`."
        )


def build(weights: Chain, *, with_log_prob: bool = False, metadata: dict[str, str]) -> onnx.ModelProto:
    """Return the generator: z [1, D] -> x [1, D], float32.

    Args:
        weights: Model with leaky ReLU. Its pre-processing is left out.
        with_log_prob: Whether the graph also gives log_prob [1] of x in nats; for replays, in operators that verifiers
            do not know.
        metadata: Metadata of the file.

    Raises:
        BadInputError: if the activation is another, or a weight is too large for float32.
    """
    validate_piecewise_linear(weights)
    g = GraphBuilder("generator", dim=weights.dim, dtype="float32", rows=1, opset=OPSET)
    z = h = g.input("z")
    activation_inputs: list[Value] = []
    for number, (matrix, bias) in zip(range(len(weights.of(LU)), 0, -1), folded(weights), strict=True):
        with g.scope(f"block{number}"):
            h = g.gemm(h, matrix, bias)
        if number > 1:
            activation_inputs.append(h)
            with g.scope(f"activation{number - 1}"):
                h = g.node("LeakyRelu", h, alpha=_alpha(weights))
    g.output("x", h)
    if with_log_prob:
        g.output("log_prob", _log_prob(g, weights, z, activation_inputs), rows=False)
    return g.finish(metadata)


def folded(weights: Chain) -> Iterator[tuple[Array, Array]]:
    """Yield matrix and bias of each Gemm from z on, with signs and slopes folded in."""
    last = len(weights.of(LU))
    for number in range(last, 0, -1):
        block = weights.of(LU)[number - 1]
        inverse = triangular.reversed_product(
            triangular.inverse_upper(block.upper), triangular.inverse_lower(block.lower)
        )
        before = 1.0 if number == last else -1.0 / _alpha(weights)
        behind = 1.0 if number == 1 else -1.0
        yield behind * before * inverse, -behind * (inverse * block.bias).sum(axis=1)


def _log_prob(g: GraphBuilder, weights: Chain, z: Value, activation_inputs: list[Value]) -> Value:
    """Write log N(z; 0, I) + sum log|det U| + log a for every unit on its left branch, where u = -y is positive."""
    with g.scope("log_prob"):
        constant = -0.5 * weights.dim * log(2 * pi)
        constant += sum(log(abs(entry)) for block in weights.of(LU) for entry in np.diag(block.upper))
        total = g.node("Mul", g.sum_columns(g.node("Mul", z, z)), -0.5)
        for u in activation_inputs:
            slopes = g.node("Where", g.node("Greater", u, 0.0), log(_alpha(weights)), 0.0)
            total = g.node("Add", total, g.sum_columns(slopes))
        return g.node("Add", total, constant)


def _alpha(weights: Chain) -> float:
    assert isinstance(weights.kind, LUNet)
    assert weights.kind.alpha is not None
    return weights.kind.alpha
