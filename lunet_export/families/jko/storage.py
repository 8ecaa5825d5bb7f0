"""What a model file holds of a JKO-iFlow.

centre (D,), root (D, D); fields: a list a block of {"layers": matrices and biases in turn, "time": (H_1,)}.
settings: steps a block, beta of the softplus.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lunet_export.errors import CheckpointError
from lunet_export.families.jko.flow import JKOFlow
from lunet_export.families.jko.weights import JKOWeights, VelocityField
from lunet_export.preprocessing import Logit


def pack(flow: JKOFlow) -> tuple[dict[str, Any], dict[str, Any]]:
    """The family's own settings, and its tensors by key, in the flow's dtype."""
    dtype = next(flow.parameters()).dtype

    def tensor(array: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(np.array(array)).to(dtype)

    weights = flow.to_weights()
    fields = [
        {"layers": [tensor(array) for layer in field.layers for array in layer], "time": tensor(field.time)}
        for field in weights.fields
    ]
    settings = {"steps": weights.steps, "beta": weights.beta}
    return settings, {"centre": tensor(weights.centre), "root": tensor(weights.root), "fields": fields}


def unpack(content: Mapping[str, Any], preprocessing: Logit | None, *, held: Callable[[Tensor], Tensor]) -> JKOWeights:
    """The weights in a file; `held` refuses tensors that claim more numbers than there are.

    Raises:
        CheckpointError: The tensors are no JKO-iFlow.
        LookupError, TypeError, AttributeError, RuntimeError, ValueError: A key is missing or of the wrong type.
    """

    def array(tensor: Tensor) -> NDArray[np.float64]:
        if not tensor.is_floating_point():
            raise CheckpointError(f"Expected tensors of floats; got {tensor.dtype}. Train it again.")
        return held(tensor).double().numpy()

    def field(entry: Mapping[str, Any]) -> VelocityField:
        arrays = [array(tensor) for tensor in entry["layers"]]
        return VelocityField(tuple(zip(arrays[::2], arrays[1::2], strict=True)), array(entry["time"]))

    settings = content["settings"]
    return JKOWeights(
        array(content["centre"]),
        array(content["root"]),
        tuple(field(entry) for entry in content["fields"]),
        settings["steps"],
        settings["beta"],
        preprocessing,
    )
