"""The flows that people train in science: each library's default, small, with its density and its sampler.

Conditional ones are p(theta | x) of the simulator of `given`, the others learn two moons. Widths and numbers of steps
are smaller than their users take, kinds of layers and their options are theirs. bayesflow 2 has no PyTorch flow of its
own, so its layers are FrEIA's here. `science` measures all of them, docs/gallery.md shows how some are made.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.given import (
    DIM,
    NFLOWS,
    NORMFLOWS,
    OBSERVED,
    ZUKO,
    Directions,
    Pairs,
    Peer,
    of_sbi,
    seeded,
    simulated,
    trained,
)
from lunet_export import data

_HIDDEN = 64
_NARROW = 16  # of the committed ones
_MOONS = 2
_STEEP, _STEEP_LAYERS = 2.0, 3  # standard deviation of the logits of bins, and layers


def two_moons() -> tuple[Pairs, Pairs]:
    """Return two moons, float32, with contexts of no numbers: rows to train on, and others."""
    rows = data.load("two-moons")
    train, test = (part.astype("float32") for part in (rows.train, rows.test))
    return (train, train[:, :0]), (test, test[:, :0])


def zuko_nsf(*, steps: int = 200) -> Peer:
    """Return zuko's NSF as in its quick start, of theta given x: 3 autoregressive splines, 8 bins, B = 5."""
    import zuko

    flow = zuko.flows.NSF(DIM, OBSERVED, transforms=3, hidden_features=(_HIDDEN,) * 3)
    return trained(flow, ZUKO, simulated(), steps)


def zuko_moons(*, width: int = _HIDDEN, steps: int = 200) -> Peer:
    """Return zuko's NSF of two moons."""
    import zuko

    return trained(zuko.flows.NSF(_MOONS, transforms=3, hidden_features=(width,) * 2), ZUKO, two_moons(), steps)


def committed_moons() -> nn.Module:
    """Return the flow of exported/zuko-nsf: zuko's NSF of two moons."""
    return seeded(lambda: zuko_moons(width=_NARROW, steps=1500)).flow


def committed_posterior() -> nn.Module:
    """Return the flow of exported/sbi-nsf: the `nsf` of sbi's NPE, of theta given x."""
    from sbi.neural_nets import posterior_nn

    narrow = posterior_nn("nsf", hidden_features=_NARROW, num_transforms=3, num_bins=8)
    return seeded(lambda: of_sbi("NPE", narrow, simulations=4000, epochs=60)).flow


def normflows_realnvp(*, steps: int = 200) -> Peer:
    """Return RealNVP as in the README of normflows, of two moons: 8 couplings in place of 32."""
    import normflows as nf

    layers: list[Any] = []
    for _ in range(8):
        net = nf.nets.MLP([1, _HIDDEN, _HIDDEN, 2], init_zeros=True)
        layers += [nf.flows.AffineCouplingBlock(net), nf.flows.Permute(_MOONS, mode="swap")]
    return _of_normflows(layers, steps)


def normflows_spline(kind: str, *, steps: int = 200) -> Peer:
    """Return the example of normflows' paper, of two moons: splines, each behind `LULinearPermute`.

    Args:
        kind: Name of the layer: `AutoregressiveRationalQuadraticSpline` or `CoupledRationalQuadraticSpline`.
        steps: Number of steps of the training.
    """
    import normflows as nf

    layers: list[Any] = []
    for _ in range(4):
        layers += [getattr(nf.flows, kind)(_MOONS, 2, _HIDDEN), nf.flows.LULinearPermute(_MOONS)]
    return _of_normflows(layers, steps)


def _of_normflows(layers: list[Any], steps: int) -> Peer:
    import normflows as nf

    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(_MOONS, trainable=False), layers)
    return trained(flow, NORMFLOWS, two_moons(), steps)


