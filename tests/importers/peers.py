"""Flows that the real packages build and train, and how to ask each package for its own answers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

DIMS = (2, 3, 16)


def package(name):
    """A peer, or a skip that says how to get it."""
    return pytest.importorskip(name, reason=f"{name} is not installed: run make setup-dev")


def rows(count: int, dim: int, *, seed: int = 0, unit: bool = False) -> np.ndarray:
    """Two lobes, mixed over the columns; within (0, 1) if `unit`."""
    rng = np.random.default_rng(seed)
    lobes = 0.6 * rng.standard_normal((count, dim)) + rng.choice([-1.0, 1.0], (count, 1))
    mix = np.eye(dim) + 0.3 * np.random.default_rng(99).standard_normal((dim, dim)) / np.sqrt(dim)
    x = lobes @ mix.T
    return 1 / (1 + np.exp(-x)) if unit else x


@dataclass(frozen=True)
class Peer:
    """How a package is asked, with tensors: rows, and contexts (N, C) of conditional flows."""

    log_prob: Callable
    latent: Callable
    data: Callable


def _nflows_latent(flow, x, *c):
    z, base = flow.transform_to_noise(x, *c), flow._distribution
    return z if not hasattr(base, "mean_") else (z - base.mean_) * torch.exp(-base.log_std_)


def _nflows_data(flow, z, *c):
    base = flow._distribution
    noise = z if not hasattr(base, "mean_") else z * torch.exp(base.log_std_) + base.mean_
    return flow._transform.inverse(noise, *map(flow._embedding_net, c))[0]


def _zuko_latent(flow, x, *c):
    base = flow(*c).base.base_dist
    return (flow(*c).transform(x) - base.loc) / base.scale


def _zuko_data(flow, z, *c):
    base = flow(*c).base.base_dist
    return flow(*c).transform.inv(z * base.scale + base.loc)


def _normflows_latent(flow, x, *c):
    return (flow.inverse(x.clone(), *c) - flow.q0.loc) * torch.exp(-flow.q0.log_scale)


def _normflows_data(flow, z, *c):
    return flow.forward(z * torch.exp(flow.q0.log_scale) + flow.q0.loc, *c)


def _freia_log_prob(flow, x, *c):
    z, log_det = flow(x, c=c)
    return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1) + log_det


def _sbi_net(asked):
    """sbi's estimators hold a flow of nflows, or one of zuko beside an embedding."""

    def of(estimator, rows, c):
        if hasattr(estimator.net, "_embedding_net"):
            return getattr(PEERS["nflows"], asked)(estimator.net, rows, c)
        return getattr(PEERS["zuko"], asked)(estimator.net, rows, estimator._embedding_net(c))

    return of


PEERS = {
    "FrEIA": Peer(_freia_log_prob, lambda flow, x, *c: flow(x, c=c)[0], lambda flow, z, *c: flow(z, c=c, rev=True)[0]),
    "glasflow": Peer(
        lambda flow, x, *c: flow.log_prob(x, *c),
        lambda flow, x, *c: flow.forward(x, *c)[0],
        lambda flow, z, *c: flow.inverse(z, *c)[0],
    ),
    "nflows": Peer(lambda flow, x, *c: flow.log_prob(x, *c), _nflows_latent, _nflows_data),
    "zuko": Peer(lambda flow, x, *c: flow(*c).log_prob(x), _zuko_latent, _zuko_data),
    "normflows": Peer(lambda flow, x, *c: flow.log_prob(x.clone(), *c), _normflows_latent, _normflows_data),
    "sbi": Peer(lambda estimator, x, c: estimator.log_prob(x[None], c)[0], _sbi_net("latent"), _sbi_net("data")),
}


@torch.enable_grad()
def trained(flow: nn.Module, peer: Peer, dim: int, *, steps: int = 20, unit: bool = False) -> nn.Module:
    """The flow after some steps of its own maximum likelihood, in evaluation mode."""
    x = torch.from_numpy(rows(128 if dim < 64 else 16, dim, unit=unit))
    with torch.no_grad():  # away from the identity, where many layers start
        for parameter in learned(flow):
            parameter += 0.05 * torch.randn_like(parameter)
    torch_optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    flow.train()
    for _ in range(steps):
        torch_optimizer.zero_grad()
        loss = -peer.log_prob(flow, x).mean()
        loss.backward()
        torch_optimizer.step()
    assert torch.isfinite(loss)
    return flow.eval()


def learned(flow: nn.Module) -> list[nn.Parameter]:
    """The parameters that training changes: FrEIA holds permutations and fixed matrices as parameters too."""
    return [parameter for parameter in flow.parameters() if parameter.requires_grad]


