"""Rational-quadratic splines of the real packages, alone and in flows: their own answers, and faults that are caught.

Every flow has random numbers, far from the identity, and is asked at rows inside and outside of its splines' boxes.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from lunet_export import ExportedFlow, importers
from lunet_export.checks import reference
from lunet_export.errors import CheckFailedError, CheckpointError, UnsupportedLayersError
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.importers import networks, nflows, normflows, splines, zuko
from lunet_export.importers.twin import twin
from lunet_export.layers import RationalQuadratic, SplineAutoregressive
from lunet_export.layers.errors import EXACT
from tests import tolerances
from tests.importers.peers import PEERS, learned, nflows_flow, normflows_flow, package
from tests.importers.test_bases import normflows_circular, zuko_ncsf
from tests.importers.test_interop import LIMIT, gap

pytestmark = pytest.mark.filterwarnings("ignore")  # of one part of the peers about another, and of PyTorch about them

DIM, WIDTH, COUNT = 3, 2, 64  # of rows, of contexts, and how many of both

# nflows


def nflows_net(width=None):
    package("nflows")
    from nflows.nn.nets import ResidualNet

    return lambda i, o: ResidualNet(i, o, 12, context_features=width, num_blocks=1)


def nflows_coupled(mask=(1, 0, 1), *, width=None, net=None, **options):
    package("nflows")
    from nflows.transforms import PiecewiseRationalQuadraticCouplingTransform

    options = {"tails": "linear", "tail_bound": 2.0, "num_bins": 5} | options
    return PiecewiseRationalQuadraticCouplingTransform(torch.tensor(mask), net or nflows_net(width), **options)


def nflows_masked(**options):
    package("nflows")
    from nflows.transforms import MaskedPiecewiseRationalQuadraticAutoregressiveTransform

    options = {"tails": "linear", "tail_bound": 2.0, "num_bins": 5, "num_blocks": 1} | options
    return MaskedPiecewiseRationalQuadraticAutoregressiveTransform(DIM, 12, **options)


def nflows_fixed(**options):
    package("nflows")
    from nflows.transforms import PiecewiseRationalQuadraticCDF

    return PiecewiseRationalQuadraticCDF(DIM, **{"tails": "linear", "tail_bound": 2.0, "num_bins": 5} | options)


def nflows_stack(*layers):
    """Layers with an LU layer behind each."""
    package("nflows")
    from nflows.transforms import LULinear

    return nflows_flow(DIM, *(layer for each in layers for layer in (each, LULinear(DIM))))


def nflows_boxed(*layers):
    """Layers that are defined on (0, 1) alone, and a logit."""
    package("nflows")
    from nflows.transforms import InverseTransform, Sigmoid

    return nflows_flow(DIM, *layers, InverseTransform(Sigmoid(eps=0.0)))


def nflows_plain_net(i, o):
    """A network without `hidden_features`, so that widths and heights are not divided."""
    net = nflows_net()(i, o)
    del net.hidden_features
    return net


def nflows_inverted():
    from nflows.transforms import InverseTransform

    return nflows_stack(nflows_coupled(apply_unconditional_transform=True), InverseTransform(nflows_masked()))


NFLOWS = {
    "nflows coupling": lambda: nflows_stack(nflows_coupled(), nflows_coupled((0, 1, 0))),
    "nflows coupling, given": lambda: nflows_stack(nflows_coupled(width=WIDTH)),
    "nflows coupling, both halves": lambda: nflows_stack(nflows_coupled(apply_unconditional_transform=True)),
    "nflows coupling, both halves, given": lambda: nflows_stack(
        nflows_coupled(width=WIDTH, apply_unconditional_transform=True), nflows_coupled((0, 1, 0), width=WIDTH)
    ),
    "nflows coupling, other leasts": lambda: nflows_stack(
        nflows_coupled(min_bin_width=0.01, min_bin_height=0.03, min_derivative=0.2, num_bins=4)
    ),
    "nflows coupling, a plain network": lambda: nflows_stack(nflows_coupled(net=nflows_plain_net)),
    "nflows coupling, box": lambda: nflows_boxed(nflows_coupled(tails=None), nflows_coupled((0, 1, 0), tails=None)),
    "nflows coupling, box, both halves, given": lambda: nflows_boxed(
        nflows_coupled(width=WIDTH, tails=None, apply_unconditional_transform=True)
    ),
    "nflows masked": lambda: nflows_stack(nflows_masked(), nflows_masked(use_residual_blocks=False, random_mask=True)),
    "nflows masked, given": lambda: nflows_stack(nflows_masked(context_features=WIDTH, num_blocks=2)),
    "nflows masked, box": lambda: nflows_boxed(nflows_masked(tails=None)),
    "nflows masked, box, given": lambda: nflows_boxed(nflows_masked(tails=None, context_features=WIDTH)),
    "nflows fixed": lambda: nflows_stack(nflows_fixed(), nflows_fixed(tail_bound=1.0, min_derivative=0.1)),
    "nflows fixed, box": lambda: nflows_boxed(nflows_fixed(tails=None)),
    "nflows inverse": nflows_inverted,
}

# zuko


def zuko_nsf(dim=DIM, context=0, **options):
    return package("zuko").flows.NSF(dim, context, **{"transforms": 2, "hidden_features": (12,), "bins": 5} | options)


def zuko_own_bound():
    peer = package("zuko")
    univariate = partial(peer.transforms.MonotonicRQSTransform, bound=1.5, slope=0.02)
    return peer.flows.MAF(DIM, transforms=2, hidden_features=(12,), univariate=univariate, shapes=[(4,), (4,), (3,)])


ZUKO = {
    "zuko NSF": zuko_nsf,
    "zuko NSF, given": partial(zuko_nsf, context=WIDTH),
    "zuko NSF, coupling": partial(zuko_nsf, passes=2),
    "zuko NSF, coupling, given": partial(zuko_nsf, context=WIDTH, passes=2),
    "zuko NSF, orders": partial(zuko_nsf, randperm=True),
    "zuko NSF, coupling, orders, given": partial(zuko_nsf, context=WIDTH, passes=2, randperm=True),
    "zuko NSF, one dimension": partial(zuko_nsf, 1),
    "zuko NSF, one dimension, given": partial(zuko_nsf, 1, WIDTH),
    "zuko NSF, another slope": partial(zuko_nsf, bins=3, slope=0.05),
    "zuko NSF, residual, given": partial(zuko_nsf, residual=True, context=WIDTH, activation=nn.ELU),
    "zuko MAF of splines": zuko_own_bound,
}

# normflows


def normflows_stack(*layers, given=False):
    """Splines with an LU layer behind each."""
    nf = package("normflows")
    every = [layer for each in layers for layer in (each, nf.flows.LULinearPermute(DIM))]
    if given:
        return nf.ConditionalNormalizingFlow(nf.distributions.DiagGaussian(DIM), every)
    return normflows_flow(DIM, *every)


def normflows_layer(kind, **options):
    options = {"num_bins": 5, "tail_bound": 2.0} | options
    return getattr(package("normflows").flows, kind)(DIM, 1, 12, **options)


COUPLED, MASKED = "CoupledRationalQuadraticSpline", "AutoregressiveRationalQuadraticSpline"
BOUNDS = (2.0, 1.0, 3.0)


def normflows_coupled(**options):
    return normflows_layer(COUPLED, **options)


def normflows_masked(**options):
    return normflows_layer(MASKED, init_identity=False, **options)


GIVEN = {"num_context_channels": WIDTH}
NORMFLOWS = {
    "normflows coupled": lambda: normflows_stack(normflows_coupled(), normflows_coupled(reverse_mask=True)),
    "normflows coupled, given": lambda: normflows_stack(normflows_coupled(**GIVEN), given=True),
    "normflows coupled, circles": lambda: normflows_stack(
        normflows_coupled(tails="circular"), normflows_coupled(tails="circular", reverse_mask=True)
    ),
    "normflows coupled, bounds": lambda: normflows_stack(
        normflows_coupled(tail_bound=torch.tensor(BOUNDS)),
        normflows_coupled(tail_bound=torch.tensor(BOUNDS), reverse_mask=True),
    ),
    "normflows masked": lambda: normflows_stack(normflows_masked(), normflows_masked(permute_mask=True, tail_bound=3)),
    "normflows masked, given": lambda: normflows_stack(normflows_masked(**GIVEN), given=True),
    "normflows masked, bounds": lambda: normflows_stack(normflows_masked(tail_bound=torch.tensor(BOUNDS))),
}

# glasflow


def glasflow_flow(kind, **options):
    return getattr(package("glasflow").flows, kind)(
        **{"n_inputs": DIM, "n_transforms": 2, "n_neurons": 12, "n_blocks_per_transform": 1} | options
    )


SPLINES = "MaskedPiecewiseRationalQuadraticAutoregressiveFlow"
GLASFLOW = {
    "glasflow NSF": partial(glasflow_flow, "CouplingNSF", linear_transform="lu", tail_bound=2.0),
    "glasflow NSF, given": partial(glasflow_flow, "CouplingNSF", n_conditional_inputs=WIDTH, num_bins=6),
    "glasflow NSF, norms": partial(
        glasflow_flow, "CouplingNSF", linear_transform="permutation", batch_norm_between_transforms=True
    ),
    "glasflow RealNVP": partial(glasflow_flow, "RealNVP", linear_transform="lu"),
    "glasflow RealNVP, given": partial(glasflow_flow, "RealNVP", n_conditional_inputs=WIDTH),
    "glasflow RealNVP, other scales": partial(glasflow_flow, "RealNVP", scale_activation="log2"),
    "glasflow RealNVP of nflows": partial(glasflow_flow, "RealNVP", scale_activation="nflows"),
    "glasflow NICE": partial(glasflow_flow, "RealNVP", volume_preserving=True),
    "glasflow MAF, given": partial(glasflow_flow, "MaskedAffineAutoregressiveFlow", n_conditional_inputs=WIDTH),
    "glasflow MAF, other scales": partial(glasflow_flow, "MaskedAffineAutoregressiveFlow", scale_activation="log1"),
    "glasflow masked splines": partial(glasflow_flow, SPLINES, tails="linear", tail_bound=2.0),
    "glasflow masked splines, given": partial(
        glasflow_flow, SPLINES, tails="linear", tail_bound=2.0, n_conditional_inputs=WIDTH, use_random_permutations=True
    ),
}

# sbi


def sbi_estimator(name, dim=DIM, *, kind="posterior_nn"):
    """An estimator as sbi builds it, in its own float32."""
    package("sbi")
    from sbi import neural_nets

    torch.set_default_dtype(torch.float32)
    of, given = torch.randn(200, dim), 3 * torch.randn(200, WIDTH) + 5
    builder = getattr(neural_nets, kind)(name, hidden_features=12, num_transforms=2)
    estimator = builder(of, given) if kind == "posterior_nn" else builder(given, of)
    torch.set_default_dtype(torch.float64)
    return estimator


SBI = {
    "sbi nsf": partial(sbi_estimator, "nsf"),
    "sbi nsf, likelihood": partial(sbi_estimator, "nsf", kind="likelihood_nn"),
    "sbi maf_rqs": partial(sbi_estimator, "maf_rqs"),
    "sbi zuko_nsf": partial(sbi_estimator, "zuko_nsf"),
    "sbi nsf, one dimension": partial(sbi_estimator, "nsf", 1),
    "sbi zuko_nsf, one dimension": partial(sbi_estimator, "zuko_nsf", 1),
}

#: Flows on circles, whose bases are uniform: tests/importers/test_bases.py asks the libraries for their answers.
CIRCLES = {
    "zuko NCSF": lambda: zuko_ncsf().flow,
    "zuko NCSF, coupling": lambda: zuko_ncsf(passes=2).flow,
    "normflows circles, coupled": lambda: (
        normflows_circular("CircularCoupledRationalQuadraticSpline", bounds=True).flow
    ),
    "normflows circles, autoregressive": lambda: (
        normflows_circular("CircularAutoregressiveRationalQuadraticSpline", bounds=True).flow
    ),
}
CASES = {**NFLOWS, **ZUKO, **NORMFLOWS, **GLASFLOW, **SBI}


def made(name):
    """A flow of random numbers in float64, in evaluation mode."""
    torch.manual_seed(0)
    flow = {**CASES, **CIRCLES}[name]()
    with torch.no_grad():
        for parameter in learned(flow):
            parameter += 0.3 * torch.randn_like(parameter)
        for _, buffer in (pair for pair in flow.named_buffers() if pair[0].endswith("running_var")):
            buffer += 0.5
    flow = twin(flow)  # sbi's are built in float32
    nflows._settle(flow)
    return flow.eval()


def drawn(name, dim):
    """Rows, some of them outside of boxes, and as many contexts."""
    rng = np.random.default_rng(7)
    x = 3 * rng.standard_normal((COUNT, dim))
    x = 1 / (1 + np.exp(-x)) if "box" in name else x
    c = rng.standard_normal((COUNT, WIDTH))
    return x, 3 * c + 5 if "sbi" in name else c


def asked(name, flow, what, rows, *contexts):
    given = [torch.from_numpy(each) for each in (rows, *contexts)]
    return getattr(PEERS[name.partition(" ")[0]], what)(flow, *given).numpy()


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_splines_are_the_peers_own_and_so_is_their_export(name):
    flow = made(name)
    imported = importers.read(flow)
    weights = imported.weights
    x, c = drawn(name, weights.dim)
    contexts = [] if weights.context is None else [c]
    assert bool(contexts) == ("given" in name or "sbi" in name)
    log_prob, z = (asked(name, flow, what, x, *contexts) for what in ("log_prob", "latent"))
    assert gap(reference.log_prob(weights, x, *contexts), log_prob) < LIMIT
    assert gap(reference.encode(weights, x, *contexts)[0], z) < LIMIT
    latents = 2 * np.random.default_rng(8).standard_normal(x.shape)
    data = asked(name, flow, "data", latents, *contexts)
    assert gap(reference.decode(weights, latents, *contexts), data) < LIMIT
    if contexts:
        fixed = importers.read(flow, context=torch.from_numpy(c[3])).weights
        assert fixed.context is None
        assert gap(reference.log_prob(fixed, x), reference.log_prob(weights, x, c[3:4])) < LIMIT
    named = {"context": c} if contexts else {}
    for dtype in ("float32", "float64"):
        artifact = build_artifact(weights, Provenance("splines"), ExportSettings(dtype=dtype))
        exported = ExportedFlow(artifact, provider="cpu", threads=1)
        got = exported.log_prob(x.astype(dtype), **named), exported.decode(latents.astype(dtype), **named)
        if dtype == "float64":  # in which the library's own formula of a spline may lose more digits than ours
            assert max(map(gap, got, (log_prob, data))) < LIMIT
            continue
        allowed = tolerances.of_density(weights, x, dtype, *contexts)["log_prob"]
        tolerances.assert_within(got[0], log_prob, allowed)
        assert tolerances.beyond(got[0][::-1], log_prob, allowed) > 1
        tolerances.assert_within(got[1], data, tolerances.of_sampling(weights, latents, dtype, *contexts)["x"])


@pytest.mark.parametrize("context", [0, WIDTH])
def test_one_circle_is_the_peers_own(context):
    """Without a context the numbers are fixed: zuko then gives a turn and knots."""
    torch.manual_seed(0)
    flow = package("zuko").flows.NCSF(1, context, transforms=2, bins=5, hidden_features=(12,))
    for parameter in learned(flow):
        parameter.requires_grad_(False).add_(0.3 * torch.randn_like(parameter))
    weights = importers.read(flow).weights
    x = np.random.default_rng(0).uniform(-np.pi, np.pi, (COUNT, 1))
    contexts = [np.random.default_rng(1).standard_normal((COUNT, WIDTH))] if context else []
    theirs = asked("zuko", flow, "log_prob", x, *contexts)
    assert gap(reference.log_prob(weights, x, *contexts), theirs) < LIMIT
    artifact = build_artifact(weights, Provenance("circle"), ExportSettings(dtype="float64"))
    exported, given = ExportedFlow(artifact, provider="cpu", threads=1), {"context": contexts[0]} if contexts else {}
    assert gap(exported.log_prob(x, **given), theirs) < LIMIT
    assert gap(exported.decode(exported.encode(x, **given), **given), x) < LIMIT


def test_rows_are_inside_and_outside_of_boxes():
    for name in ("nflows coupling", "nflows masked", "zuko NSF", "normflows coupled, bounds", "glasflow NSF"):
        weights = importers.read(made(name)).weights
        x, _ = drawn(name, weights.dim)
        for layer, entering, _ in weights.passages(x):
            if isinstance(layer, SplineAutoregressive):
                low, high = layer.spline.interval
                inside = ((entering >= low) & (entering <= high))[:, layer.changed]
                assert (inside.any(), inside.all()) == (True, False), name


# Splines that hold their knots


def knots(dim, **options):
    numbers = (2 * torch.randn(dim, count) for count in (8, 8, 7))
    return package("zuko").transforms.MonotonicRQSTransform(*numbers, **options)


KNOTS = {
    "five columns": partial(knots, 5),
    "one column": partial(knots, 1),
    "another box": partial(knots, 5, bound=3.1, slope=0.01),
    "in a flow of one dimension": lambda: zuko_nsf(1)().transform,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", KNOTS)
def test_knots_are_taken_as_they_were_computed(name, seed, dtype):
    torch.set_default_dtype(dtype)
    torch.manual_seed(seed)
    flow = KNOTS[name]()
    imported = importers.read(flow)
    if dtype == torch.float64:
        assert imported.proof.log_prob < LIMIT
    x = 3 * np.random.default_rng(seed).standard_normal((COUNT, imported.weights.dim))
    own = twin(flow)
    theirs = own(torch.from_numpy(x)).numpy()
    allowed = tolerances.of_density(imported.weights, x, str(dtype).removeprefix("torch."))["z"]
    tolerances.assert_within(reference.encode(imported.weights, x)[0], theirs, allowed)


def test_knots_that_do_not_increase_are_refused():
    flow = knots(2)
    flow.vertical[1, 3] = flow.vertical[1, 4]
    with pytest.raises(UnsupportedLayersError, match="its knots do not increase from one corner of a box to the other"):
        importers.read(flow)


def test_knots_that_are_read_wrongly_are_caught(monkeypatch):
    """Also where float32 computed them, whose rounding is allowed."""

    def fault(x, y, slopes):
        return from_knots(x, y, slopes * (1 + 1e-3))

    from_knots = splines.from_knots
    monkeypatch.setattr(splines, "from_knots", fault)
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        with pytest.raises(CheckFailedError, match="Expected the library's own"):
            importers.read(knots(3))


# Planted faults: each is a trap of these libraries, and the comparison with the library's own flow must see it


def numbers(change):
    """A fault in what a network's numbers become in nflows and normflows.

    `change` gets the divisor, the matrix (C, 3, K + 1, numbers) and the shift (C, 3, K + 1), and changes them.
    """

    def plant(patch):
        ordered = splines.Splines.ordered

        def fault(self, divisor=1.0):
            matrix, shift = ordered(self, divisor)
            shape = len(self.ends), 3, self.bins + 1
            change(divisor, matrix.reshape(*shape, -1), shift.reshape(shape))
            return matrix, shift

        patch.setattr(splines.Splines, "ordered", fault)

    return plant


def scaled(kinds, *, by=None):
    """Widths (0), heights (1) or slopes (2) multiplied again by their divisor, or by another number."""

    def change(divisor, matrix, shift):
        matrix[:, kinds] *= divisor if by is None else by

    return numbers(change)


def no_shift(divisor, matrix, shift):
    shift[:] = 0


def last_of_its_neighbour(divisor, matrix, shift):
    matrix[:, 2, -1] = matrix[:, 2, -2]


def taken(change):
    """Splines of nflows and normflows taken for others: `change` gets them, and returns what is other of them."""

    def plant(patch):
        described = splines.described

        def fault(*args):
            known = described(*args)
            return replace(known, **change(known))

        patch.setattr(splines, "described", fault)

    return plant


def with_ends_of_1(known):
    return {"ends": (splines.ONE,) * len(known.ends)}


def exchanged(known):
    return {"low": known.low[::-1].copy(), "high": known.high[::-1].copy()}


def one_bound(known):
    return {"low": np.full_like(known.low, known.low[0]), "high": np.full_like(known.high, known.high[0])}


def linear(known):
    return {"low": -np.ones_like(known.low), "high": np.ones_like(known.high), "tails": "identity"} | with_ends_of_1(
        known
    )


def half_left_out(patch):
    patch.setattr(splines.Splines, "fixed", lambda *args: ())


def half_in_front(patch):
    """The splines of the columns that the network sees in front of the network, where they come behind it."""

    def turned(module, context):
        coupled, *fixed = spline_coupling(module, context)
        assert fixed
        return (*fixed, coupled)

    spline_coupling = nflows.spline_coupling
    patch.setitem(nflows._LAYERS, "nflows.PiecewiseRationalQuadraticCouplingTransform", turned)
    patch.setattr(normflows, "spline_coupling", turned)


def made_by(kind):
    """zuko's splines made by another function of their numbers."""

    def plant(patch):
        def fault(dim, inputs, changed, network, spline):
            return original(dim, inputs, changed, network, kind(**spline.to_dict()))

        original = zuko._splines
        patch.setattr(zuko, "_splines", fault)

    return plant


