"""Base distributions other than N(0, I): log p, latents and samples are the library's own, and their exports right."""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

import numpy as np
import pytest
import torch
from scipy import special

from lunet_export import ExportedFlow, importers, noise, parity
from lunet_export.checks import reference
from lunet_export.errors import BadInputError, CheckFailedError, CheckpointError, UnsupportedLayersError
from lunet_export.export import ExportSettings, Provenance, build_artifact
from lunet_export.flows import layered
from lunet_export.layers import LU, Affine, Inverse, NormalCDF
from tests.importers.peers import package

pytestmark = pytest.mark.filterwarnings("ignore")  # of one part of the peers about another, and of PyTorch about them

DIM = 3
LIMIT = 1e-10
MEAN = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
ROOT = torch.tensor([[1.5, 0.0, 0.0], [-0.7, 0.4, 0.0], [0.2, 1.1, 2.5]], dtype=torch.float64)
LOW = torch.tensor([-2.0, 0.5, -1e-3], dtype=torch.float64)
HIGH = torch.tensor([1.0, 0.75, 4.0], dtype=torch.float64)


@dataclass(frozen=True)
class Own:
    """A library's flow, and its answers in float64: log p(x), and x -> the base's own rows and back."""

    flow: object
    log_prob: Callable
    latent: Callable
    data: Callable
    to_normal: Callable  # the base's own rows -> normal numbers
    from_normal: Callable


def correlated():
    """To and from z = L^-1 (x - mean)."""
    return (
        lambda u: torch.linalg.solve_triangular(ROOT, (u - MEAN).T, upper=False).T,
        lambda z: z @ ROOT.T + MEAN,
    )


def boxed(low, high):
    return lambda u: torch.special.ndtri((u - low) / (high - low)), lambda z: low + (high - low) * special_ndtr(z)


def special_ndtr(z):
    return torch.from_numpy(special.ndtr(z.numpy()))


def of_torch(base, transforms, ends):
    flow = torch.distributions.TransformedDistribution(base, transforms)
    whole = torch.distributions.ComposeTransform(transforms)
    return Own(flow, flow.log_prob, whole.inv, whole, *ends)


def torch_affine(scale=0.5):
    return torch.distributions.AffineTransform(torch.tensor([1.0, 2.0, -1.0]), scale)


def multivariate(**of):
    base = torch.distributions.MultivariateNormal(MEAN, **of)
    sigmoid = torch.distributions.SigmoidTransform()
    return of_torch(base, [torch_affine(), sigmoid], correlated())


def low_rank():
    base = torch.distributions.LowRankMultivariateNormal(MEAN, ROOT[:, :1], torch.tensor([0.5, 1.0, 2.0]))
    root = base.scale_tril
    return of_torch(
        base,
        [torch_affine()],
        (
            lambda u: torch.linalg.solve_triangular(root, (u - MEAN).T, upper=False).T,
            lambda z: z @ root.T + MEAN,
        ),
    )


def torch_uniform():
    uniform = torch.distributions.Uniform(LOW, HIGH)
    return of_torch(torch.distributions.Independent(uniform, 1), [torch_affine(-2.0)], boxed(LOW, HIGH))


def of_zuko(base, *transforms, lazy=True, ends):
    zuko = package("zuko")
    transforms = [zuko.lazy.UnconditionalTransform(*args) for args in transforms]
    flow = zuko.lazy.Flow(transforms, base)
    found = flow if lazy else flow()
    return Own(
        found, lambda x: flow().log_prob(x), lambda x: flow().transform(x), lambda z: flow().transform.inv(z), *ends
    )


def zuko_multivariate(*, lazy=True):
    zuko = package("zuko")
    base = zuko.lazy.UnconditionalDistribution(
        torch.distributions.MultivariateNormal, MEAN, scale_tril=ROOT, buffer=True
    )
    lu = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(0)) + 2 * torch.eye(DIM)
    return of_zuko(base, (zuko.transforms.LULinearTransform, lu), lazy=lazy, ends=correlated())


