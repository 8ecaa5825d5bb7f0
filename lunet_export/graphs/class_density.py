"""x -> class_log_prob, log_prob, posterior: the networks of all classes side by side, then a sum of exponentials.

With j_c = log p_c(x) + log pi_c and m = max_c j_c, which no provider needs cuDNN for when it is taken column by column:
    s = sum_c e^(j_c - m),    log p(x) = m + log s,    p(c | x) = e^(j_c - m) / s.
s lies between 1 and the number of classes, however far down all j_c are.
"""

from functools import reduce

import numpy as np
import onnx

from lunet_export.errors import BadInputError
from lunet_export.graphs import solvers
from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.graphs.elementwise import preprocessed
from lunet_export.graphs.frame import Frame
from lunet_export.layers import Chain
from lunet_export.weights import Mixture

#: Every row runs through all of them.
MOST_CLASSES = 32


def build(mixture: Mixture[Chain], *, dtype: str, metadata: dict[str, str]) -> onnx.ModelProto:
    """The density graph of a mixture: x [batch, dim] -> class_log_prob, posterior [batch, classes], log_prob [batch].

    Log densities are in nats, data space. A class whose log density overflows counts with the lowest number of the
    dtype, so that the posterior of such a row is a number too.

    Raises:
        BadInputError: More than 32 classes.
    """
    count = len(mixture.networks)
    if count > MOST_CLASSES:
        raise BadInputError(
            f"Expected at most {MOST_CLASSES} classes in one graph; got {count}. Export groups of them."
        )
    g = GraphBuilder("density", dim=mixture.dim, dtype=dtype)
    rows = preprocessed(g, g.input("x"), mixture.preprocessing)
    columns = []
    for number, network in enumerate(mixture.networks):
        with g.scope(f"class{number}"):
            columns.append(
                Frame(network, solvers.choose("unrolled", None, mixture.dim), dtype).encoded(g, rows, keep=True)[1]
            )
    class_log_prob = g.concat(columns)
    with g.scope("mixture"):
        log_prob, posterior = mixed(g, class_log_prob, np.log(mixture.priors))
    g.output("class_log_prob", class_log_prob, width=count)
    g.output("log_prob", log_prob, rows=False)
    g.output("posterior", posterior, width=count)
    return g.finish(metadata)


def mixed(g: GraphBuilder, class_log_prob: Value, log_priors: np.ndarray) -> tuple[Value, Value]:
    """log_prob [batch] and posterior [batch, classes] of class_log_prob [batch, classes]; log_priors (classes,)."""
    joint = g.node("Add", class_log_prob, g.constant(log_priors, "log_priors"))
    joint = g.node("Max", joint, float(np.finfo(g.dtype).min))
    columns = g.split(joint, [1] * len(log_priors))
    largest = reduce(lambda a, b: g.node("Max", a, b), columns)
    shares = g.node("Exp", g.node("Sub", joint, largest))
    total = g.sum_columns(shares, keep=True)
    log_prob = g.sum_columns(g.node("Add", g.node("Log", total), largest))  # of one column: [batch, 1] -> [batch]
    return log_prob, g.node("Div", shares, total)