# nflows ---------------------------------------------------------------------------------------------------------------


def nflows_flow(dim, *layers, diagonal=False):
    package("nflows")
    from nflows.distributions import DiagonalNormal, StandardNormal
    from nflows.flows import Flow
    from nflows.transforms import CompositeTransform

    return Flow(CompositeTransform(layers), (DiagonalNormal if diagonal else StandardNormal)([dim]))


def nflows_lu(dim):
    package("nflows")
    from nflows import transforms as t

    layers = [t.LULinear(dim, identity_init=False), t.LeakyReLU(0.3), t.LULinear(dim, eps=0.01), t.LeakyReLU(1.7)]
    return nflows_flow(dim, *layers, t.LULinear(dim, identity_init=False))


def nflows_normalised(dim):
    package("nflows")
    from nflows import transforms as t

    shift, scale = torch.linspace(-1, 1, dim), torch.linspace(0.5, 2, dim)
    return nflows_flow(
        dim,
        t.PointwiseAffineTransform(shift, scale),
        t.CompositeTransform([t.ActNorm(dim), t.RandomPermutation(dim), t.InverseTransform(t.LULinear(dim))]),
        t.BatchNorm(dim),
        t.IdentityTransform(),
        t.PointwiseAffineTransform(0.3, 1.5),
        t.LULinear(dim, using_cache=True),
        diagonal=True,
    )


def nflows_squashed(dim):
    package("nflows")
    from nflows import transforms as t
    from nflows.transforms.nonlinearities import LogTanh

    back = t.InverseTransform(t.Tanh())
    inside = [t.Sigmoid(temperature=0.7), t.PointwiseAffineTransform(-1.0, 2.0), back]
    return nflows_flow(dim, t.Logit(), t.LULinear(dim), LogTanh(0.8), t.LULinear(dim), *inside, t.LULinear(dim))


def nflows_tanh(dim):
    package("nflows")
    from nflows import transforms as t

    half = t.PointwiseAffineTransform(0.5, 0.5)
    return nflows_flow(dim, t.LULinear(dim), t.Tanh(), half, t.Logit(0.8), t.LULinear(dim))


def nflows_dense(dim):
    package("nflows")
    from nflows import transforms as t

    return nflows_flow(dim, t.QRLinear(dim, 2), t.SVDLinear(dim, 2), t.HouseholderSequence(dim, 3), t.LULinear(dim))


def nflows_naive(dim):
    """Whose own inverse calls torch.solve, which PyTorch has no more."""
    package("nflows")
    from nflows import transforms as t

    return nflows_flow(dim, t.NaiveLinear(dim), t.LeakyReLU(0.5), t.NaiveLinear(dim))


def nflows_maf(dim):
    package("nflows")
    from nflows.flows import MaskedAutoregressiveFlow

    return MaskedAutoregressiveFlow(dim, 20, 2, 2, activation=torch.tanh, use_random_permutations=True)


def nflows_maf_feedforward(dim):
    package("nflows")
    from nflows.flows import MaskedAutoregressiveFlow

    options = {"use_residual_blocks": False, "use_random_masks": True, "dropout_probability": 0.1}
    return MaskedAutoregressiveFlow(dim, 20, 2, 2, batch_norm_within_layers=True, **options)


def nflows_realnvp(dim):
    package("nflows")
    from nflows.flows import SimpleRealNVP

    options = {"batch_norm_within_layers": True, "batch_norm_between_layers": True}
    return SimpleRealNVP(dim, 20, 3, 2, activation=nn.functional.leaky_relu, **options)


def nflows_nice(dim):
    package("nflows")
    from nflows.flows import SimpleRealNVP

    return SimpleRealNVP(dim, 20, 3, 1, use_volume_preserving=True, activation=nn.functional.elu)


# zuko -----------------------------------------------------------------------------------------------------------------


def zuko_flow(dim, *transforms, base=None):
    zuko = package("zuko")
    loc, scale = base or (torch.zeros(dim), torch.ones(dim))
    normal = zuko.lazy.UnconditionalDistribution(zuko.distributions.DiagNormal, loc, scale, buffer=True)
    return zuko.lazy.Flow(list(transforms), normal)


def zuko_lu(dim):
    zuko = package("zuko")
    t, lazy = zuko.transforms, zuko.lazy.UnconditionalTransform
    first, second = (torch.eye(dim) + 0.3 * torch.randn(dim, dim) / dim**0.5 for _ in range(2))
    return zuko_flow(
        dim,
        lazy(t.LULinearTransform, first),
        lazy(t.AdditiveTransform, torch.randn(dim)),
        lazy(t.LULinearTransform, second).inv,
        base=(0.1 * torch.randn(dim), torch.linspace(0.5, 1.5, dim)),
    )