def zuko_box(*, lazy=True):
    zuko = package("zuko")
    base = zuko.lazy.UnconditionalDistribution(zuko.distributions.BoxUniform, LOW, HIGH, buffer=True)
    affine = (zuko.transforms.MonotonicAffineTransform, MEAN, torch.tensor([0.1, -0.3, 0.2]))
    return of_zuko(base, affine, lazy=lazy, ends=boxed(LOW, HIGH))


def zuko_nearly_reached(beyond=1e-5):
    """Layers onto (-pi, pi) in front of a base that is a little wider, as zuko's NCSF has it."""
    zuko = package("zuko")
    half = torch.full((DIM,), pi + beyond)
    base = zuko.lazy.UnconditionalDistribution(zuko.distributions.BoxUniform, -half, half, buffer=True)
    affine = (zuko.transforms.AffineTransform, torch.full((DIM,), -pi), torch.full((DIM,), 2 * pi))
    return of_zuko(base, (zuko.transforms.SigmoidTransform,), affine, ends=boxed(-half, half))


def zuko_ncsf(**options):
    """Its layers map [-pi, pi] onto itself, and its base is wider by 1e-5 on both sides."""
    zuko = package("zuko")
    torch.manual_seed(0)
    flow = zuko.flows.NCSF(DIM, transforms=2, hidden_features=(9,), **options)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    half = flow.base().base_dist.high
    return Own(
        flow,
        lambda x: flow().log_prob(x),
        lambda x: flow().transform(x),
        lambda z: flow().transform.inv(z),
        *boxed(-half, half),
    )


def zuko_knots_on_a_box(*, shifted=False):
    """Splines that hold their knots, the same for all columns or one each; behind a bare shift around the circle."""
    zuko = package("zuko")
    torch.manual_seed(1)
    half = torch.full((DIM,), pi)
    base = zuko.lazy.UnconditionalDistribution(zuko.distributions.BoxUniform, -half, half, buffer=True)
    numbers = [torch.randn(*([] if shifted else [DIM]), count) for count in (8, 8, 7)]
    made = [zuko.lazy.UnconditionalTransform(zuko.transforms.MonotonicRQSTransform, *numbers, bound=pi)]
    if shifted:
        made.insert(0, zuko.lazy.UnconditionalTransform(zuko.transforms.CircularShiftTransform, bound=pi))
    flow = zuko.lazy.Flow(made, base)
    return Own(
        flow,
        lambda x: flow().log_prob(x),
        lambda x: flow().transform(x),
        lambda z: flow().transform.inv(z),
        *boxed(-half, half),
    )


def normflows_circular(kind, *, bounds):
    """Two angles and one number on a line, each with a bound of its own or all with one."""
    nf = package("normflows")
    torch.manual_seed(2)
    bound = torch.tensor([pi, 2.5, pi]) if bounds else pi
    scale = torch.tensor([2 * pi, 0.5, 2 * pi])  # normflows maps numbers outside of a box to 0
    base = nf.distributions.base.UniformGaussian(DIM, [0, 2], scale)
    made = getattr(nf.flows, kind)
    options = [{"reverse_mask": odd} for odd in (False, True)] if "Coupled" in kind else [{}, {}]
    layers = [made(DIM, 1, 8, [0, 2], tail_bound=bound, **each) for each in options]
    flow = nf.NormalizingFlow(base, layers)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    some = torch.tensor([True, False, True])
    return Own(
        flow,
        lambda x: flow.log_prob(x.clone()),
        lambda x: flow.inverse(x.clone()),
        flow.forward,
        lambda u: torch.where(some, torch.special.ndtri(torch.where(some, u / scale + 0.5, 0.5)), u / scale),
        lambda z: scale * torch.where(some, special_ndtr(z) - 0.5, z),
    )


def of_normflows(base, ends):
    nf = package("normflows")
    layer = nf.flows.AffineConstFlow((DIM,))
    with torch.no_grad():
        layer.s += torch.tensor([0.1, -0.3, 0.2])
        layer.t += torch.tensor([1.0, 0.5, -2.0])
    flow = nf.NormalizingFlow(base, [layer])
    return Own(flow, lambda x: flow.log_prob(x.clone()), lambda x: flow.inverse(x.clone()), flow.forward, *ends)


