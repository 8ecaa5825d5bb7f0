"""What a model file holds of a composed flow.

layers: of every layer a dictionary {"kind": its class, "inverse": whether it is turned round, and its fields by name},
arrays as tensors and networks as lists of such dictionaries.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, get_origin

import numpy as np
import torch
from torch import Tensor

from lunet_export.errors import CheckpointError
from lunet_export.families.composed import layers as kinds
from lunet_export.families.composed import networks
from lunet_export.families.composed.flow import ComposedFlow
from lunet_export.families.composed.layers import AffineAutoregressive, Inverse, Layer, ScaleMap
from lunet_export.families.composed.networks import Activation, Dense, Residual, Scaling
from lunet_export.families.composed.weights import ComposedWeights
from lunet_export.lu import LUBlock
from lunet_export.preprocessing import Logit

_LAYERS: dict[str, Any] = {
    "LULinear": LUBlock,
    **{
        kind.__name__: kind
        for kind in (
            kinds.Permutation,
            kinds.Affine,
            kinds.LeakyReLU,
            kinds.Sigmoid,
            kinds.Tanh,
            kinds.LogTanh,
            kinds.Softclip,
            AffineAutoregressive,
        )
    },
}
_OPERATIONS: dict[str, Any] = {kind.__name__: kind for kind in (Dense, Activation, Scaling, Residual)}
_DEEPEST = 64  # blocks inside blocks: deeper files are made to exhaust the stack


def pack(flow: ComposedFlow) -> tuple[dict[str, Any], dict[str, Any]]:
    """The family's own settings, and its tensors by key, in the flow's dtype."""
    dtype = next(flow.parameters()).dtype

    def plain(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, np.ndarray):
            tensor = torch.from_numpy(np.array(value))
            return tensor.to(dtype) if tensor.is_floating_point() else tensor
        if isinstance(value, tuple):
            return [plain(entry) for entry in value]
        if isinstance(value, ScaleMap):
            return vars(value)
        if isinstance(value, networks.Operation):
            return described(value, type(value).__name__)
        return value

    def described(value: Any, kind: str) -> dict[str, Any]:  # noqa: ANN401
        return {"kind": kind, **{field.name: plain(getattr(value, field.name)) for field in fields(value)}}

    def packed(layer: Layer) -> dict[str, Any]:
        inner = layer.layer if isinstance(layer, Inverse) else layer
        name = "LULinear" if isinstance(inner, LUBlock) else type(inner).__name__
        return {"inverse": isinstance(layer, Inverse), **described(inner, name)}

    weights = flow.to_weights()
    return {"layers": len(weights.layers)}, {"layers": [packed(layer) for layer in weights.layers]}


def unpack(
    content: Mapping[str, Any], preprocessing: Logit | None, *, held: Callable[[Tensor], Tensor]
) -> ComposedWeights:
    """The weights in a file; `held` refuses tensors that claim more numbers than there are.

    Raises:
        CheckpointError: The tensors are no composed flow.
        LookupError, TypeError, AttributeError, RuntimeError, ValueError: A key is missing or of the wrong type.
    """

    def value(entry: Any, depth: int) -> Any:  # noqa: ANN401
        if depth > 2 * _DEEPEST:
            raise CheckpointError(f"Expected networks of at most {_DEEPEST} blocks inside each other; got more.")
        if isinstance(entry, Tensor):
            if not entry.is_floating_point() and entry.dtype != torch.int64:
                raise CheckpointError(f"Expected tensors of floats or int64; got {entry.dtype}. Import it again.")
            whole = held(entry)
            return whole.double().numpy() if whole.is_floating_point() else whole.numpy()
        if isinstance(entry, list):
            return tuple(value(part, depth + 1) for part in entry)
        if isinstance(entry, dict) and "offset" in entry:
            return ScaleMap(**entry)
        return made(entry, _OPERATIONS, depth + 1) if isinstance(entry, dict) else entry

    def made(entry: Mapping[str, Any], known: Mapping[str, Any], depth: int) -> Any:  # noqa: ANN401
        if depth > _DEEPEST:
            raise CheckpointError(f"Expected networks of at most {_DEEPEST} blocks inside each other; got more.")
        kind = known[entry["kind"]]
        given = {name: value(part, depth) for name, part in entry.items() if name not in ("kind", "inverse")}
        for field in fields(kind):
            if isinstance(given[field.name], np.ndarray) != (get_origin(field.type) is np.ndarray):
                raise CheckpointError(f"Expected another type of {field.name} of {entry['kind']}. Import it again.")
        return kind(**given)

    def layer(entry: Mapping[str, Any]) -> Layer:
        inner = made(entry, _LAYERS, 0)
        return Inverse(inner) if entry["inverse"] else inner

    return ComposedWeights(content["settings"]["dim"], tuple(map(layer, content["layers"])), preprocessing)