class Unclipped(RationalQuadratic):
    _steepness = np.zeros((3, 1))


class ClippedAlike(RationalQuadratic):
    @property
    def _steepness(self):
        return np.ones((3, 1)) / self.limit


class OfSoftplus(RationalQuadratic):
    def table(self, numbers, errors=EXACT):
        found = super().table(numbers, errors)
        found[..., 4, 1:], found[..., 5, :-1] = np.log1p(found[..., 4, 1:]), np.log1p(found[..., 5, :-1])
        return found


class FreeEnds(RationalQuadratic):
    def table(self, numbers, errors=EXACT):
        found = super().table(numbers, errors)
        found[..., 4, 0] = found[..., 5, -1] = np.log(2)
        return found


def least_bins(**settings):
    return RationalQuadratic(**settings | {"least_width": 1e-3, "least_height": 1e-3})


def least_slopes(**settings):
    return RationalQuadratic(**settings | {"limit": -np.log(2e-3)})


def unturned(**settings):
    return RationalQuadratic(**settings | {"turn": 0.0})


def without_phases(patch):
    """Angles seen by a network through sines without a phase."""

    def fault(module, context):
        (wave, *rest) = read(module, context)
        return [replace(wave, phase=0 * wave.phase), *rest]

    read = networks._READERS["normflows.PeriodicFeaturesElementwise"]
    patch.setitem(networks._READERS, "normflows.PeriodicFeaturesElementwise", fault)


