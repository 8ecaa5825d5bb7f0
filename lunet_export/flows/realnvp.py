"""RealNVP (arXiv 1605.08803): couplings, and changes of the order of columns between them, after an optional logit.

A conditional RealNVP begins with an affine map of the context, which the networks of its dense couplings take too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lunet_export.errors import CheckpointError
from lunet_export.layers import (
    Chain,
    ConditionalAffine,
    Context,
    ConvNet,
    ConvolutionalCoupling,
    Coupling,
    DenseCoupling,
    DenseNet,
    Kind,
    Layer,
    Permutation,
    networks,
)
from lunet_export.preprocessing import Logit

Array = NDArray[np.float64]

_VECTORS = ("scale_factor", "log_scale", "shift_factor", "shift")


def realnvp(
    dim: int, layers: Sequence[Layer], preprocessing: Logit | None = None, context: Context | None = None
) -> Chain:
    """Return the RealNVP of these couplings and permutations; flow batch norm is folded into the couplings.

    Args:
        dim: Number of dimensions D.
        layers: Couplings and permutations, in order; for a conditional flow, behind a `ConditionalAffine`.
        preprocessing: Settings of the logit for grey levels, None for vectors.
        context: What the context of a conditional flow is.

    Raises:
        CheckpointError: if there is no coupling, a shape does not fit, a number is not finite, a factor is not 0 where
            the mask is set, an order is not a permutation, or a conditional flow does not begin with an affine map of
            the context.
    """
    return Chain(dim, tuple(layers), preprocessing, RealNVP(), context)


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
        if isinstance(chain.layers[number], ConditionalAffine):
            return "context"
        before = sum(isinstance(layer, Coupling) for layer in chain.layers[: number + 1])
        return f"coupling{before}" if isinstance(chain.layers[number], Coupling) else f"order{before}"

    def place(self, chain: Chain, number: int) -> str:
        if isinstance(chain.layers[number], ConditionalAffine):
            return "the affine map of the context"
        before = sum(isinstance(layer, Coupling) for layer in chain.layers[: number + 1])
        return f"coupling {before} of {len(chain.of(Coupling))}"

    def validate(self, chain: Chain) -> None:
        if not chain.of(Coupling):
            raise CheckpointError("Expected at least one coupling; got none. The file holds no network.")
        conditional = chain.context is not None
        if conditional and not isinstance(chain.layers[0], ConditionalAffine):
            raise CheckpointError(
                f"Expected an affine map of the context in front of a conditional RealNVP; got {chain.layers[0].label}."
            )
        if not all(isinstance(layer, Coupling | Permutation) for layer in chain.layers[int(conditional) :]):
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
            if layer.takes_context:
                yield f"conditional {layer.settings()!r}"
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
        """Return settings, and `layers`: {"order": (D,)} of a permutation; shape, mask, nets, vectors of a coupling.

        A conditional RealNVP has `context`; its first layer is {"kind": name} and the fields of its affine map by name,
        and a coupling whose network takes the context has `conditional`, the operations of the network n(c).
        """
        of_context = {} if chain.context is None else {"context": chain.context.to_dict()}
        packed = [_packed(layer) for layer in chain.layers]
        return {"couplings": len(chain.of(Coupling))}, {"layers": packed, **of_context}

    @classmethod
    def unpack(cls, content: Mapping[str, Any], preprocessing: Logit | None) -> Chain:
        layers = [_layer(entry) for entry in content["layers"]]
        context = Context.from_dict(content["context"]) if "context" in content else None
        return realnvp(content["settings"]["dim"], layers, preprocessing, context)


def _packed(layer: Layer) -> dict[str, Any]:
    if isinstance(layer, ConditionalAffine):
        return layer.to_dict()
    if not isinstance(layer, Coupling):
        (order,) = layer.arrays()
        return {"order": order}
    vectors = {name: getattr(layer, name) for name in _VECTORS}
    packed = {"shape": list(layer.shape), "mask": layer.mask, "nets": layer.network_arrays(), **vectors}
    if isinstance(layer, DenseCoupling) and layer.net.conditional:
        packed["conditional"] = [operation.to_dict() for operation in layer.net.conditional]
    return packed


def _layer(entry: Mapping[str, Any]) -> Layer:
    if "order" in entry:
        return Permutation(entry["order"])
    if "kind" in entry:
        return ConditionalAffine.from_dict(entry)
    shape = tuple(int(length) for length in entry["shape"])
    vectors = {name: _floats(entry[name]) for name in _VECTORS}
    nets = [[_floats(array) for array in arrays] for arrays in entry["nets"]]
    if nets[0][0].ndim != 4:
        (arrays,) = nets
        pairs = tuple(zip(arrays[::2], arrays[1::2], strict=True))
        net = DenseNet(pairs, networks.from_list(entry.get("conditional", ())))
        return DenseCoupling(shape, entry["mask"], **vectors, net=net)
    s, t = (_conv_net(arrays) for arrays in nets)
    return ConvolutionalCoupling(shape, entry["mask"], **vectors, nets=(s, t))


def _conv_net(arrays: list[Array]) -> ConvNet:
    first, *inner, last = arrays
    return ConvNet(first, tuple(zip(inner[::2], inner[1::2], strict=True)), last)


def _floats(array: NDArray[Any]) -> Array:
    if array.dtype != np.float64:
        raise CheckpointError(f"Expected tensors of floats; got {array.dtype}. Train it again.")
    return array