def dingo(*, steps: int = 200) -> Peer:
    """Return dingo's stack of nflows' layers, of theta given x: coupled splines with 8 bins and B = 1.

    dingo standardizes its parameters before the flow; here an affine layer in front does it.
    """
    from nflows import transforms
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.nn.nets import ResidualNet
    from nflows.utils import create_alternating_binary_mask

    def net(entering: int, leaving: int) -> nn.Module:
        options: dict[str, Any] = {"context_features": OBSERVED, "num_blocks": 2, "use_batch_norm": True}
        return ResidualNet(entering, leaving, _HIDDEN, activation=nn.functional.elu, **options)

    layers: list[Any] = [transforms.PointwiseAffineTransform(shift=-0.5, scale=0.5)]
    for step in range(5):
        mask = create_alternating_binary_mask(DIM, even=step % 2 == 0)
        spline = transforms.PiecewiseRationalQuadraticCouplingTransform(
            mask, net, num_bins=8, tails="linear", tail_bound=1.0
        )
        layers += [transforms.RandomPermutation(DIM), transforms.LULinear(DIM, identity_init=True), spline]
    layers += [transforms.RandomPermutation(DIM), transforms.LULinear(DIM, identity_init=True)]
    flow = Flow(transforms.CompositeTransform(layers), StandardNormal([DIM]))
    return trained(flow, NFLOWS, simulated(), steps)


def bayesflow(*, steps: int = 200) -> Peer:
    """Return bayesflow's stack of FrEIA's layers, of theta given x.

    That is 6 x [ActNorm, permutation, affine coupling of both halves].
    """
    from FrEIA import modules

    coupling = (modules.GLOWCouplingBlock, {"subnet_constructor": _mlp(2, nn.SiLU), "clamp": 1.9})
    flow = _chain(6, (modules.ActNorm, {}), (modules.PermuteRandom, {}), coupling)
    return trained(flow, FREIA, simulated(), steps)


def ikflow(*, steps: int = 200) -> Peer:
    """Return IKFlow's stack, of theta given x: 12 x [PermuteRandom, GLOWCouplingBlock]."""
    from FrEIA import modules

    coupling = (modules.GLOWCouplingBlock, {"subnet_constructor": _mlp(3, nn.LeakyReLU), "clamp": 2.5})
    return trained(_chain(12, (modules.PermuteRandom, {}), coupling), FREIA, simulated(), steps)


def anomalib(*, steps: int = 200) -> Peer:
    """Return the stack of `AllInOneBlock` of anomalib's CFlow, of theta given x: hard permutations, clamp by tanh."""
    from FrEIA import modules

    options = {"subnet_constructor": _mlp(1, nn.ReLU), "affine_clamping": 1.9, "global_affine_type": "SOFTPLUS"}
    return trained(_chain(8, (modules.AllInOneBlock, options)), FREIA, simulated(), steps)


def steep_nflows() -> Peer:
    """Return splines of nflows, 10 bins on [-3, 3], with parameters that no training smoothed, and LU layers."""
    from nflows import transforms
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow

    layers: list[Any] = []
    for _ in range(_STEEP_LAYERS):
        spline = transforms.PiecewiseRationalQuadraticCDF((DIM,), num_bins=10, tails="linear", tail_bound=3.0)
        layers += [_drawn(spline), transforms.LULinear(DIM)]
    flow = Flow(transforms.CompositeTransform(layers), StandardNormal([DIM]))
    return trained(flow, NFLOWS, simulated(conditional=False), steps=0)


def steep_zuko() -> Peer:
    """Return splines of zuko, 8 bins on [-5, 5], with parameters that no training smoothed, and LU layers."""
    import zuko

    layers: list[Any] = []
    for _ in range(_STEEP_LAYERS):
        spline = zuko.flows.MaskedAutoregressiveTransform(
            DIM,
            passes=DIM,
            hidden_features=(),
            univariate=zuko.transforms.MonotonicRQSTransform,
            shapes=[(8,), (8,), (7,)],
        )
        layers += [_drawn(spline), zuko.lazy.UnconditionalTransform(zuko.transforms.LULinearTransform, torch.eye(DIM))]
    flow = zuko.flows.Flow(layers, zuko.flows.NSF(DIM, transforms=1).base)
    return trained(flow, ZUKO, simulated(conditional=False), steps=0)