COUPLINGS = ("nflows coupling", "nflows coupling, box", "normflows coupled", "glasflow NSF", "sbi nsf")
MASKS = ("nflows masked", "normflows masked", "glasflow masked splines", "sbi maf_rqs")
BOXES = ("nflows coupling, box", "nflows masked, box", "nflows fixed, box")
ON_CIRCLES = ("normflows coupled, circles", "normflows circles, coupled", "normflows circles, autoregressive")
BOTH = ("nflows coupling, both halves", "normflows coupled")
OF_ZUKO = ("zuko NSF", "zuko NSF, coupling", "zuko NSF, one dimension, given", "sbi zuko_nsf")
TRAPS = {
    "nothing divided": ((*COUPLINGS, "sbi nsf, one dimension"), scaled([0, 1])),
    "widths not divided": ((*COUPLINGS, "sbi nsf, one dimension"), scaled(0)),
    "heights not divided": ((*COUPLINGS, "sbi nsf, one dimension"), scaled(1)),
    "slopes divided": (COUPLINGS, scaled(2, by=12**-0.5)),
    "widths divided": (("nflows coupling, a plain network", *MASKS), scaled(0, by=12**-0.5)),
    "widths and heights divided": (("nflows coupling, a plain network", *MASKS), scaled([0, 1], by=12**-0.5)),
    "end slopes of softplus(0)": (("nflows coupling", "nflows masked", "normflows masked"), numbers(no_shift)),
    "end slopes of 1 in a box": (
        ("nflows coupling, box", "nflows masked, box", "nflows fixed, box"),
        taken(with_ends_of_1),
    ),
    "a circle with end slopes of 1": (ON_CIRCLES, taken(with_ends_of_1)),
    "a circle that is not closed": (ON_CIRCLES, numbers(last_of_its_neighbour)),
    "no phase of angles": (("normflows circles, coupled",), without_phases),
    "no turn": (("zuko NCSF", "zuko NCSF, coupling"), made_by(unturned)),
    "bounds exchanged": (("normflows coupled, bounds", "normflows masked, bounds"), taken(exchanged)),
    "one bound": (("normflows coupled, bounds", "normflows masked, bounds"), taken(one_bound)),
    "one half left out": (BOTH, half_left_out),
    "one half in front": (BOTH, half_in_front),
    "no soft clip": (OF_ZUKO, made_by(Unclipped)),
    "one soft clip": (OF_ZUKO, made_by(ClippedAlike)),
    "slopes of softplus": (OF_ZUKO, made_by(OfSoftplus)),
    "end slopes of log 2": (OF_ZUKO, made_by(FreeEnds)),
    "least bins": (OF_ZUKO, made_by(least_bins)),
    "another least slope": (OF_ZUKO, made_by(least_slopes)),
}


