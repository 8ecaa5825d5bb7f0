"""The context of a conditional flow: how many numbers it has, and what becomes of them before layers see them."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from torch import Tensor

from lunet_export.importers import networks
from lunet_export.importers.parts import NO_CONTEXT, Foreign, Given, Part, Refused
from lunet_export.layers import Context
from lunet_export.layers.networks import Network, Scaling


def given(parts: Iterable[Part | None], embedding: tuple[str, Foreign] | None = None, dim: int | None = None) -> Given:
    """Return the context that parts take.

    Args:
        parts: Parts that were read without a fixed context.
        embedding: Place and module of the network that embeds contexts.
        dim: Number of dimensions of a context, if the library's object tells it.
    """
    widths = [layer.takes_context for part in parts if part for layer in part.layers if layer.takes_context]
    if not widths:
        return Given()
    path, module = embedding or ("", None)
    try:
        network = () if module is None else networks.read(module)
    except Refused as refused:
        why = f"{refused}; give `context` to fix the flow to one"
        return Given(None, Part(path, type(module).__name__, refusal=why))
    dim = dim or networks.taking(network) or widths[0]
    shown = Part(path, type(module).__name__) if network else None
    return Given(Context(dim, _spread(network, dim)), shown)


def _spread(network: Network, dim: int) -> Network:
    """Return the network whose scalings before the first matrix have a number for each of the columns."""
    if not network or not isinstance(network[0], Scaling):
        return network
    first = network[0]
    if len(first.scale) == 1:
        first = Scaling(np.repeat(first.scale, dim), np.repeat(first.shift, dim))
    return (first, *_spread(network[1:], dim))


def repeated(context: Tensor | None, rows: Tensor) -> Tensor | None:
    """Return a context for each of the rows, from one for all, (1, ...), or one for each."""
    return None if context is None else context.expand(len(rows), *context.shape[1:])


def needed(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Return the parts of a flow that is never asked with a context: those that take one are refused."""
    return tuple(
        replace(part, layers=(), refusal=NO_CONTEXT) if any(layer.takes_context for layer in part.layers) else part
        for part in parts
    )