def normflows_uniform():
    base = package("normflows").distributions.base.Uniform(DIM, -0.5, 2.0)
    return of_normflows(base, boxed(base.low, base.high))


def normflows_uniform_and_normal():
    scale = torch.tensor([2.0, 0.5, 3.0])
    base = package("normflows").distributions.base.UniformGaussian(DIM, [0, 2], scale)
    some = torch.tensor([True, False, True])
    return of_normflows(
        base,
        (
            lambda u: torch.where(some, torch.special.ndtri(torch.where(some, u / scale + 0.5, 0.5)), u / scale),
            lambda z: scale * torch.where(some, special_ndtr(z) - 0.5, z),
        ),
    )


def nflows_box():
    package("nflows")
    from nflows.distributions.uniform import BoxUniform
    from nflows.flows import Flow
    from nflows.transforms import PointwiseAffineTransform

    class Box(BoxUniform):  # nflows' own takes no context, which a flow of nflows gives
        def log_prob(self, value, context=None):
            return super().log_prob(value)

    flow = Flow(PointwiseAffineTransform(MEAN, torch.tensor([0.1, 0.3, 0.2])), Box(LOW, HIGH))
    return Own(
        flow,
        flow.log_prob,
        flow.transform_to_noise,
        lambda z: flow._transform.inverse(z)[0],
        *boxed(LOW, HIGH),
    )


def glasflow_uniform():
    flow = package("glasflow").flows.CouplingNSF(DIM, 2, n_neurons=9, distribution="uniform")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    ends = boxed(torch.zeros(DIM), torch.ones(DIM))
    return Own(flow.eval(), flow.log_prob, lambda x: flow.forward(x)[0], lambda z: flow.inverse(z)[0], *ends)


CASES = {
    "torch MultivariateNormal, scale_tril": lambda: multivariate(scale_tril=ROOT),
    "torch MultivariateNormal, covariance": lambda: multivariate(covariance_matrix=ROOT @ ROOT.T),
    "torch MultivariateNormal, precision": lambda: multivariate(precision_matrix=torch.linalg.inv(ROOT @ ROOT.T)),
    "torch LowRankMultivariateNormal": low_rank,
    "torch Uniform": torch_uniform,
    "zuko MultivariateNormal": zuko_multivariate,
    "zuko MultivariateNormal, built": lambda: zuko_multivariate(lazy=False),
    "zuko BoxUniform": zuko_box,
    "zuko BoxUniform, built": lambda: zuko_box(lazy=False),
    "zuko BoxUniform, a little wider": zuko_nearly_reached,
    "zuko NCSF": zuko_ncsf,
    "zuko NCSF, coupling": lambda: zuko_ncsf(passes=2, bins=4, randperm=True),
    "zuko knots on a box": zuko_knots_on_a_box,
    "zuko knots of all columns behind a circular shift": lambda: zuko_knots_on_a_box(shifted=True),
    "normflows Uniform": normflows_uniform,
    "normflows UniformGaussian": normflows_uniform_and_normal,
    "nflows BoxUniform": nflows_box,
    "glasflow uniform": glasflow_uniform,
}
CIRCULAR = ("CircularAutoregressiveRationalQuadraticSpline", "CircularCoupledRationalQuadraticSpline")
CASES |= {
    f"normflows {kind}{', bounds of their own' * bounds}": lambda kind=kind, bounds=bounds: normflows_circular(
        kind, bounds=bounds
    )
    for kind in CIRCULAR
    for bounds in (False, True)
}
every_base = pytest.mark.parametrize("make", CASES.values(), ids=CASES)


