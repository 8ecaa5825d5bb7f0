"""The networks of other libraries' conditional parts, in the order in which ours give t and u."""

import numpy as np
from numpy.typing import NDArray

from lunet_export.importers import networks
from lunet_export.importers.parts import Foreign, Refused
from lunet_export.layers import AffineAutoregressive, ConditionalAffine, Inverse, Layer, ScaleMap
from lunet_export.layers.networks import Dense, Network


def interleaved(network: Network, *, shift: int) -> Network:
    """Turn a network that gives t and u of a column side by side into one that gives all t, then all u.

    Args:
        network: The network.
        shift: Place of t in a pair, 0 or 1.
    """
    count = networks.leaving(network)
    order = np.concatenate([np.arange(shift, count, 2), np.arange(1 - shift, count, 2)])
    return networks.after(network, np.eye(count)[order])


def coupling(
    inputs: NDArray[np.int64], changed: NDArray[np.int64], network: Network, scale: ScaleMap
) -> tuple[Layer, ...]:
    """Return the layer that changes the columns `changed` by a network of the columns `inputs`.

    Raises:
        Refused: if there are no such columns, or the network gives another count of numbers.
    """
    if not len(inputs) or not len(changed):
        raise Refused("it changes all columns or none")
    wanted = len(changed) * (1 if scale.kind == "none" else 2)
    if networks.leaving(network) != wanted:
        raise Refused(f"its network gives {networks.leaving(network)} numbers, not {wanted}")
    return (AffineAutoregressive(len(inputs) + len(changed), inputs, changed, network, scale),)


def conditional(network: Network, scale: ScaleMap) -> ConditionalAffine:
    """Return the layer whose network gives all t, then all u, of the context.

    Raises:
        Refused: if the network does not begin with a matrix, which says how many numbers a context has.
    """
    networks.entering(network)
    if not isinstance(network[-1], Dense):
        width = networks.leaving(network)
        network = (*network, Dense(np.eye(width), np.zeros(width)))
    return ConditionalAffine(network, scale)


def conditional_base(encoder: Foreign) -> tuple[Layer, ...]:
    """Return the layer that standardises a normal whose mean, then log of the standard deviation, an encoder gives."""
    return (Inverse(conditional(networks.read(encoder), ScaleMap("exp"))),)