@pytest.mark.parametrize(
    ("name", "trap"), [(name, trap) for trap, (names, _) in TRAPS.items() for name in names], ids=lambda word: word
)
def test_a_trap_is_seen(name, trap, monkeypatch):
    flow = made(name)
    importers.read(flow)
    TRAPS[trap][1](monkeypatch)
    with pytest.raises(CheckFailedError, match="Expected the library's own"):
        importers.read(flow)


def test_a_box_that_is_taken_for_tails_fits_no_logit(monkeypatch):
    flow = made("nflows coupling, box")
    taken(linear)(monkeypatch)
    with pytest.raises(CheckpointError, match=r"numbers within \(0, 1\) to reach"):
        importers.read(flow)


def test_a_box_inside_of_the_tails_is_not_mapped_onto_itself():
    package("nflows")
    from nflows.transforms import InverseTransform, Sigmoid

    inside = [Sigmoid(), nflows_fixed(tail_bound=0.4), nflows_masked(tail_bound=3.0), InverseTransform(Sigmoid())]
    with pytest.raises(CheckpointError, match="layers that reach every latent number"):
        importers.read(nflows_flow(DIM, *inside))


def test_numbers_that_another_function_makes_knots_of_are_refused():
    peer = package("zuko")

    class Own(peer.transforms.MonotonicRQSTransform):
        def __init__(self, widths, heights, derivatives, **options):
            super().__init__(widths, heights / 2, derivatives, **options)

    with pytest.raises(UnsupportedLayersError, match="its splines have a single bin"):
        importers.read(peer.flows.NSF(DIM, bins=1))
    flow = peer.flows.MAF(DIM, transforms=1, univariate=Own, shapes=[(4,), (4,), (3,)])
    with pytest.raises(UnsupportedLayersError, match="is not the spline of these numbers that zuko's own class makes"):
        importers.read(flow)
