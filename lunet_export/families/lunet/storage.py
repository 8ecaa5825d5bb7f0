"""What a model file holds of an LU-Net.

packed (M, D, D) with log|diag U| on the diagonal, sign (M, D), bias (M, D); blocks and alpha among the settings, and
the activation where it is not the paper's.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lunet_export.errors import CheckpointError
from lunet_export.families.lunet.flow import LUNet
from lunet_export.families.lunet.weights import ACTIVATIONS, LUNetWeights
from lunet_export.preprocessing import Logit


def pack(flow: LUNet) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The family's own settings, and its tensors by key."""
    layers = flow.linear_layers()
    settings: dict[str, Any] = {"blocks": len(layers), "alpha": flow.alpha}
    if flow.activation != ACTIVATIONS[0]:
        settings["activation"] = flow.activation
    return settings, {
        "packed": torch.stack([layer.packed.detach().cpu() for layer in layers]),
        "sign": torch.stack([layer.sign.cpu() for layer in layers]),
        "bias": torch.stack([layer.bias.detach().cpu() for layer in layers]),
    }


def unpack(
    content: Mapping[str, Any], preprocessing: Logit | None, *, held: Callable[[Tensor], Tensor]
) -> LUNetWeights:
    """The weights in a file; `held` refuses tensors that claim more numbers than there are.

    Raises:
        CheckpointError: The tensors are no LU-Net.
        LookupError, TypeError, AttributeError, RuntimeError, ValueError: A key is missing or of the wrong type.
    """
    packed, sign, bias = content["packed"], content["sign"], content["bias"]
    dim, blocks, alpha = (content["settings"][key] for key in ("dim", "blocks", "alpha"))
    activation = content["settings"].get("activation", ACTIVATIONS[0])
    if activation not in ACTIVATIONS:
        raise CheckpointError(
            f"Expected an activation of {', '.join(ACTIVATIONS)}; got {activation!r}. "
            "Install the lunet-export that wrote it."
        )
    shapes = tuple(tuple(tensor.shape) for tensor in (packed, sign, bias))
    expected = ((blocks, dim, dim), (blocks, dim), (blocks, dim))
    for name, tensor in (("packed", packed), ("sign", sign), ("bias", bias)):
        if not tensor.is_floating_point():
            raise CheckpointError(f"Expected {name} tensors of floats; got {tensor.dtype}. Train it again.")
    if shapes != expected or not isinstance(alpha, float):
        raise CheckpointError(f"Expected tensors of shapes {expected}; got {shapes}. Train it again.")
    tensors = [held(tensor) for tensor in (packed, sign, bias)]
    flow = LUNet(dim, blocks=blocks, alpha=alpha, preprocessing=preprocessing, activation=activation)
    flow = flow.to(packed.dtype)
    with torch.no_grad():
        for layer, *values in zip(flow.linear_layers(), *tensors, strict=True):
            for target, value in zip((layer.packed, layer.sign, layer.bias), values, strict=True):
                target.copy_(value)
    return flow.to_weights()
