"""RealNVPs before training: couplings that are the identity, each followed by a norm while it trains."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import BadInputError
from lunet_export.flows import RealNVP
from lunet_export.flows.realnvp import cells, channels, checkerboard
from lunet_export.layers import Chain, Context
from lunet_export.preprocessing import Logit
from lunet_export.torch_layers import Bijection, Flow, bijection_of
from lunet_export.torch_layers.coupling import AffineCoupling, FlowNorm
from lunet_export.torch_layers.coupling_networks import Convolutions, Dense
from lunet_export.torch_layers.permutation import Reordering

COUPLINGS = 6  # couplings of the dense network, and of the convolutional one's two scales


def convolutional(
    image_shape: tuple[int, ...], *, planes: int = 64, final: int = 3, preprocessing: Logit | None = None
) -> Flow:
    """Return the network that the LU-Net paper compared with: for (28, 28) it has 5,388,264 parameters.

    It has three couplings on the image with checkerboards; the image's 2 x 2 cells become 4 channels; three couplings
    with masks of channels; two of the channels are left as they are; `final` couplings on the others, with
    checkerboards and twice the planes.

    Raises:
        BadInputError: if the image has colours, or a side that is odd.
    """
    if len(image_shape) != 2 or image_shape[0] % 2 or image_shape[1] % 2:
        raise BadInputError(
            f"Expected grey images of even sides for realnvp; got the shape {image_shape}. "
            "Take realnvp-dense, or lunet."
        )
    height, width = image_shape
    half = (height // 2, width // 2)
    layers: list[Bijection] = []
    for number in range(3):
        layers += _convolutional((1, height, width), checkerboard((1, height, width), number), planes)
    layers.append(Reordering(cells((height, width))))
    for number in range(3, COUPLINGS):
        layers += _convolutional((4, *half), channels((4, *half), number), planes)
    for number in range(COUPLINGS, COUPLINGS + final):
        layers += _convolutional((2, *half), checkerboard((2, *half), number), 2 * planes)
    return _flow(height * width, layers, preprocessing)


def dense(dim: int, *, hidden: int, couplings: int = COUPLINGS, preprocessing: Logit | None = None) -> Flow:
    """Return couplings that change one half of the columns by the other, in turn; every other column comes first.

    Their networks have two hidden layers of `hidden` numbers.

    Raises:
        BadInputError: if there is a single dimension.
    """
    if dim < 2:
        raise BadInputError("Expected at least 2 dimensions for realnvp-dense; got 1. Take lunet.")
    order, first = np.arange(dim), (dim + 1) // 2
    layers: list[Bijection] = [Reordering(np.concatenate([order[::2], order[1::2]]))]
    for number in range(couplings):
        mask = (order < first) == (number % 2 == 0)
        kept = int(mask.sum())
        net = Dense([kept, hidden, hidden, 2 * (dim - kept)])
        layers += [AffineCoupling((dim,), mask, (net,)), FlowNorm(dim)]
    return _flow(dim, layers, preprocessing)


def normed(chain: Chain) -> Flow:
    """Return the flow of a chain, in float64, with a norm behind every coupling again."""
    layers: list[Bijection] = []
    for module in map(bijection_of, chain.layers):
        layers += [module, FlowNorm(module.width)] if isinstance(module, AffineCoupling) else [module]
    flow = _flow(chain.dim, layers, chain.preprocessing, chain.context)
    if flow.of_context is not None:
        flow.of_context.hold_scalings()  # the standardisation
    return flow


def _flow(dim: int, layers: Iterable[Bijection], preprocessing: Logit | None, context: Context | None = None) -> Flow:
    return Flow(dim, layers, RealNVP(), preprocessing=preprocessing, context=context)


def _convolutional(shape: tuple[int, int, int], mask: NDArray[np.bool_], planes: int) -> list[Bijection]:
    nets = (Convolutions(shape[0], planes), Convolutions(shape[0], planes))
    return [AffineCoupling(shape, mask, nets), FlowNorm(mask.size)]
