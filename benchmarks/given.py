"""Conditional flows of five libraries, trained on one small simulator, each with its density and its sampler.

    theta ~ N(1, 4 I_3),  x = (theta_1 + theta_2^2 / 4, theta_2 theta_3 / 2, theta_3, theta_1 - theta_3) + noise of 0.3

A posterior is p(theta | x), a likelihood is p(x | theta). `contexts` measures them; tests replay them in all
languages.
"""

import os
import tempfile
import warnings
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lunet_export.importers.twin import in_float64, twin

Floats = NDArray[np.floating]

DIM, OBSERVED = 3, 4  # numbers of theta and of x
_NOISE = 0.3
_HIDDEN = 32
_RATE = 3e-3


@dataclass(frozen=True)
class Peer:
    """A library's conditional flow, trained, with its two directions: rows (N, D) and contexts (N, C) or (1, C).

    Attributes:
        flow: What is exported.
        log_prob: Function of the flow, rows and contexts.
        decode: Function of the flow, latents and contexts.
        rows: Rows that it was not trained on.
        contexts: Their contexts.
    """

    flow: Any
    log_prob: Callable[[Any, Tensor, Tensor], Tensor]
    decode: Callable[[Any, Tensor, Tensor], Tensor]
    rows: Floats
    contexts: Floats

    @torch.no_grad()
    def in_float64(self, rows: Floats, contexts: Floats, *, sampling: bool = False) -> Floats:
        """Return the library's own answers, computed in float64: log p of rows, or the rows of latents."""
        from lunet_export.importers import nflows

        with in_float64():
            own = twin(self.flow)
            if isinstance(own, nn.Module):
                nflows._settle(own)  # constants that nflows keeps in float32
            call = self.decode if sampling else self.log_prob
            return call(own, torch.from_numpy(rows).double(), torch.from_numpy(contexts).double()).numpy()


def simulate(count: int, *, seed: int) -> tuple[Floats, Floats]:
    """Return theta (N, 3) and x (N, 4), float32."""
    rng = np.random.default_rng(seed)
    theta = 1 + 2 * rng.standard_normal((count, DIM))
    first, second, third = theta.T
    means = np.stack([first + second**2 / 4, second * third / 2, third, first - third], axis=1)
    return theta.astype(np.float32), (means + _NOISE * rng.standard_normal(means.shape)).astype(np.float32)


def zuko_flow(name: str = "MAF", *, conditional: bool = True, steps: int = 200) -> Peer:
    """Return zuko's flow of that name, of theta given x, or of theta alone."""
    import zuko

    context = OBSERVED if conditional else 0
    flow = getattr(zuko.flows, name)(DIM, context, transforms=3, hidden_features=(_HIDDEN, _HIDDEN))

    def log_prob(flow: Any, rows: Tensor, contexts: Tensor) -> Tensor:  # noqa: ANN401
        return flow(contexts if conditional else None).log_prob(rows)

    def decode(flow: Any, z: Tensor, contexts: Tensor) -> Tensor:  # noqa: ANN401
        return flow(contexts if conditional else None).transform.inv(z)

    return _trained(flow, log_prob, decode, steps)


def nflows_maf(*, conditional: bool = True, steps: int = 200) -> Peer:
    """Return a MAF of nflows' layers, of theta given x."""
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.transforms import CompositeTransform, MaskedAffineAutoregressiveTransform, ReversePermutation

    context = OBSERVED if conditional else None
    layers = [
        layer
        for _ in range(3)
        for layer in (
            MaskedAffineAutoregressiveTransform(DIM, _HIDDEN, context_features=context),
            ReversePermutation(DIM),
        )
    ]
    flow = Flow(CompositeTransform(layers), StandardNormal([DIM]))

    def log_prob(flow: Any, rows: Tensor, contexts: Tensor) -> Tensor:  # noqa: ANN401
        return flow.log_prob(rows, contexts.expand(len(rows), -1) if conditional else None)

    def decode(flow: Any, z: Tensor, contexts: Tensor) -> Tensor:  # noqa: ANN401
        return flow._transform.inverse(z, contexts.expand(len(z), -1) if conditional else None)[0]

    return _trained(flow, log_prob, decode, steps)


