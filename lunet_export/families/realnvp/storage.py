"""What a model file holds of a RealNVP.

layers: of every change of order {"order": (D,)}; of every coupling {"shape": [..], "mask": (k,), "nets": a list of
tensors a network, "scale_factor", "log_scale", "shift_factor" and "shift": (k,)}. Norms are folded into the couplings.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lunet_export.errors import CheckpointError
from lunet_export.families.realnvp.flow import RealNVP
from lunet_export.families.realnvp.weights import ConvNet, Coupling, DenseNet, RealNVPWeights, Reorder
from lunet_export.preprocessing import Logit

_VECTORS = ("scale_factor", "log_scale", "shift_factor", "shift")


def pack(flow: RealNVP) -> tuple[dict[str, Any], dict[str, Any]]:
    """The family's own settings, and its tensors by key, in the flow's dtype."""
    dtype = next(flow.parameters()).dtype

    def tensor(array: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(np.array(array)).to(dtype)

    def packed(layer: Coupling | Reorder) -> dict[str, Any]:
        if isinstance(layer, Reorder):
            return {"order": torch.from_numpy(layer.order)}
        return {
            "shape": list(layer.shape),
            "mask": torch.from_numpy(layer.mask),
            "nets": [[tensor(array) for array in net.arrays()] for net in layer.nets],
            **{name: tensor(getattr(layer, name)) for name in _VECTORS},
        }

    weights = flow.to_weights()
    return {"couplings": len(weights.couplings)}, {"layers": [packed(layer) for layer in weights.layers]}


def unpack(
    content: Mapping[str, Any], preprocessing: Logit | None, *, held: Callable[[Tensor], Tensor]
) -> RealNVPWeights:
    """The weights in a file; `held` refuses tensors that claim more numbers than there are.

    Raises:
        CheckpointError: The tensors are no RealNVP.
        LookupError, TypeError, AttributeError, RuntimeError, ValueError: A key is missing or of the wrong type.
    """

    def array(tensor: Tensor) -> NDArray[np.float64]:
        if not tensor.is_floating_point():
            raise CheckpointError(f"Expected tensors of floats; got {tensor.dtype}. Train it again.")
        return held(tensor).double().numpy()

    def net(tensors: list[Tensor]) -> ConvNet | DenseNet:
        arrays = [array(tensor) for tensor in tensors]
        if arrays[0].ndim == 4:
            first, *inner, last = arrays
            return ConvNet(first, tuple(zip(inner[::2], inner[1::2], strict=True)), last)
        return DenseNet(tuple(zip(arrays[::2], arrays[1::2], strict=True)))

    def layer(entry: Mapping[str, Any]) -> Coupling | Reorder:
        if "order" in entry:
            return Reorder(held(entry["order"]).numpy())
        shape, nets = tuple(int(length) for length in entry["shape"]), tuple(net(tensors) for tensors in entry["nets"])
        vectors = {name: array(entry[name]) for name in _VECTORS}
        return Coupling(shape, held(entry["mask"]).numpy(), nets, **vectors)  # type: ignore[arg-type]

    return RealNVPWeights(content["settings"]["dim"], tuple(layer(entry) for entry in content["layers"]), preprocessing)
