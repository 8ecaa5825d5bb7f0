"""RealNVP (arXiv 1605.08803): couplings, and changes of the order of columns between them, after an optional logit."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.layers import (
    Chain,
    ConvNet,
    ConvolutionalCoupling,
    Coupling,
    DenseCoupling,
    DenseNet,
    Kind,
    Layer,
    Permutation,
)
from lunet_export.preprocessing import Logit

Array = NDArray[np.float64]

_VECTORS = ("scale_factor", "log_scale", "shift_factor", "shift")


def realnvp(dim: int, layers: Sequence[Layer], preprocessing: Logit | None = None) -> Chain:
    """Return the RealNVP of these couplings and permutations; flow batch norm is folded into the couplings.

    Raises:
        CheckpointError: if there is no coupling, a shape does not fit, a number is not finite, a factor is not 0 where
            the mask is set, or an order is not a permutation.
    """
    return Chain(dim, tuple(layers), preprocessing, RealNVP())


def checkerboard(shape: tuple[int, ...], number: int) -> NDArray[np.bool_]:
    """Return the mask of coupling `number` that keeps every other pixel of (C, H, W), (C H W,)."""
    parity = np.indices(shape).sum(axis=0) % 2
    return (parity == number % 2).ravel()


def channels(shape: tuple[int, ...], number: int) -> NDArray[np.bool_]:
    """Return the mask of coupling `number` that keeps half of the channels of (C, H, W), (C H W,)."""
    upper = np.arange(shape[0]) >= shape[0] // 2
    return np.broadcast_to((upper == (number % 2 == 0))[:, None, None], shape).ravel()


def cells(image: tuple[int, int]) -> NDArray[np.int64]:
    """Return the order that makes the 2 x 2 cells of an image (H, W) four channels (4, H / 2, W / 2)."""
    height, width = image
    places = np.arange(height * width).reshape(height // 2, 2, width // 2, 2)
    return places.transpose(1, 3, 0, 2).ravel()


@dataclass(frozen=True)
class RealNVP(Kind):
    """This kind has couplings with dense networks, or with convolutions of images."""

    name: ClassVar[str] = "realnvp"
    title: ClassVar[str] = "a RealNVP"

    def label(self, chain: Chain, number: int) -> str:
        before = sum(isinstance(layer, Coupling) for layer in chain.layers[: number + 1])
        return f"coupling{before}" if isinstance(chain.layers[number], Coupling) else f"order{before}"

    def place(self, chain: Chain, number: int) -> str:
        before = sum(isinstance(layer, Coupling) for layer in chain.layers[: number + 1])
        return f"coupling {before} of {len(chain.of(Coupling))}"

    def validate(self, chain: Chain) -> None:
        if not chain.of(Coupling):
            raise CheckpointError("Expected at least one coupling; got none. The file holds no network.")
        if len(chain.of(Coupling)) + len(chain.of(Permutation)) != len(chain.layers):
            raise CheckpointError("Expected couplings and permutations in a RealNVP; got other layers.")

    def facts(self, chain: Chain) -> dict[str, Any]:
        networks = "convolutional" if chain.of(ConvolutionalCoupling) else "dense"
        return {"couplings": len(chain.of(Coupling)), "networks": networks}

    def identity(self, chain: Chain) -> Iterator[str | NDArray[Any]]:
        yield f"realnvp preprocessing={chain.preprocessing!r} dim={chain.dim}"
        for layer in chain.layers:
            if isinstance(layer, Coupling):
                yield f"coupling {layer.shape}"
                yield layer.mask
            yield from layer.arrays()

    def entry(self, chain: Chain) -> dict[str, Any]:
        return self.facts(chain)

    @classmethod
    def validate_entry(cls, model: Mapping[str, Any], sampling: Mapping[str, Any]) -> None:
        del sampling
        if type(model["couplings"]) is not int or model["couplings"] < 1:
            raise ValueError("model.couplings")
        if model["networks"] not in ("convolutional", "dense"):
            raise ValueError("model.networks")

    @classmethod
    def repeated(cls, model: Mapping[str, Any]) -> dict[str, str]:
        return {"lunet.couplings": str(model["couplings"]), "lunet.networks": model["networks"]}

    def pack(self, chain: Chain) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return settings, and `layers`: {"order": (D,)} of a permutation; shape, mask, nets, vectors of a coupling."""
        return {"couplings": len(chain.of(Coupling))}, {"layers": [_packed(layer) for layer in chain.layers]}

    @classmethod
    def unpack(cls, content: Mapping[str, Any], preprocessing: Logit | None) -> Chain:
        layers = [_layer(entry) for entry in content["layers"]]
        return realnvp(content["settings"]["dim"], layers, preprocessing)


def _packed(layer: Layer) -> dict[str, Any]:
    if not isinstance(layer, Coupling):
        (order,) = layer.arrays()
        return {"order": order}
    vectors = {name: getattr(layer, name) for name in _VECTORS}
    return {"shape": list(layer.shape), "mask": layer.mask, "nets": layer.network_arrays(), **vectors}


def _layer(entry: Mapping[str, Any]) -> Layer:
    if "order" in entry:
        return Permutation(entry["order"])
    shape = tuple(int(length) for length in entry["shape"])
    vectors = {name: _floats(entry[name]) for name in _VECTORS}
    nets = [[_floats(array) for array in arrays] for arrays in entry["nets"]]
    if nets[0][0].ndim != 4:
        (arrays,) = nets
        pairs = tuple(zip(arrays[::2], arrays[1::2], strict=True))
        return DenseCoupling(shape, entry["mask"], **vectors, net=DenseNet(pairs))
    s, t = (_conv_net(arrays) for arrays in nets)
    return ConvolutionalCoupling(shape, entry["mask"], **vectors, nets=(s, t))


def _conv_net(arrays: list[Array]) -> ConvNet:
    first, *inner, last = arrays
    return ConvNet(first, tuple(zip(inner[::2], inner[1::2], strict=True)), last)


def _floats(array: NDArray[Any]) -> Array:
    if array.dtype != np.float64:
        raise CheckpointError(f"Expected tensors of floats; got {array.dtype}. Train it again.")
    return array
