"""The graphs of a mixture: x -> class_log_prob, log_prob, posterior, and the sampling graphs of its flows.

The density has the nodes of all flows side by side, then a sum of exponentials. With j_c = log p_c(x) + log pi_c and
m = max_c j_c, taken column by column so that no provider needs cuDNN for it:
    s = sum_c e^(j_c - m),    log p(x) = m + log s,    p(c | x) = e^(j_c - m) / s.
s lies between 1 and the number of classes, however small all j_c are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray

from lunet_export.artifact import graph_of
from lunet_export.distribution import Distribution, Mixture
from lunet_export.errors import BadInputError
from lunet_export.graphs import sizes
from lunet_export.graphs.blueprint import Blueprint
from lunet_export.graphs.builder import GraphBuilder, Value
from lunet_export.graphs.elementwise import preprocessed
from lunet_export.graphs.settings import ExportSettings
from lunet_export.layers import Chain

#: Every row runs through all of them.
MOST_CLASSES = 32


@dataclass(frozen=True)
class MixtureBlueprint:
    """This blueprint builds a mixture's graphs from the blueprints of its flows; it is used as a `Blueprint` is."""

    weights: Mixture[Chain]  # with what was chosen for its flows
    settings: ExportSettings
    components: tuple[Blueprint, ...]

    @classmethod
    def choose(
        cls, mixture: Mixture[Chain], settings: ExportSettings, own: Sequence[ExportSettings] | None = None
    ) -> Self:
        """Return the blueprint that the settings ask for, for every flow; `own` gives each flow its own settings.

        Raises:
            BadInputError: if a setting does not fit, there are more than 32 classes, or a graph would exceed 2 GB.
        """
        if settings.rng or settings.hutchinson:
            raise BadInputError(
                "Expected neither `rng` nor `hutchinson` for one network per class; export a class's own "
                "file for these."
            )
        validate_class_count(len(mixture.components))
        layers = [layer for component in mixture.components for layer in component.layers]
        numbers = sum(layer.free if layer.solves else layer.stored for layer in layers)  # L and U are one product
        cure = "Use `dtype='float32'`, or fewer classes or blocks."
        sizes.validate_size(numbers, settings.products or settings.tensors, cure, "a density graph")
        given = own or [settings] * len(mixture.components)
        found = tuple(Blueprint.choose(*pair) for pair in zip(mixture.components, given, strict=True))
        chosen = replace(mixture, components=tuple(blueprint.weights for blueprint in found))
        return cls(chosen, settings, found)

    def build(self, name: str, metadata: dict[str, str]) -> onnx.ModelProto:
        """Return the graph of that name: the density, or the sampling graph of a class."""
        kind, number = graph_of(name)
        if number is not None:
            return self.components[number].build(kind, metadata)
        s = self.settings
        return density(self.components, self.weights.priors, dtype=s.tensors, products=s.products, metadata=metadata)

    def round_trip(self, x: NDArray[np.float64]) -> None:
        """Return None: a mixture has no x -> z -> x."""
        del x

    def alternatives(self) -> list[dict[str, Any]]:
        """Return no alternatives: other choices were not compared."""
        return []

    def remark(self) -> str:
        """Return one line about the model, for a user."""
        return f"{len(self.components)} classes: {', '.join(self.weights.names)}"


def blueprint_of(
    model: Distribution, settings: ExportSettings, *, compare: bool = False
) -> Blueprint | MixtureBlueprint:
    """Return the blueprint of a flow or a mixture; `compare` is that of `Blueprint.choose`, for a flow alone.

    Raises:
        BadInputError: as `Blueprint.choose` and `MixtureBlueprint.choose` do.
    """
    if isinstance(model, Mixture):
        return MixtureBlueprint.choose(model, settings)
    return Blueprint.choose(model, settings, compare=compare)


def flows_of(blueprint: Blueprint | MixtureBlueprint) -> tuple[Blueprint, ...]:
    """Return the blueprints of a mixture's flows, or that of the flow itself where it is one."""
    return blueprint.components if isinstance(blueprint, MixtureBlueprint) else (blueprint,)


def density(
    components: Sequence[Blueprint],
    priors: Sequence[float],
    *,
    dtype: str,
    products: str | None = None,
    metadata: dict[str, str],
) -> onnx.ModelProto:
    """Return the density graph of a mixture: x [batch, dim] -> class_log_prob, posterior, log_prob.

    The first two are [batch, classes], the last is [batch]. Log densities are in nats, data space. A class whose log
    density overflows counts with the lowest number of the dtype, so that the posterior of such a row is a number too.

    Args:
        components: Blueprint of every class.
        priors: Priors of the classes.
        dtype: Dtype of all tensors.
        products: Shorter dtype for the matrix products alone.
        metadata: Metadata of the file.

    Raises:
        BadInputError: if there are more than 32 classes.
    """
    validate_class_count(len(components))
    model, count = components[0].weights, len(components)
    g = GraphBuilder("density", dim=model.dim, dtype=dtype, products=products)
    rows = preprocessed(g, g.input("x"), model.preprocessing)
    columns = []
    for number, component in enumerate(components):
        with g.scope(f"class{number}"):
            columns.append(component.log_prob_nodes(g, rows))
    class_log_prob = g.concat(columns)
    with g.scope("mixture"):
        log_prob, posterior = mixed(g, class_log_prob, np.log(priors))
    g.output("class_log_prob", class_log_prob, width=count)
    g.output("log_prob", log_prob, rows=False)
    g.output("posterior", posterior, width=count)
    return g.finish(metadata)


def mixed(g: GraphBuilder, class_log_prob: Value, log_priors: np.ndarray) -> tuple[Value, Value]:
    """Write log_prob [batch] and posterior [batch, classes] of class_log_prob [batch, classes].

    `log_priors` is (classes,).
    """
    joint = g.node("Add", class_log_prob, g.constant(log_priors, "log_priors"))
    joint = g.node("Max", joint, float(np.finfo(g.dtype).min))
    columns = g.split(joint, [1] * len(log_priors))
    largest = reduce(lambda a, b: g.node("Max", a, b), columns)
    shares = g.node("Exp", g.node("Sub", joint, largest))
    total = g.sum_columns(shares, keep=True)
    log_prob = g.sum_columns(g.node("Add", g.node("Log", total), largest))  # one column: [batch, 1] -> [batch]
    return log_prob, g.node("Div", shares, total)


def validate_class_count(classes: int) -> None:
    """Raise where one graph would hold too many classes.

    Raises:
        BadInputError: if there are more than 32.
    """
    if classes > MOST_CLASSES:
        raise BadInputError(
            f"Expected at most {MOST_CLASSES} classes in one graph; got {classes}. Export groups of them."
        )
