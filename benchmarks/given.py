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
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lunet_export.importers.twin import in_float64

Floats = NDArray[np.floating]
Pairs = tuple[Floats, Floats]  # rows and their contexts
Direction = Callable[[Any, Tensor, Tensor], Tensor]
Directions = tuple[Direction, Direction]

DIM, OBSERVED = 3, 4  # numbers of theta and of x
_NOISE = 0.3
_HIDDEN = 32
_RATE = 3e-3


@dataclass(frozen=True)
class Peer:
    """A library's flow, trained, with its two directions: rows (N, D) and contexts (N, C) or (1, C).

    Contexts of no numbers belong to a flow that takes none.

    Attributes:
        flow: What is exported.
        log_prob: Function of the flow, rows and contexts.
        decode: Function of the flow, latents and contexts.
        rows: Rows that it was not trained on.
        contexts: Their contexts.
    """

    flow: nn.Module
    log_prob: Direction
    decode: Direction
    rows: Floats
    contexts: Floats

    @torch.no_grad()
    def in_float64(self, rows: Floats, contexts: Floats, *, sampling: bool = False) -> Floats:
        """Return the library's own answers, computed in float64: log p of rows, or the rows of latents."""
        from lunet_export.importers import nflows

        with in_float64():
            own = deepcopy(self.flow).double()
            nflows._settle(own)  # constants that nflows keeps in float32
            call = self.decode if sampling else self.log_prob
            return call(own, torch.from_numpy(rows).double(), torch.from_numpy(contexts).double()).numpy()


def _beside(rows: Tensor, contexts: Tensor) -> Tensor | None:
    """Return a context per row; the batch stays free where PyTorch's exporter looks on."""
    return contexts.expand(rows.shape[0], -1) if contexts.shape[1] else None


#: log p of rows and rows of latents, as each library is asked for them.
ZUKO: Directions = (
    lambda flow, rows, contexts: flow(_beside(rows, contexts)).log_prob(rows),
    lambda flow, z, contexts: flow(_beside(z, contexts)).transform.inv(z),
)
NFLOWS: Directions = (
    lambda flow, rows, contexts: flow.log_prob(rows, _beside(rows, contexts)),
    lambda flow, z, contexts: flow._transform.inverse(z, _beside(z, contexts))[0],
)
NORMFLOWS: Directions = (
    lambda flow, rows, contexts: flow.log_prob(rows, *_some(_beside(rows, contexts))),
    lambda flow, z, contexts: flow.forward(z, *_some(_beside(z, contexts))),
)
SBI: Directions = (
    lambda flow, rows, contexts: flow.log_prob(rows[None], _beside(rows, contexts))[0],
    lambda flow, z, contexts: flow.net._transform.inverse(z, flow.net._embedding_net(_beside(z, contexts)))[0],
)
SBI_ZUKO: Directions = (
    SBI[0],
    lambda flow, z, contexts: flow.net(flow._embedding_net(_beside(z, contexts))).transform.inv(z),
)


def _some(contexts: Tensor | None) -> list[Tensor]:
    """Return the arguments of normflows, whose flows without a context have no argument for it."""
    return [] if contexts is None else [contexts]


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
    return trained(flow, ZUKO, simulated(conditional=conditional), steps)


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
    return trained(flow, NFLOWS, simulated(conditional=conditional), steps)


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
    return trained(flow, NORMFLOWS, simulated(), steps)


def of_sbi(
    method: str, estimator: str | Callable[..., Any] = "maf", *, simulations: int = 500, epochs: int = 20
) -> Peer:
    """Return the estimator that sbi's NPE or NLE trains, with its z-scoring of both sides.

    Args:
        method: `NPE` or `NLE`.
        estimator: Name of a kind, which sbi gives its default options, or a builder of sbi.
        simulations: Number of pairs to train on.
        epochs: Largest number of epochs.
    """
    from sbi.inference import NLE, NPE

    theta, x = map(torch.from_numpy, simulate(simulations, seed=0))
    prior = torch.distributions.MultivariateNormal(torch.ones(DIM), 4 * torch.eye(DIM))
    with tempfile.TemporaryDirectory() as folder, chdir(folder), torch.enable_grad():  # sbi leaves its logs there
        inference = {"NPE": NPE, "NLE": NLE}[method](prior, density_estimator=estimator, show_progress_bars=False)
        trained = inference.append_simulations(theta, x).train(max_num_epochs=epochs)
    theta_, x_ = simulate(1000, seed=1)
    rows, contexts = (theta_, x_) if method == "NPE" else (x_, theta_)
    return Peer(trained, *(SBI_ZUKO if str(estimator).startswith("zuko") else SBI), rows, contexts)


#: The flows that the documents speak of, by name.
PEERS: dict[str, Callable[[], Peer]] = {
    "zuko MAF": zuko_flow,
    "nflows MAF": nflows_maf,
    "normflows MAF, LU": normflows_maf,
    "sbi NPE maf": lambda: of_sbi("NPE"),
    "sbi NLE maf": lambda: of_sbi("NLE"),
}


def seeded(make: Callable[[], Peer]) -> Peer:
    """Return what `make` makes from seed 0, without the warnings of the libraries about each other."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  FrEIA draws permutations by it
    os.environ.setdefault("TQDM_DISABLE", "1")
    with warnings.catch_warnings(action="ignore"):
        return make()


def simulated(*, conditional: bool = True) -> tuple[Pairs, Pairs]:
    """Return theta with x, or with contexts of no numbers: 4,000 pairs to train on, and 1,000 others."""
    pairs = simulate(4000, seed=0), simulate(1000, seed=1)
    return pairs if conditional else tuple((theta, x[:, :0]) for theta, x in pairs)


def trained(flow: nn.Module, directions: Directions, pairs: tuple[Pairs, Pairs], steps: int) -> Peer:
    """Return a flow after some steps of maximum likelihood, by its library's own log_prob.

    Args:
        flow: What is trained.
        directions: Functions of the flow, entering rows and contexts: log p of rows, and the rows of latents.
        pairs: Rows with contexts to train on, and others.
        steps: Number of steps of 256 rows each.
    """
    train, other = pairs
    rows, contexts = map(torch.from_numpy, train)
    optimizer = torch.optim.Adam(flow.parameters(), _RATE)
    with torch.enable_grad():
        for step in range(steps):
            batch = slice(256 * step % len(rows), None)
            optimizer.zero_grad()
            (-directions[0](flow, rows[batch][:256], contexts[batch][:256]).mean()).backward()
            optimizer.step()
    return Peer(flow.eval(), *directions, *other)
