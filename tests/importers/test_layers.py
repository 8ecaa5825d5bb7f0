"""Every kind of layer alone, in both directions: value and log-determinant are the peer's own."""

import numpy as np
import pytest
import torch
from torch import nn

from lunet_export.importers import importing
from lunet_export.importers.parts import inverted_parts
from tests.importers.peers import freia_net, in_float64, learned, package

pytestmark = pytest.mark.filterwarnings("ignore")  # of one part of the peers about another, and of PyTorch about them

DIM = 4
LIMIT = 1e-12
UNIT, ALL = (0.02, 0.98), (-2.0, 2.0)


def nflows_layers():
    from nflows import transforms as t
    from nflows.nn.nets import ResidualNet
    from nflows.transforms.nonlinearities import LogTanh

    def coupled(kind, **options):
        class Net(ResidualNet):  # a class of the user's own, which changes nothing
            pass

        return kind(torch.tensor([1, -1, 1, -1]), lambda i, o: Net(i, o, hidden_features=9, num_blocks=1), **options)

    linear = {"tails": "linear", "tail_bound": 1.5}
    both = {"apply_unconditional_transform": True}
    splines = t.MaskedPiecewiseRationalQuadraticAutoregressiveTransform

    return {
        "LULinear": (t.LULinear(DIM, identity_init=False, eps=0.05), ALL),
        "NaiveLinear": (t.NaiveLinear(DIM), ALL),
        "QRLinear": (t.QRLinear(DIM, 3), ALL),
        "SVDLinear": (t.SVDLinear(DIM, 2, eps=0.1), ALL),
        "HouseholderSequence": (t.HouseholderSequence(DIM, 3), ALL),
        "Permutation": (t.Permutation(torch.tensor([2, 0, 3, 1])), ALL),
        "RandomPermutation": (t.RandomPermutation(DIM), ALL),
        "ReversePermutation": (t.ReversePermutation(DIM), ALL),
        "ActNorm": (t.ActNorm(DIM), ALL),
        "BatchNorm": (t.BatchNorm(DIM), ALL),
        "PointwiseAffineTransform": (t.PointwiseAffineTransform(torch.randn(DIM), torch.rand(DIM) + 0.5), ALL),
        "LeakyReLU": (t.LeakyReLU(0.3), ALL),
        "Sigmoid": (t.Sigmoid(temperature=1.7, learn_temperature=True), ALL),
        "Logit": (t.Logit(0.6, eps=0.1), (0.0, 1.0)),
        "Tanh": (t.Tanh(), ALL),
        "LogTanh": (LogTanh(0.7), ALL),
        "MaskedAffineAutoregressiveTransform": (t.MaskedAffineAutoregressiveTransform(DIM, 9), ALL),
        "AffineCouplingTransform": (coupled(t.AffineCouplingTransform), ALL),
        "AdditiveCouplingTransform": (coupled(t.AdditiveCouplingTransform), ALL),
        "splines": (coupled(t.PiecewiseRationalQuadraticCouplingTransform, **linear), ALL),
        "splines of both halves": (coupled(t.PiecewiseRationalQuadraticCouplingTransform, **linear, **both), ALL),
        "splines in a box": (coupled(t.PiecewiseRationalQuadraticCouplingTransform, **both), UNIT),
        "masked splines": (splines(DIM, 9, **linear), ALL),
        "masked splines in a box": (splines(DIM, 9), UNIT),
        "PiecewiseRationalQuadraticCDF": (t.PiecewiseRationalQuadraticCDF(DIM, **linear), ALL),
        "PiecewiseRationalQuadraticCDF in a box": (t.PiecewiseRationalQuadraticCDF((DIM,), num_bins=4), UNIT),
    }


