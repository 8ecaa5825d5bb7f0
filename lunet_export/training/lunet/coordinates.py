"""Moving every LU layer into coordinates in which its inputs are white; the map stays what it is."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from lunet_export.diagnostics.moments import Moments
from lunet_export.families.lunet.flow import LUNet
from lunet_export.families.lunet.lu_linear import LULinear
from lunet_export.training.gaussian import whitening_root


@torch.no_grad()
def whiten(flows: Sequence[LUNet], batches: Iterable[Tensor]) -> None:
    """Whiten what enters each LU layer of the first flow, over the rows of `batches`, in the same way in all of them.

    Each layer holds U = V R with R upper triangular, R C R^T = I and C the covariance of its input: in these
    coordinates a gradient step is blind to how the inputs are scaled and correlated (Desjardins et al. 2015,
    arXiv 1507.00210, with a triangular root, because V R must stay upper triangular).
    """
    flow = flows[0]
    seen = [Moments(flow.dim) for _ in flow.linear_layers()]
    for x in batches:
        number = 0
        for bijection in flow.chain.bijections:
            if isinstance(bijection, LULinear):
                seen[number].add(x.cpu().double().numpy())
                number += 1
            x, _ = bijection(x)
    for number, moments in enumerate(seen):
        if not np.isfinite(moments.covariance).all():
            return  # the next loss says so
        root = whitening_root(moments.covariance)
        for one in flows:
            one.linear_layers()[number].whiten(moments.mean, root)