def zuko_mixed(dim):
    zuko = package("zuko")
    t, lazy = zuko.transforms, zuko.lazy.UnconditionalTransform
    clip = lazy(t.SoftclipTransform, bound=9.0)
    return zuko_flow(
        dim,
        lazy(t.RotationTransform, torch.randn(dim, dim)),
        lazy(t.PermutationTransform, torch.randperm(dim), buffer=True),
        zuko.flows.ElementWiseTransform(dim),
        clip,
        lazy(t.AffineTransform, torch.zeros(()), torch.full((), -1.0), buffer=True),
        clip.inv,
        lazy(t.TanhTransform),
        lazy(t.AffineTransform, 0.5, 0.5),
        lazy(t.SigmoidTransform).inv,
        lazy(t.LULinearTransform, torch.eye(dim) + 0.1 * torch.randn(dim, dim)),
        lazy(t.IdentityTransform),
    )


def zuko_maf(dim):
    zuko = package("zuko")
    return zuko.flows.MAF(dim, transforms=2, hidden_features=(20, 20), randperm=True, activation=nn.Tanh)


def zuko_maf_residual(dim):
    zuko = package("zuko")
    return zuko.flows.MAF(dim, transforms=2, hidden_features=(20, 20), residual=True, activation=nn.SiLU, passes=2)


def zuko_maf_steep(dim):
    zuko = package("zuko")
    from functools import partial

    univariate = partial(zuko.transforms.MonotonicAffineTransform, slope=0.2)
    return zuko.flows.MAF(dim, transforms=2, hidden_features=(20,), univariate=univariate)


def zuko_realnvp(dim):
    zuko = package("zuko")
    return zuko.flows.RealNVP(dim, transforms=3, hidden_features=(20, 20), randmask=True, activation=nn.ELU)


def zuko_nice(dim):
    zuko = package("zuko")
    options = {"univariate": zuko.transforms.AdditiveTransform, "shapes": [()]}
    return zuko.flows.NICE(dim, transforms=3, hidden_features=(20,), **options)


# normflows ------------------------------------------------------------------------------------------------------------


def normflows_flow(dim, *layers):
    nf = package("normflows")
    return nf.NormalizingFlow(nf.distributions.DiagGaussian(dim), layers)


def normflows_lu(dim):
    f = package("normflows").flows
    return normflows_flow(dim, *(f.LULinearPermute(dim, identity_init=False) for _ in range(3)))


def normflows_mixed(dim):
    f = package("normflows").flows
    return normflows_flow(
        dim,
        f.Permute(dim),
        f.InvertibleAffine(dim),
        f.ActNorm((dim,)),
        f.Permute(dim, mode="swap"),
        f.Composite([f.InvertibleAffine(dim, use_lu=False), f.AffineConstFlow((dim,), shift=False)]),
        f.Reverse(f.LULinearPermute(dim)),
        f.AffineConstFlow((dim,)),
    )


def normflows_logit(dim):
    nf = package("normflows")
    return normflows_flow(dim, nf.flows.LULinearPermute(dim), nf.transforms.Logit(0.02), nf.transforms.Shift(-0.01))


def normflows_maf(dim):
    f = package("normflows").flows
    layers = [f.MaskedAffineAutoregressive(dim, 20, num_blocks=2, activation=torch.tanh) for _ in range(2)]
    return normflows_flow(dim, layers[0], f.LULinearPermute(dim), layers[1])


def normflows_maf_feedforward(dim):
    f = package("normflows").flows
    options = {"use_residual_blocks": False, "random_mask": True, "use_batch_norm": True}
    return normflows_flow(dim, f.LULinearPermute(dim), f.MaskedAffineAutoregressive(dim, 20, **options))


def normflows_masked(dim):
    nf = package("normflows")
    masks = [torch.arange(dim) % 2, 1 - torch.arange(dim) % 2]
    both = [nf.nets.MLP([dim, 20, dim], leaky=0.1, output_fn="tanh", output_scale=0.5, score_scale=0.7) for _ in "st"]
    shift = nf.nets.MLP([dim, 15, 15, dim])
    layers = [nf.flows.MaskedAffineFlow(masks[0] * 1.0, *both), nf.flows.MaskedAffineFlow(masks[1] * 1.0, shift)]
    return normflows_flow(dim, *layers, nf.flows.MaskedAffineFlow(masks[0] * 1.0, None, nf.nets.MLP([dim, 9, dim])))