def normflows_maf(*, steps: int = 200) -> Peer:
    """Return a conditional flow of normflows' MAF and LU layers, of theta given x."""
    import normflows as nf

    layers = [
        layer
        for _ in range(3)
        for layer in (
            nf.flows.MaskedAffineAutoregressive(DIM, _HIDDEN, context_features=OBSERVED),
            nf.flows.LULinearPermute(DIM),
        )
    ]
    flow = nf.ConditionalNormalizingFlow(nf.distributions.DiagGaussian(DIM, trainable=False), layers)

    def log_prob(flow: Any, rows: Tensor, contexts: Tensor) -> Tensor:  # noqa: ANN401
        return flow.log_prob(rows, contexts.expand(len(rows), -1))

    def decode(flow: Any, z: Tensor, contexts: Tensor) -> Tensor:  # noqa: ANN401
        return flow.forward(z, contexts.expand(len(z), -1))

    return _trained(flow, log_prob, decode, steps)


def sbi_flow(method: str, density: str = "maf", *, simulations: int = 500, epochs: int = 20) -> Peer:
    """Return the estimator that sbi's NPE or NLE trains by default options, with its z-scoring of both sides."""
    from sbi.inference import NLE, NPE

    theta, x = map(torch.from_numpy, simulate(simulations, seed=0))
    prior = torch.distributions.MultivariateNormal(torch.ones(DIM), 4 * torch.eye(DIM))
    with tempfile.TemporaryDirectory() as folder, chdir(folder), torch.enable_grad():  # sbi leaves its logs there
        inference = {"NPE": NPE, "NLE": NLE}[method](prior, density_estimator=density, show_progress_bars=False)
        estimator = inference.append_simulations(theta, x).train(max_num_epochs=epochs)

    def log_prob(flow: Any, rows: Tensor, contexts: Tensor) -> Tensor:  # noqa: ANN401
        return flow.log_prob(rows[None], contexts.expand(len(rows), -1))[0]

    def decode(flow: Any, z: Tensor, contexts: Tensor) -> Tensor:  # noqa: ANN401
        seen = flow.net._embedding_net(contexts.expand(len(z), -1))
        return flow.net._transform.inverse(z, context=seen)[0]

    theta_, x_ = simulate(1000, seed=1)
    rows, contexts = (theta_, x_) if method == "NPE" else (x_, theta_)
    return Peer(estimator, log_prob, decode, rows, contexts)


#: The flows that the documents speak of, by name.
PEERS: dict[str, Callable[[], Peer]] = {
    "zuko MAF": zuko_flow,
    "nflows MAF": nflows_maf,
    "normflows MAF, LU": normflows_maf,
    "sbi NPE maf": lambda: sbi_flow("NPE"),
    "sbi NLE maf": lambda: sbi_flow("NLE"),
}


def seeded(make: Callable[[], Peer]) -> Peer:
    """Return what `make` makes from seed 0, without the warnings of the libraries about each other."""
    torch.manual_seed(0)
    os.environ.setdefault("TQDM_DISABLE", "1")
    with warnings.catch_warnings(action="ignore"):
        return make()


def _trained(flow: nn.Module, log_prob: Any, decode: Any, steps: int) -> Peer:  # noqa: ANN401
    theta, x = map(torch.from_numpy, simulate(4000, seed=0))
    optimizer = torch.optim.Adam(flow.parameters(), _RATE)
    with torch.enable_grad():
        for step in range(steps):
            batch = slice(256 * step % len(theta), None)
            rows, contexts = theta[batch][:256], x[batch][:256]
            optimizer.zero_grad()
            (-log_prob(flow, rows, contexts).mean()).backward()
            optimizer.step()
    theta_, x_ = simulate(1000, seed=1)
    return Peer(flow.eval(), log_prob, decode, theta_, x_)
