"""Four laws that every bijection keeps, in float64, over one table of cases; and proof that each can be broken."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lunet_export.flows.lunet import activation_of
from lunet_export.layers import ACTIVATIONS, LU, Inverse, LeakyReLU, LeakySquareplus, NormalCDF
from lunet_export.preprocessing import Logit
from lunet_export.torch_layers import Bijection, Chain, Flow, LogitPreprocessing, bijection_of
from lunet_export.torch_layers.leaky_relu import LeakyReLUBijection
from lunet_export.torch_layers.leaky_softplus import LeakySoftplusBijection
from lunet_export.torch_layers.leaky_squareplus import LeakySquareplusBijection
from lunet_export.torch_layers.leaky_tanh import LeakyTanhBijection
from lunet_export.torch_layers.lu_linear import LULinear
from tests.networks import network

DTYPE = torch.float64
TOLERANCE = 1e-10


def linear(dim: int, seed: int = 0) -> LULinear:
    layer = LULinear(dim).to(DTYPE)
    layer.load(network(dim, 1, seed=seed).of(LU)[0])
    return layer.requires_grad_(False)


def in_other_coordinates(dim: int, *, whitened: bool = True, bound: float | None = None) -> LULinear:
    """The layer of `linear`, held as training holds it."""
    layer = LULinear(dim, whitened=whitened, bound=bound).to(DTYPE)
    layer.load(network(dim, 1).of(LU)[0])
    if whitened:
        rng = np.random.default_rng(3)
        root = np.triu(rng.standard_normal((dim, dim)), 1) / dim + np.diag(rng.uniform(0.5, 2.0, dim))
        layer.whiten(rng.standard_normal(dim), root)
    return layer.requires_grad_(False)


def chain(dim: int, blocks: int, alpha: float, preprocessing: Logit | None = None) -> Chain:
    weights = network(dim, blocks, alpha=alpha, preprocessing=preprocessing)
    return Flow.of(weights, dtype=DTYPE).requires_grad_(False).chain


def squareplus(alpha: float | np.ndarray) -> Bijection:
    return bijection_of(LeakySquareplus(alpha))


def normal(dim: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(6, dim, dtype=DTYPE, generator=torch.Generator().manual_seed(1))


def grey(dim: int, levels: int) -> Tensor:
    x = levels * torch.rand(6, dim, dtype=DTYPE, generator=torch.Generator().manual_seed(1))
    x[0], x[1], x[2, 0], x[2, 1:] = 0.0, levels * (1 - 2**-40), 1e-12, levels - 1e-9  # borders, and next to them
    return x


EXTREMES = torch.tensor(
    [[0.0, 1e-300, -1e-12], [700.0, -700.0, 1e6], [-1e6, -37.0, 37.0], [20.0, -20.0, 0.06]], dtype=DTYPE
)

AWAY_FROM_ZERO = EXTREMES.where(EXTREMES != 0, torch.tensor(1e-3, dtype=DTYPE))  # where a kink has no slope

#: name -> (bijection, rows of data). A new bijection joins all laws with one line.
CASES: dict[str, tuple[Bijection, Tensor]] = {
    "leaky softplus, alpha 0.1": (LeakySoftplusBijection(0.1), normal(3, 5.0)),
    "leaky softplus, alpha 0.001": (LeakySoftplusBijection(0.001), normal(3, 5.0)),
    "leaky softplus, alpha 0.999": (LeakySoftplusBijection(0.999), normal(3, 5.0)),
    "leaky softplus, extremes": (LeakySoftplusBijection(0.1), EXTREMES),
    "leaky softplus, extremes, alpha 0.01": (LeakySoftplusBijection(0.01), EXTREMES),
    "leaky relu, alpha 0.1": (LeakyReLUBijection(0.1), normal(3, 5.0)),
    "leaky relu, extremes, alpha 0.001": (LeakyReLUBijection(0.001), AWAY_FROM_ZERO),
    "leaky tanh, alpha 0.1": (LeakyTanhBijection(0.1), normal(3, 5.0)),
    "leaky tanh, alpha 0.001": (LeakyTanhBijection(0.001), normal(3, 5.0)),
    "leaky tanh, alpha 0.999": (LeakyTanhBijection(0.999), normal(3, 5.0)),
    "leaky tanh, extremes": (LeakyTanhBijection(0.1), EXTREMES),
    "leaky tanh, extremes, alpha 0.01": (LeakyTanhBijection(0.01), EXTREMES),
    "leaky squareplus, alpha 0.1": (squareplus(0.1), normal(3, 5.0)),
    "leaky squareplus, alpha 0.001": (squareplus(0.001), normal(3, 5.0)),
    "leaky squareplus, alpha 0.999": (squareplus(0.999), normal(3, 5.0)),
    "leaky squareplus, extremes, alpha 0.01": (squareplus(0.01), EXTREMES),
    "leaky squareplus, an alpha per unit": (squareplus(np.array([0.05, 0.3, 0.9])), normal(3, 5.0)),
    "leaky squareplus, learned per unit": (
        LeakySquareplusBijection(torch.tensor([0.05, 0.3, 0.9], dtype=DTYPE), learned=True).requires_grad_(False),
        normal(3, 5.0),
    ),
    "leaky relu, an alpha per unit": (bijection_of(LeakyReLU(np.array([0.05, 0.3, 0.9]))), normal(3, 5.0)),
    "leaky softplus, learned": (LeakySoftplusBijection(0.3, learned=True).requires_grad_(False), normal(3, 5.0)),
    "normal cdf": (bijection_of(NormalCDF()), normal(3, 1.5)),
    "normal cdf, lower tail": (bijection_of(NormalCDF()), -normal(3, 4.0).abs()),
    "normal cdf, some columns": (bijection_of(NormalCDF(np.array([True, False, True]))), normal(3, 1.5)),
    "inverse of normal cdf": (bijection_of(Inverse(NormalCDF())), torch.special.ndtr(normal(3, 1.5))),
    "linear, D = 1": (linear(1), normal(1)),
    "linear, D = 2": (linear(2), normal(2)),
    "linear, D = 7": (linear(7), normal(7)),
    "linear, D = 16, large": (linear(16), normal(16, 1e6)),
    "linear, D = 7, whitened": (in_other_coordinates(7), normal(7)),
    "linear, D = 7, bounded": (in_other_coordinates(7, whitened=False, bound=0.8), normal(7)),
    "linear, D = 7, whitened and bounded": (in_other_coordinates(7, bound=0.8), normal(7)),
    "logit, 256 levels": (LogitPreprocessing(Logit(256, 1e-5)), grey(4, 256)),
    "logit, 17 levels": (LogitPreprocessing(Logit(17, 0.1)), grey(4, 17)),
    "logit, 2 levels": (LogitPreprocessing(Logit(2, 0.5)), grey(4, 2)),
    "chain, D = 2, 13 blocks": (chain(2, 13, 0.3), normal(2)),
    "chain, D = 8, 4 blocks": (chain(8, 4, 0.1), normal(8)),
    "chain, D = 8, 1 block": (chain(8, 1, 0.1), normal(8, 100.0)),
    "chain, D = 9, tails": (chain(9, 4, 0.1), normal(9, 100.0)),
    "chain, images": (chain(9, 4, 0.1, Logit(256, 1e-5)), grey(9, 256)),
    "chain, digits": (chain(16, 3, 0.5, Logit(17, 0.1)), grey(16, 17)),
}

#: Makes each activation of an LU-Net from alpha.
KINDS = [lambda alpha, name=name: bijection_of(activation_of(name, alpha)) for name in ACTIVATIONS]

every_case = pytest.mark.parametrize(("f", "x"), CASES.values(), ids=CASES)


def jacobian(f, row: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(lambda r: f(r[None])[0][0], row)


def conditions(f: Bijection, x: Tensor) -> float:
    """Largest norm of the Jacobians there and back: what rounding of size 1 at one end becomes at the other."""
    forward = torch.stack([jacobian(f, row) for row in x])
    return float(torch.linalg.matrix_norm(forward).max() * torch.linalg.matrix_norm(torch.linalg.inv(forward)).max())


def allowed(f: Bijection, x: Tensor, *scales: Tensor) -> float:
    return TOLERANCE * max(1.0, conditions(f, x), *(float(scale.abs().max()) for scale in scales))


# Each law returns (error, allowed), so that planted faults are judged by the very same code.


def inverse_undoes_forward(f: Bijection, x: Tensor) -> tuple[float, float]:
    z, _ = f(x)
    return float((f.inverse(z)[0] - x).abs().max()), allowed(f, x, x, z)


def log_det_is_the_jacobians(f: Bijection, x: Tensor) -> tuple[float, float]:
    exact = torch.stack([torch.linalg.slogdet(jacobian(f, row)).logabsdet for row in x])
    return float((f(x)[1] - exact).abs().max()), TOLERANCE * max(1.0, float(exact.abs().max()))


def log_dets_cancel(f: Bijection, x: Tensor) -> tuple[float, float]:
    z, there = f(x)
    return float((there + f.inverse(z)[1]).abs().max()), allowed(f, x, there)


def rows_are_independent(f: Bijection, x: Tensor) -> tuple[float, float]:
    z, log_det = f(x)
    back = f.inverse(z)
    alone = [(f(row[None]), f.inverse(image[None])) for row, image in zip(x, z, strict=True)]
    gaps = []
    for i, (there, here) in enumerate(alone):
        gaps += [(there[0][0] - z[i]), (there[1][0] - log_det[i])[None]]
        gaps += [(here[0][0] - back[0][i]), (here[1][0] - back[1][i])[None]]
    return float(torch.cat(gaps).abs().max()), allowed(f, x, x, z)


LAWS = [inverse_undoes_forward, log_det_is_the_jacobians, log_dets_cancel, rows_are_independent]


@every_case
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law, f, x):
    error, bound = law(f, x)
    assert error <= bound


@every_case
def test_inverse_log_det_is_the_inverse_jacobians(f, x):
    z = f(x)[0].detach()
    exact = torch.stack([torch.linalg.slogdet(jacobian(f.inverse, row)).logabsdet for row in z])
    error = float((f.inverse(z)[1] - exact).abs().max())
    assert error <= allowed(f, x, exact)


class Planted(Bijection):
    """`inner` with one fault."""

    def __init__(self, inner: Bijection, fault: str) -> None:
        super().__init__()
        self.inner, self.fault = inner, fault

    def forward(self, x):
        z, log_det = self.inner(x)
        if self.fault == "value":
            z = z + 1e-7 * z.sin()
        if self.fault == "log_det":
            log_det = log_det + 1e-7
        if self.fault == "rows":
            z = z + 1e-7 * z.mean(0)
        return z, log_det

    def inverse(self, z):
        x, log_det = self.inner.inverse(z)
        return x, log_det + (1e-7 if self.fault == "inverse log_det" else 0.0)


@pytest.mark.parametrize(
    ("law", "fault"),
    [
        (inverse_undoes_forward, "value"),
        (log_det_is_the_jacobians, "log_det"),
        (log_dets_cancel, "inverse log_det"),
        (rows_are_independent, "rows"),
    ],
)
def test_law_catches_a_planted_fault(law, fault):
    x = normal(4)
    error, bound = law(Planted(chain(4, 3, 0.1), fault), x)
    assert error > bound


#: Nodes of the integral per axis. A smooth density is expensive and needs few: 301, 401 and 801 agree to 1e-11 on it.
NODES = {"jko": 301}


def integral(log_prob, weights) -> float:
    """Of e^log_prob over the plane: trapezoid sums converge fast for smooth, decaying densities.

    The substitution x = c sinh(t) spreads the nodes over the heavy left tails that leaky slopes make.
    """
    t = torch.linspace(-12, 12, NODES.get(weights.kind.name, 1601), dtype=DTYPE)
    x, weight = 0.05 * torch.sinh(t), 0.05 * torch.cosh(t)
    grid = torch.stack(torch.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
    with torch.no_grad():
        density = torch.cat([log_prob(part).exp() for part in grid.split(20_000)]).reshape(len(t), len(t))
    step = float(t[1] - t[0])
    return float((weight[:, None] * weight[None] * density).sum()) * step**2


PLANE = network(2, 3, alpha=0.4)


def test_density_integrates_to_one():
    flow = Flow.of(PLANE, dtype=DTYPE)
    assert integral(flow.log_prob, PLANE) == pytest.approx(1.0, abs=1e-6)


def test_integral_catches_a_planted_constant():
    flow = Flow.of(PLANE, dtype=DTYPE)

    def authors(x):  # log(pi) for log(2 pi), as in the released code
        return flow.log_prob(x) + np.log(2)

    assert abs(integral(authors, PLANE) - 1.0) > 1e-6


@pytest.mark.parametrize("kind", KINDS, ids=ACTIVATIONS)
@pytest.mark.parametrize("alpha", [1e-4, 0.001, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverse_activation_reaches_the_last_digits(kind, alpha, dtype):
    f = kind(alpha)
    x = torch.cat([torch.linspace(-60, 60, 2001), torch.tensor([-1e6, -2e3, 2e3, 1e6])]).to(dtype)[:, None]
    y = f(x.double())[0].to(dtype)
    exact, log_stretch = f.inverse(y.double())
    moved = y.abs() * log_stretch.exp()[:, None]  # what rounding of y makes of x, in units
    error = (f.inverse(y)[0] - exact).abs() / torch.maximum(exact.abs(), moved).clamp(min=1)
    assert float(error.max()) <= 8 * torch.finfo(dtype).eps


@pytest.mark.parametrize("kind", KINDS, ids=ACTIVATIONS)
def test_inverse_activation_is_twice_differentiable(kind):
    f = kind(0.1)
    y = normal(3, 3.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: f.inverse(v)[0], y)
    assert torch.autograd.gradgradcheck(lambda v: f.inverse(v)[0], y)


@pytest.mark.parametrize("kind", KINDS, ids=ACTIVATIONS)
def test_nan_passes_through_and_ends_the_iteration(kind):
    assert kind(0.1).inverse(torch.tensor([[float("nan"), 1.0]]))[0].isnan().tolist() == [[True, False]]


def test_training_sees_rows_cross_the_kink():
    """x ~ N(b, 1): d/db E log f'(x) = |log alpha| N(b; 0, 1). Without the kernel it would be 0; values are the same."""
    f, b = LeakyReLUBijection(0.1), torch.tensor(0.7, dtype=DTYPE, requires_grad=True)
    noise = torch.randn(100_000, 1, dtype=DTYPE, generator=torch.Generator().manual_seed(0))
    trained = f(noise + b)[1]
    (slope,) = torch.autograd.grad(trained.mean(), b)
    expected = np.log(10) * np.exp(-(0.7**2) / 2) / np.sqrt(2 * np.pi)
    assert float(slope) == pytest.approx(expected, rel=0.1)
    assert torch.equal(trained, f.eval()(noise + b)[1])
    assert not f(noise + b)[1].requires_grad