def zuko_layers():
    import zuko

    t, lazy = zuko.transforms, zuko.lazy.UnconditionalTransform
    vector = torch.linspace(-1, 1, DIM)

    def spline(**options):
        return t.MonotonicRQSTransform(*(torch.randn(DIM, k) for k in (5, 5, 4)), **options)

    return {
        "LULinearTransform": (t.LULinearTransform(torch.randn(DIM, DIM) + 2 * torch.eye(DIM)), ALL),
        "lazy LULinearTransform": (lazy(t.LULinearTransform, torch.randn(DIM, DIM) + 2 * torch.eye(DIM)), ALL),
        "RotationTransform": (t.RotationTransform(torch.randn(DIM, DIM)), ALL),
        "PermutationTransform": (t.PermutationTransform(torch.tensor([2, 0, 3, 1])), ALL),
        "SoftclipTransform": (t.SoftclipTransform(3.0), ALL),
        "MonotonicAffineTransform": (t.MonotonicAffineTransform(vector, vector.flip(0)), ALL),
        "AdditiveTransform": (t.AdditiveTransform(vector), ALL),
        "AffineTransform": (t.AffineTransform(vector, vector + 2), ALL),
        "negative AffineTransform": (t.AffineTransform(0.5, -2.0), ALL),
        "SigmoidTransform": (t.SigmoidTransform(), ALL),
        "TanhTransform": (t.TanhTransform(), ALL),
        "ComposeTransform": (t.ComposeTransform([t.AffineTransform(vector, 2.0), t.TanhTransform()]), ALL),
        "IndependentTransform": (t.IndependentTransform(t.AffineTransform(vector, 2.0), 1), ALL),
        "ComposedTransform": (t.ComposedTransform(t.AdditiveTransform(vector), t.SoftclipTransform(3.0)), ALL),
        "ElementWiseTransform": (zuko.flows.ElementWiseTransform(DIM), ALL),
        "MaskedAutoregressiveTransform": (zuko.flows.MaskedAutoregressiveTransform(DIM, hidden_features=(9,)), ALL),
        "GeneralCouplingTransform": (zuko.flows.GeneralCouplingTransform(DIM, hidden_features=(9,)), ALL),
        "MonotonicRQSTransform": (spline(bound=1.5), ALL),
        "splines": (zuko.flows.NSF(DIM, transforms=1, hidden_features=(9,)).transform, ALL),
        "splines of some columns": (zuko.flows.NSF(DIM, transforms=1, passes=2, hidden_features=(9,)).transform, ALL),
        "CircularShiftTransform": (t.CircularShiftTransform(2.5), ALL),
        "MonotonicRQSTransform of all columns": (
            t.MonotonicRQSTransform(*(torch.randn(k) for k in (5, 5, 4)), bound=1.5),
            ALL,
        ),
        "splines on circles": (zuko.flows.NCSF(DIM, transforms=1, hidden_features=(9,)).transform, ALL),
        "splines of some columns on circles": (
            zuko.flows.NCSF(DIM, transforms=2, passes=2, hidden_features=(9,)).transform,
            ALL,
        ),
        "LazyComposedTransform": (zuko.lazy.LazyComposedTransform(zuko.flows.ElementWiseTransform(DIM)), ALL),
    }


def normflows_layers():
    import normflows as nf

    f, mask = nf.flows, torch.tensor([1.0, 0.0, 0.0, 1.0])

    def net(*widths):
        return nf.nets.MLP(list(widths))

    act_norm = f.ActNorm((DIM,))
    act_norm(torch.randn(20, DIM))
    found = {
        "LULinearPermute": (f.LULinearPermute(DIM, identity_init=False), ALL),
        "Permute": (f.Permute(DIM), ALL),
        "Permute, swap": (f.Permute(DIM, mode="swap"), ALL),
        "InvertibleAffine": (f.InvertibleAffine(DIM), ALL),
        "InvertibleAffine, dense": (f.InvertibleAffine(DIM, use_lu=False), ALL),
        "AffineConstFlow": (f.AffineConstFlow((DIM,)), ALL),
        "ActNorm": (act_norm, ALL),
        "MaskedAffineAutoregressive": (f.MaskedAffineAutoregressive(DIM, 9), ALL),
        "MaskedAffineFlow": (f.MaskedAffineFlow(mask, net(4, 9, 4), net(4, 8, 4)), ALL),
        "Logit": (nf.transforms.Logit(0.1), UNIT),
        "Shift": (nf.transforms.Shift(0.3), ALL),
        "Reverse": (f.Reverse(f.LULinearPermute(DIM, identity_init=False)), ALL),
        "Composite": (f.Composite([f.AffineConstFlow((DIM,)), f.Permute(DIM)]), ALL),
    }
    inner = f.neural_spline
    options = {"tails": "linear", "tail_bound": 1.5}
    found |= {
        "CDF": (inner.coupling.PiecewiseRationalQuadraticCDF([DIM], identity_init=False, **options), ALL),
        "coupling alone": (f.CoupledRationalQuadraticSpline(DIM, 1, 9, tail_bound=1.5).prqct, ALL),
        "autoregressive layer alone": (f.AutoregressiveRationalQuadraticSpline(DIM, 1, 9, tail_bound=1.5).mprqat, ALL),
    }
    found["CoupledRationalQuadraticSpline in a box"] = (f.CoupledRationalQuadraticSpline(DIM, 1, 9, tails=None), UNIT)
    for wide in (2.0, torch.tensor([2.0, 3.0, 2.5, 2.0])):
        for kind, options in (("Coupled", {"reverse_mask": True}), ("Autoregressive", {})):
            for circles in ([0, 3], [1], [0, 1, 2, 3]):
                layer = getattr(f, f"Circular{kind}RationalQuadraticSpline")
                name = f"Circular{kind}RationalQuadraticSpline, {wide}, {circles}"
                found[name] = (layer(DIM, 1, 9, circles, tail_bound=wide, init_identity=False, **options), ALL)
    for mode in ("channel", "channel_inv", "checkerboard", "checkerboard_inv"):
        for scale in ("exp", "sigmoid", "sigmoid_inv"):
            block = f.AffineCouplingBlock(net(2, 9, 4), scale_map=scale, split_mode=mode)
            found[f"AffineCouplingBlock, {mode}, {scale}"] = (block, ALL)
    return found