def normflows_coupling(dim):
    nf = package("normflows")
    half, rest = (dim + 1) // 2, dim // 2

    def block(kept, changed, **options):
        width = changed * (1 if options.get("scale") is False else 2)
        return nf.flows.AffineCouplingBlock(nf.nets.MLP([kept, 20, width], leaky=0.2), **options)

    layers = [
        block(half, rest),
        block(rest, half, split_mode="channel_inv", scale_map="sigmoid"),
        block(half, rest, scale_map="sigmoid_inv"),
        block(rest, half, split_mode="channel_inv", scale=False),
    ]
    if dim % 2 == 0:
        layers += [block(half, half, split_mode=mode) for mode in ("checkerboard", "checkerboard_inv")]
    return normflows_flow(dim, *layers)


# FrEIA ----------------------------------------------------------------------------------------------------------------


def freia_net(entering, leaving):
    return nn.Sequential(nn.Linear(entering, 20), nn.ReLU(), nn.Linear(20, leaving))


def freia_flow(dim, *blocks):
    """A `SequenceINN` in float64 of blocks, by the names of their classes and their options."""
    modules, flow = package("FrEIA").modules, package("FrEIA").framework.SequenceINN(dim)
    for name, options in blocks:
        flow.append(getattr(modules, name), **options)
    return in_float64(flow)


@torch.no_grad()
def in_float64(flow):
    """The flow in float64 with rotations that are orthogonal there: FrEIA itself rounds them to float32."""
    for module in flow.double().modules():
        for name, parameter in module.named_parameters(recurse=False):
            if name in ("w_perm", "w_0", "W") and not ((parameter == 0) | (parameter == 1)).all():
                left, _, right = torch.linalg.svd(parameter)
                parameter.copy_(left @ right)
                if name == "w_perm":
                    module.w_perm_inv.copy_(parameter.T)
    return flow


def freia_glow(dim):
    """As IKFlow stacks them."""
    block = ("GLOWCouplingBlock", {"subnet_constructor": freia_net, "clamp": 2.5})
    return freia_flow(dim, *(entry for i in range(3) for entry in (("PermuteRandom", {"seed": i}), block)))


def freia_all_in_one(dim):
    """As anomalib stacks them, of rows."""
    options = {"subnet_constructor": freia_net, "affine_clamping": 2.0, "global_affine_type": "SOFTPLUS"}
    return freia_flow(dim, *(("AllInOneBlock", options) for _ in range(3)))


def freia_soft(dim):
    options = {"subnet_constructor": freia_net, "permute_soft": True}
    return freia_flow(
        dim,
        ("AllInOneBlock", {**options, "reverse_permutation": True, "global_affine_type": "SIGMOID"}),
        ("ActNorm", {}),
        ("AllInOneBlock", {**options, "learned_householder_permutation": 3, "global_affine_type": "EXP"}),
        ("AllInOneBlock", {**options, "gin_block": True}),
    )


def freia_couplings(dim):
    options = {"subnet_constructor": freia_net}
    return freia_flow(
        dim,
        ("RNVPCouplingBlock", {**options, "clamp_activation": "TANH"}),
        ("HouseholderPerm", {"n_reflections": 3}),
        ("NICECouplingBlock", options),
        ("FixedLinearTransform", {"M": torch.eye(dim) + 0.3 * torch.randn(dim, dim) / dim**0.5}),
        ("GINCouplingBlock", {**options, "clamp_activation": "SIGMOID", "split_len": 1}),
        ("LearnedElementwiseScaling", {}),
        ("AffineCouplingOneSided", {**options, "clamp_activation": "SIGMOID"}),
    )


#: Of each peer its flows; those of UNIT have data within (0, 1), and those of LARGE are plain LU stacks.
FLOWS = {
    "FrEIA": (freia_glow, freia_all_in_one, freia_soft, freia_couplings),
    "nflows": (
        nflows_lu,
        nflows_normalised,
        nflows_squashed,
        nflows_tanh,
        nflows_dense,
        nflows_naive,
        nflows_maf,
        nflows_maf_feedforward,
        nflows_realnvp,
        nflows_nice,
    ),
    "zuko": (zuko_lu, zuko_mixed, zuko_maf, zuko_maf_residual, zuko_maf_steep, zuko_realnvp, zuko_nice),
    "normflows": (
        normflows_lu,
        normflows_mixed,
        normflows_logit,
        normflows_maf,
        normflows_maf_feedforward,
        normflows_masked,
        normflows_coupling,
    ),
}
UNIT = (nflows_squashed, normflows_logit)
LARGE = (nflows_lu, zuko_lu, normflows_lu)
NO_INVERSE = (nflows_naive,)
