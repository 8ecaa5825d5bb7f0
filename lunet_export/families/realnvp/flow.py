"""RealNVP in PyTorch: the convolutional network of the LU-Net paper's Table 1, and a dense one."""

from collections.abc import Iterable
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lunet_export.errors import BadInputError
from lunet_export.families.realnvp.bijections import AffineCoupling, FlowNorm, Reordering
from lunet_export.families.realnvp.modules import Convolutions, Dense
from lunet_export.families.realnvp.weights import Coupling, RealNVPWeights, Reorder
from lunet_export.flows import Bijection, Chain, Flow, LogitPreprocessing
from lunet_export.preprocessing import Logit

COUPLINGS = 6  # of the dense network, and of the two scales of the convolutional one


class RealNVP(Flow):
    """The flow of arXiv 1605.08803: logit (for images), then affine couplings, each followed by a norm while it trains.

    Args:
        dim: Number of dimensions D.
        layers: Couplings, norms and changes of order.
        preprocessing: Settings of the logit for grey levels, None for vectors.
    """

    family = "realnvp"

    def __init__(self, dim: int, layers: Iterable[Bijection], *, preprocessing: Logit | None = None) -> None:
        super().__init__()
        self.dim, self.preprocessing = dim, preprocessing
        self.chain = Chain([*([LogitPreprocessing(preprocessing)] if preprocessing else []), *layers])

    @classmethod
    def convolutional(
        cls, image_shape: tuple[int, ...], *, planes: int = 64, final: int = 3, preprocessing: Logit | None = None
    ) -> Self:
        """The network that the LU-Net paper compared with: of (28, 28), 5,388,264 parameters.

        Three couplings on the image with checkerboards; its 2 x 2 cells become 4 channels; three couplings with masks
        of channels; two of the channels are left as they are; `final` couplings on the others, with checkerboards and
        twice the planes.

        Raises:
            BadInputError: The image has colours, or a side that is odd.
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
            layers += _convolutional((1, height, width), _checkerboard((1, height, width), number), planes)
        cells = np.arange(height * width).reshape(half[0], 2, half[1], 2)
        layers.append(Reordering(cells.transpose(1, 3, 0, 2).ravel()))
        for number in range(3, COUPLINGS):
            layers += _convolutional((4, *half), _upper_channels((4, *half), number), planes)
        for number in range(COUPLINGS, COUPLINGS + final):
            layers += _convolutional((2, *half), _checkerboard((2, *half), number), 2 * planes)
        return cls(height * width, layers, preprocessing=preprocessing)

    @classmethod
    def dense(cls, dim: int, *, hidden: int, couplings: int = COUPLINGS, preprocessing: Logit | None = None) -> Self:
        """Every other column first, then couplings that change one half by the other, in turn.

        Their networks have two hidden layers of `hidden` numbers.

        Raises:
            BadInputError: A single dimension.
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
        return cls(dim, layers, preprocessing=preprocessing)

    @classmethod
    def from_weights(cls, weights: RealNVPWeights, *, dtype: torch.dtype = torch.float32, normed: bool = False) -> Self:
        """The flow of these weights, rounded to `dtype`; with `normed`, every coupling has a norm behind it again."""
        layers: list[Bijection] = []
        for layer in weights.layers:
            if isinstance(layer, Reorder):
                layers.append(Reordering(layer.order))
            else:
                layers.append(AffineCoupling.of(layer))
                layers += [FlowNorm(layer.width)] if normed else []
        return cls(weights.dim, layers, preprocessing=weights.preprocessing).to(dtype)

    def to_weights(self) -> RealNVPWeights:
        """The flow as plain float64 arrays, checked; norms are folded into the couplings in front of them."""
        layers: list[Coupling | Reorder] = []
        bijections = list(self.chain.bijections)
        for here, following in zip(bijections, [*bijections[1:], None], strict=True):
            if isinstance(here, Reordering):
                layers.append(Reorder(here.order.cpu().numpy()))
            elif isinstance(here, AffineCoupling):
                layers.append(here.arrays(following if isinstance(following, FlowNorm) else None))
        return RealNVPWeights(self.dim, tuple(layers), self.preprocessing)

    def decaying(self) -> Iterable[tuple[nn.Parameter, Tensor]]:
        """Kernels and matrices; no vectors."""
        for coupling in self.couplings():
            for parameter in coupling.nets.parameters():
                if parameter.ndim > 1:
                    yield parameter, parameter.detach()

    def couplings(self) -> list[AffineCoupling]:
        """The couplings in the order of `forward`."""
        return [layer for layer in self.chain.bijections if isinstance(layer, AffineCoupling)]


Network = RealNVP  # what a family's flow is called by those who do not know the family


def _convolutional(shape: tuple[int, int, int], mask: NDArray[np.bool_], planes: int) -> list[Bijection]:
    nets = (Convolutions(shape[0], planes), Convolutions(shape[0], planes))
    return [AffineCoupling(shape, mask, nets), FlowNorm(mask.size)]


def _checkerboard(shape: tuple[int, int, int], number: int) -> NDArray[np.bool_]:
    parity = np.indices(shape).sum(axis=0) % 2
    return (parity == number % 2).ravel()


def _upper_channels(shape: tuple[int, int, int], number: int) -> NDArray[np.bool_]:
    upper = np.arange(shape[0]) >= shape[0] // 2
    return np.broadcast_to((upper == (number % 2 == 0))[:, None, None], shape).ravel()