def freia_layers():
    from FrEIA import modules as m

    dims, subnet = [(DIM,)], {"subnet_constructor": freia_net}
    act_norm = m.ActNorm(dims)
    act_norm((torch.randn(20, DIM),))
    found = {
        "PermuteRandom": m.PermuteRandom(dims, seed=1),
        "FixedLinearTransform": m.FixedLinearTransform(dims, M=torch.randn(DIM, DIM), b=torch.randn(DIM)),
        "FixedLinearTransform, no shift": m.FixedLinearTransform(dims, M=torch.randn(DIM, DIM)),
        "ActNorm": act_norm,
        "HouseholderPerm": m.HouseholderPerm(dims, n_reflections=3),
        "HouseholderPerm, fixed": m.HouseholderPerm(dims, n_reflections=3, fixed=True),
        "LearnedElementwiseScaling": m.LearnedElementwiseScaling(dims),
        "InvertibleSigmoid": m.InvertibleSigmoid(dims),
        "NICECouplingBlock": m.NICECouplingBlock(dims, **subnet),
        "NICECouplingBlock, split": m.NICECouplingBlock(dims, **subnet, split_len=1),
    }
    for kind in ("GLOWCouplingBlock", "RNVPCouplingBlock", "GINCouplingBlock", "AffineCouplingOneSided"):
        for clamp in ("ATAN", "TANH", "SIGMOID"):
            for split in (0.5, 0.25, 3):
                options = {"clamp": 1.7, "clamp_activation": clamp, "split_len": split}
                found[f"{kind}, {clamp}, {split}"] = getattr(m, kind)(dims, **subnet, **options)
    blocks = {"": {}, "clamp 0.7": {"affine_clamping": 0.7}, "GIN": {"gin_block": True}}
    blocks |= {kind: {"global_affine_type": kind, "global_affine_init": 0.7} for kind in ("SIGMOID", "SOFTPLUS", "EXP")}
    for soft in (False, True):
        for reflections in (0, 2):
            for reverse in (False, True):
                turned = {"permute_soft": soft, "reverse_permutation": reverse}
                turned["learned_householder_permutation"] = reflections
                turned["learned_householder_permutation"] = reflections
                for name, options in blocks.items():
                    block = m.AllInOneBlock(dims, **subnet, **turned, **options)
                    found[f"AllInOneBlock, {name}, {soft}, {reflections}, {reverse}"] = block
    return {name: (in_float64(layer), ALL) for name, layer in found.items()} | {
        "OrthogonalTransform": (m.OrthogonalTransform(dims), ALL)  # whose matrix a perturbed one would not stay
    }


TABLES = {"FrEIA": freia_layers, "nflows": nflows_layers, "zuko": zuko_layers, "normflows": normflows_layers}


def asked(library, layer, x):
    """The peer's own value and log-determinant, from data to latent."""
    x = x.clone()
    if library == "FrEIA":
        (y,), log_det = layer((x,))
        return y, torch.as_tensor(log_det).expand(len(x))
    if library == "normflows":
        y, log_det = layer.inverse(x)
        return y, torch.as_tensor(log_det).expand(len(x))
    if library == "nflows":
        return layer(x)
    transform = layer() if isinstance(layer, nn.Module) else layer
    y = transform(x)
    log_det = transform.log_abs_det_jacobian(x, y)
    return y, log_det if log_det.ndim == 1 else log_det.expand(x.shape).sum(1)


def carried(layers, x):
    log_det = np.zeros(len(x))
    for layer in layers:
        found = layer.forward(x)
        x, log_det = found.rows, log_det + found.log_det
    return x, log_det


@pytest.mark.parametrize("library", TABLES)
@torch.no_grad()
def test_each_layer_alone_in_both_directions(library):
    package(library)
    for name, (layer, (low, high)) in TABLES[library]().items():
        for parameter in learned(layer) if isinstance(layer, nn.Module) and name != "OrthogonalTransform" else ():
            parameter += 0.1 * torch.randn_like(parameter)
        if isinstance(layer, nn.Module):
            for buffer_name, buffer in layer.named_buffers():
                if buffer_name.endswith("running_var"):
                    buffer += 0.5
            layer.eval()
        x = np.random.default_rng(0).uniform(low, high, (50, DIM))
        _, reading = importing.reading_of(layer, None)
        assert all(part.refusal is None for part in reading.parts), name
        layers = [inner.spread(DIM) for part in reading.parts for inner in part.layers]
        y, log_det = carried(layers, x)
        their_y, their_log_det = (value.numpy() for value in asked(library, layer, torch.from_numpy(x)))
        assert np.abs(y - their_y).max() < LIMIT, name
        assert np.abs(log_det - their_log_det).max() < LIMIT, name
        backwards = [inner.spread(DIM) for part in inverted_parts(reading.parts) for inner in part.layers]
        inside = np.clip(x, *(0.1, 0.9)) if name == "Logit" and library == "nflows" else x
        back, back_log_det = carried(backwards, carried(layers, inside)[0])
        assert np.abs(back - inside).max() < LIMIT * 10, name
        assert np.abs(back_log_det + carried(layers, inside)[1]).max() < LIMIT * 10, name