@every_base
@torch.no_grad()
def test_log_p_latents_and_samples_are_the_library_s_own(make):
    own = make()
    weights = importers.read(own.flow).weights
    z = noise.normal(0, range(200), DIM)
    x = reference.decode(weights, z)
    theirs = own.data(own.from_normal(torch.from_numpy(z))).numpy()
    np.testing.assert_allclose(x, theirs, rtol=LIMIT, atol=LIMIT)
    rows = torch.from_numpy(theirs)
    np.testing.assert_allclose(reference.log_prob(weights, theirs), own.log_prob(rows), rtol=LIMIT, atol=LIMIT)
    # One roundoff of a uniform number is many of a normal one far up: the rows that come back are compared.
    latent = own.to_normal(own.latent(rows)).numpy()
    np.testing.assert_allclose(reference.encode(weights, theirs)[0], latent, rtol=LIMIT, atol=LIMIT)


@every_base
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_export_is_the_flow_within_its_tolerance(make, dtype):
    weights = importers.read(make().flow).weights
    settings = ExportSettings(dtype=dtype, with_log_prob=True)
    flow = ExportedFlow(build_artifact(weights, Provenance("base"), settings), provider="cpu", threads=1)
    assert parity.all_passed(parity.run(flow, flow.vectors, predicted=None))


def test_nothing_is_inverted_for_a_covariance():
    weights = importers.read(multivariate(scale_tril=ROOT).flow).weights
    last = weights.layers[-1]
    assert isinstance(last, Inverse)
    assert isinstance(last.layer, LU)
    np.testing.assert_array_equal(last.layer.lower, ROOT.numpy())
    np.testing.assert_array_equal(last.layer.bias, MEAN.numpy())


def test_a_row_outside_the_box_is_refused():
    """The library's log p is -infinity there; that of an export is defined inside alone, as everywhere."""
    own = zuko_box()
    weights = importers.read(own.flow).weights
    low, high = np.sort([own.data(end[None])[0].detach().numpy() for end in (LOW, HIGH)], axis=0)
    np.testing.assert_allclose((weights.domain.low, weights.domain.high), (low, high), rtol=1e-12, atol=1e-12)
    flow = ExportedFlow(build_artifact(weights, Provenance("base"), ExportSettings()), provider="cpu", threads=1)
    outside = high + 0.1
    assert own.log_prob(torch.from_numpy(outside)[None]).item() == -np.inf
    with pytest.raises(BadInputError, match=r"Expected x in .* not defined there"):
        flow.log_prob(outside[None])


def test_a_base_that_is_much_wider_than_the_layers_is_refused():
    """N(0, 1) gives 1.6e-3 to what 1e-2 on both sides of (-pi, pi) leaves out; at 1e-5 it is 3e-6."""
    with pytest.raises(CheckpointError, match=r"layers that reach every latent number; .* leaves some out"):
        importers.read(zuko_nearly_reached(beyond=1e-2).flow)


def test_samples_of_latents_without_a_row_lie_at_the_nearest_row():
    weights = importers.read(zuko_nearly_reached().flow).weights
    assert weights.domain is None
    flow = ExportedFlow(
        build_artifact(weights, Provenance("base"), ExportSettings(dtype="float64")), provider="cpu", threads=1
    )
    x = flow.decode(np.array([[-9.0, 0.0, 9.0]]))
    assert np.isfinite(x).all()
    ends = flow.encode(x)
    np.testing.assert_allclose(ends[0, [0, 2]], special.ndtri([1e-5 / (2 * (pi + 1e-5)), 1 - 1e-5 / (2 * (pi + 1e-5))]))
    assert abs(ends[0, 1]) < 1e-12


def test_rows_of_all_numbers_have_no_uniform_base():
    zuko = package("zuko")
    base = zuko.lazy.UnconditionalDistribution(zuko.distributions.BoxUniform, LOW, HIGH, buffer=True)
    flow = zuko.lazy.Flow([zuko.flows.MaskedAutoregressiveTransform(DIM)], base)
    with pytest.raises(CheckpointError, match=r"Expected numbers within \(0, 1\) to reach"):
        importers.read(flow)


def of_nflows(name, *arguments):
    package("nflows")
    from nflows.distributions import uniform
    from nflows.flows import Flow
    from nflows.transforms import PointwiseAffineTransform

    return Flow(PointwiseAffineTransform(0.0, 2.0), getattr(uniform, name)(*arguments))


