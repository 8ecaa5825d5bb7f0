"""Every LU layer moved into coordinates in which its inputs are white; the map stays the same."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from lunet_export.diagnostics.moments import Moments
from lunet_export.flows import LUNet
from lunet_export.layers import LU, Chain, Layer
from lunet_export.torch_layers import Bijection, Flow, bijection_of
from lunet_export.torch_layers.activation import ActivationBijection
from lunet_export.torch_layers.lu_linear import LULinear
from lunet_export.training.fit import Batch
from lunet_export.training.gaussian import whitening_root


def flow_of(
    chain: Chain,
    *,
    dtype: torch.dtype = torch.float32,
    whitened: bool = True,
    bound: float | None = None,
    pace: float = 1.0,
) -> Flow:
    """Return the flow of a chain, its LU layers held as training holds them.

    The alphas of an LU-Net are parameters if each activation has its own.

    Args:
        chain: The model.
        dtype: Dtype of the flow.
        whitened: Whether every layer's U is held in whitened coordinates, at first those of the identity.
        bound: Bound on |log diag U|, as in `LULinear`.
        pace: Pace of alphas learned per unit, as in `ActivationBijection`.

    Raises:
        BadInputError: if an entry of a diagonal is beyond the bound.
    """

    learned = isinstance(chain.kind, LUNet) and chain.kind.alpha is None

    def module(layer: Layer) -> Bijection:
        if isinstance(layer, LU):
            return LULinear.of(layer, whitened=whitened, bound=bound)
        found = bijection_of(layer)
        return found.learning(pace=pace) if learned and isinstance(found, ActivationBijection) else found

    modules = map(module, chain.layers)
    flow = Flow(
        chain.dim,
        modules,
        chain.kind,
        preprocessing=chain.preprocessing,
        domain=chain.domain,
        context=chain.context,
    )
    if flow.of_context is not None:
        flow.of_context.hold_scalings()  # the standardisation
    return flow.to(dtype)


@torch.no_grad()
def whiten(flows: Sequence[Flow], batches: Iterable[Batch]) -> None:
    """Whiten what enters each LU layer of the first flow, over the rows of `batches`, in the same way in all flows.

    Each layer holds U = V R with R upper triangular, R C R^T = I and C the covariance of its input: in these
    coordinates a gradient step does not depend on how the inputs are scaled and correlated (Desjardins et al. 2015,
    arXiv 1507.00210, with a triangular root, because V R must stay upper triangular).
    """
    flow = flows[0]
    seen = [Moments(flow.dim) for _ in flow.modules_of(LULinear)]
    for x, context in batches:
        number = 0
        for bijection in flow.given(context).chain:
            if isinstance(bijection, LULinear):
                seen[number].add(x.cpu().double().numpy())
                number += 1
            x, _ = bijection(x)
    for number, moments in enumerate(seen):
        if not np.isfinite(moments.covariance).all():
            return  # the next loss reports it
        root = whitening_root(moments.covariance)
        for one in flows:
            one.modules_of(LULinear)[number].whiten(moments.mean, root)
