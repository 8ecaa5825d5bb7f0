"""Flows of the user's own code: layers that the user states, checked against the module that they are stated of."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lunet_export.checks import reference as judged
from lunet_export.errors import BadInputError, CheckFailedError, UnsupportedLayersError
from lunet_export.importers import networks
from lunet_export.importers.parts import Part, Refused, chain_of
from lunet_export.importers.proof import LIMIT, Gaps, rows_of
from lunet_export.importers.twin import in_float64, twin
from lunet_export.layers import Chain, Layer
from lunet_export.layers.networks import Network
from lunet_export.torch_layers import Flow

Array = NDArray[np.float64]
#: x (N, D) -> log p(x) (N,) in nats, or z (N, D) and log|det dz/dx| (N,).
Reference = Callable[[Tensor], Tensor | tuple[Tensor, Tensor]]
#: Layers from data to latent, or a flow of them.
OwnLayers = Sequence[Layer] | Chain | Flow


def read(layers: OwnLayers, reference: Reference) -> Chain:
    """Return a flow as plain float64 arrays, compared with the user's own module as other libraries' flows are.

    Args:
        layers: Layers from data to latent, a `Chain` or a `Flow`.
        reference: Module or method that is asked, in float64 and evaluation mode; the object is not changed.

    Raises:
        BadInputError: if these are no layers or take a context, or the reference gives neither log p nor z and
            log|det|.
        CheckpointError: if the layers make no flow.
        CheckFailedError: if the reference does not run, or computes something else.
    """
    weights = _chain(layers)
    if weights.context is not None:
        raise BadInputError("Expected layers that take no context beside a reference; got a conditional flow.")
    x = rows_of(weights).x
    gaps = Gaps(
        weights, LIMIT, whose="the reference's", cause="Compare the layers one by one, their order and signs first"
    )
    answer = _asked(reference, x)
    if isinstance(answer, Tensor):
        gaps.gap("log_prob", judged.log_prob(weights, x), _numbers(answer), x)
        return weights
    z, log_det = map(_numbers, answer)
    gaps.gap("z", judged.encode(weights, x)[0], z, x)
    gaps.gap("log_prob", judged.log_prob(weights, x), judged.standard_normal_log_prob(z) + log_det, x)
    return weights


def network_of(module: nn.Module) -> Network:
    """Return a small network, as `nn.Sequential` of `Linear` and activations, for a coupling or autoregressive layer.

    Args:
        module: Network (N, K) -> (N, M), in evaluation mode afterwards; it is not changed.

    Raises:
        UnsupportedLayersError: if it holds a module that is not carried over.
    """
    try:
        return networks.read(twin(module))
    except Refused as refused:
        raise UnsupportedLayersError([("the network itself", type(module).__name__, str(refused))]) from None


def _chain(layers: OwnLayers) -> Chain:
    match layers:
        case Chain():
            return layers
        case Flow():
            return layers.to_chain()
        case [*given] if given and all(isinstance(layer, Layer) for layer in given):
            parts = [Part(f"layers[{place}]", layer.label, (layer,)) for place, layer in enumerate(given)]
            return chain_of(parts, None)
        case _:
            raise BadInputError(
                "Expected layers of lunet_export.layers with a reference, as a list, a Chain or a Flow; got a "
                f"{type(layers).__name__}."
            )


def _asked(reference: Reference, x: Array) -> Tensor | tuple[Tensor, Tensor]:
    with in_float64(), warnings.catch_warnings(action="ignore"):
        try:
            answer = twin(reference)(torch.from_numpy(x.copy()))
        except Exception as error:  # the user's own code may raise anything
            said = (str(error).splitlines() or [""])[0][:200]
            raise CheckFailedError(
                f"Expected the reference to run on float64 rows (N, D); it raised {type(error).__name__}: {said}. "
                "Give the module itself, or its method log_prob."
            ) from error
    match answer:
        case Tensor() | (Tensor(), Tensor()):
            return answer
        case _:
            raise BadInputError(
                "Expected log p(x) (N,) of the reference, or z (N, D) and log|det dz/dx| (N,); got a "
                f"{type(answer).__name__}. Give a method that returns one of these."
            )


def _numbers(value: Tensor) -> Array:
    return np.asarray(value.detach().cpu().numpy(), np.float64)
