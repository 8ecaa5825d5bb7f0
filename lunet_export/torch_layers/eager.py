"""Eager PyTorch behind the interface of an exported flow: what a user without the export would run."""

import numpy as np
import torch
from numpy.typing import NDArray

from lunet_export.distribution import Distribution, Mixture
from lunet_export.layers import Chain
from lunet_export.torch_layers.flow import Flow, standard_normal_log_prob

Floats = NDArray[np.floating]


class EagerFlow:
    """This class runs a flow in eager PyTorch on NumPy rows, on the CPU, in the dtype of an exported graph.

    LU-Net samples by `torch.linalg.solve_triangular` and inverts its activation by Newton until that converges.
    """

    def __init__(self, weights: Chain, dtype: str) -> None:
        self._flow = Flow.of(weights, dtype=getattr(torch, dtype)).eval()
        self._dtype = np.dtype(dtype)

    @torch.no_grad()
    def density(self, x: Floats, context: Floats | None = None) -> tuple[Floats, Floats]:
        """Return z (N, D) and log_prob (N,) in nats for x (N, D), and contexts (N, C) where the flow takes them."""
        z, log_det = self._given(context).chain(self._tensor(x))
        return z.numpy(), (standard_normal_log_prob(z) + log_det).numpy()

    @torch.no_grad()
    def decode(self, z: Floats, context: Floats | None = None) -> Floats:
        """Return x (N, D) for z (N, D), with images clamped."""
        return self._given(context).decode(self._tensor(z)).numpy()

    def _given(self, context: Floats | None) -> Flow:
        return self._flow.given(None if context is None else self._tensor(context))

    def _tensor(self, rows: Floats) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(rows, dtype=self._dtype))


class EagerClasses:
    """This class runs one network per class as `EagerFlow` does; the mixture is by `torch.logsumexp` and softmax."""

    def __init__(self, mixture: Mixture[Chain], dtype: str) -> None:
        self._flows = [EagerFlow(network, dtype) for network in mixture.components]
        self._log_priors = torch.tensor(mixture.priors, dtype=torch.float64).log().to(getattr(torch, dtype))

    def density(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """Return class_log_prob (N, C), log_prob (N,) in nats and posterior (N, C) for x (N, D)."""
        class_log_prob = torch.from_numpy(np.stack([flow.density(x)[1] for flow in self._flows], axis=1))
        joint = class_log_prob + self._log_priors
        return class_log_prob.numpy(), torch.logsumexp(joint, 1).numpy(), torch.softmax(joint, 1).numpy()

    def decode(self, z: Floats, label: int) -> Floats:
        """Return x (N, D) of one class for z (N, D)."""
        return self._flows[label].decode(z)


def eager(model: Distribution, dtype: str) -> EagerFlow | EagerClasses:
    """Return a flow or a mixture in the dtype of its graphs, whichever the model is."""
    return EagerClasses(model, dtype) if isinstance(model, Mixture) else EagerFlow(model, dtype)