def of_images():
    nf = package("normflows")
    return nf.NormalizingFlow(nf.distributions.base.Uniform((2, 2)), [nf.flows.AffineConstFlow((2, 2))])


def of_a_mixture():
    nf = package("normflows")
    return nf.NormalizingFlow(nf.distributions.GaussianMixture(2, DIM), [nf.flows.AffineConstFlow((DIM,))])


def of_independent(kind):
    base = getattr(torch.distributions, kind)(MEAN, torch.ones(DIM))
    return torch.distributions.TransformedDistribution(torch.distributions.Independent(base, 1), [torch_affine()])


def of_several():
    base = torch.distributions.MultivariateNormal(torch.zeros(2, DIM), scale_tril=ROOT)
    return torch.distributions.TransformedDistribution(base, [torch_affine()])


UNSUPPORTED = {
    "a mixture": (of_a_mixture, r"q0 \(GaussianMixture\): it is a mixture of normal distributions"),
    "a skewed box": (
        lambda: of_nflows("MG1Uniform", LOW, HIGH),
        r"_distribution \(MG1Uniform\): it is uniform on a skewed box",
    ),
    "a cut-off normal": (
        lambda: of_nflows("LotkaVolterraOscillating"),
        r"_distribution \(LotkaVolterraOscillating\): it is a normal distribution that is cut off",
    ),
    "images": (of_images, r"q0 \(Uniform\): its shape is \(2, 2\), not a row's"),
    "Laplace": (lambda: of_independent("Laplace"), "it is a Laplace; normal and uniform distributions"),
    "a transformed one inside": (lambda: of_independent("LogNormal"), "it is a LogNormal; normal and uniform"),
    "several means": (of_several, r"the shapes \(2, 3\) and \(2, 3, 3\), not those of a row"),
}


@pytest.mark.parametrize(("make", "why"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_other_bases_are_refused_with_a_reason(make, why):
    with pytest.raises(UnsupportedLayersError, match=why):
        importers.read(make())


def test_a_base_of_a_class_of_ones_own_is_compared():
    """The planted fault: its class says uniform, its density is another."""

    class Tilted(torch.distributions.Independent):
        def log_prob(self, value):
            return super().log_prob(value) + value.sum(-1)

    base = Tilted(torch.distributions.Uniform(LOW, HIGH), 1)
    flow = torch.distributions.TransformedDistribution(base, [torch_affine()])
    with pytest.raises(CheckFailedError, match="Expected the library's own log_prob"):
        importers.read(flow)


@torch.no_grad()
def test_a_lazy_base_of_a_context_is_fixed_to_one():
    zuko = package("zuko")

    class Base(zuko.lazy.LazyDistribution):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(2, 2 * DIM)

        def forward(self, c=None):
            mean, log_scale = self.net(c).chunk(2, dim=-1)
            return zuko.distributions.DiagNormal(mean, log_scale.exp())

    flow = zuko.lazy.Flow([zuko.flows.MaskedAutoregressiveTransform(DIM, 2)], Base())
    for context in torch.randn(3, 2):
        weights = importers.read(flow, context=context).weights
        assert isinstance(weights.layers[-1], Affine)
        x = torch.randn(20, DIM)
        np.testing.assert_allclose(
            reference.log_prob(weights, x.numpy()), flow(context).log_prob(x).numpy(), rtol=LIMIT, atol=LIMIT
        )
    with pytest.raises(UnsupportedLayersError, match=r"cannot be built without a context.*give `context` to fix"):
        importers.read(flow)


def test_the_wider_base_is_what_a_chain_may_leave_out():
    """The same rule on layers of ours, at both sides of 1e-4 per column."""
    onto = Affine(np.full(2, 1 - 2 * 4.9e-5), np.full(2, 4.9e-5))
    chain = layered(2, (NormalCDF(), onto, Inverse(NormalCDF())))
    assert chain.domain is None
    onto = Affine(np.full(2, 1 - 2 * 5.1e-5), np.full(2, 5.1e-5))
    with pytest.raises(CheckpointError, match="leaves some out"):
        layered(2, (NormalCDF(), onto, Inverse(NormalCDF())))