@torch.no_grad()
def _drawn(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        parameter.normal_(std=_STEEP)
    return module


def _freia_log_prob(flow: Any, rows: Tensor, contexts: Tensor) -> Tensor:  # noqa: ANN401
    z, log_det = flow(rows, c=[contexts])
    return torch.distributions.Normal(z.new_zeros(()), z.new_ones(())).log_prob(z).sum(1) + log_det


#: log p of rows and rows of latents of FrEIA's flows, which hold no base.
FREIA: Directions = (_freia_log_prob, lambda flow, z, contexts: flow(z, c=[contexts], rev=True)[0])


def _chain(count: int, *blocks: tuple[Any, dict[str, Any]]) -> nn.Module:
    """Return a graph of FrEIA of `count` times these blocks; blocks with a subnet take the context."""
    from FrEIA import framework, modules

    condition = framework.ConditionNode(OBSERVED)
    nodes = [framework.InputNode(DIM)]
    for number in range(count):
        for kind, options in blocks:
            more = {"conditions": condition} if "subnet_constructor" in options else {}
            seeds = {"seed": number} if kind is modules.PermuteRandom else {}
            nodes.append(framework.Node(nodes[-1], kind, options | seeds, **more))
    return framework.GraphINN([*nodes, framework.OutputNode(nodes[-1]), condition])


def _mlp(hidden: int, activation: Callable[[], nn.Module]) -> Callable[[int, int], nn.Module]:
    """Return FrEIA's constructor of a network with that many hidden layers."""

    def made(entering: int, leaving: int) -> nn.Module:
        widths = [entering, *[_HIDDEN] * hidden]
        inner = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), activation())]
        last = nn.Linear(_HIDDEN, leaving)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        return nn.Sequential(*inner, last)

    return made


#: The flows by name, with the number of training steps as their argument; those of sbi train by sbi's own loop.
FLOWS: dict[str, Callable[..., Peer]] = {
    "sbi maf": lambda **options: of_sbi("NPE", "maf", **_sbi(**options)),
    "sbi nsf": lambda **options: of_sbi("NPE", "nsf", **_sbi(**options)),
    "sbi maf_rqs": lambda **options: of_sbi("NPE", "maf_rqs", **_sbi(**options)),
    "sbi zuko_nsf": lambda **options: of_sbi("NPE", "zuko_nsf", **_sbi(**options)),
    "zuko NSF": zuko_nsf,
    "zuko NSF, two moons": zuko_moons,
    "normflows RealNVP": normflows_realnvp,
    "normflows autoregressive splines": lambda **options: normflows_spline(_AUTOREGRESSIVE, **options),
    "normflows coupled splines": lambda **options: normflows_spline(_COUPLED, **options),
    "dingo": dingo,
    "bayesflow": bayesflow,
    "IKFlow": ikflow,
    "anomalib": anomalib,
}
_AUTOREGRESSIVE, _COUPLED = "AutoregressiveRationalQuadraticSpline", "CoupledRationalQuadraticSpline"

#: Which of them are splines: their accuracy in float32 is compared.
SPLINES = tuple(name for name in FLOWS if any(part in name for part in ("nsf", "rqs", "NSF", "splines", "dingo")))

#: Flows whose bins are as steep and as flat as their libraries let them be: only their accuracy is compared.
STEEP: dict[str, Callable[[], Peer]] = {"steep bins, nflows": steep_nflows, "steep bins, zuko": steep_zuko}


def _sbi(*, steps: int = 200) -> dict[str, int]:
    """Return about as many steps as epochs of sbi: 450 of 500 simulations in batches of 200."""
    return {"simulations": 500, "epochs": max(1, steps // 3)}
