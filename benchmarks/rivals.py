"""LU-Net made from other people's LU layers: nflows, zuko, and the arithmetic of the paper's own code.

Each takes our chain and replaces the layers that it is about, so that everything else is the same.
"""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import interpolate
from torch import Tensor, nn

from lunet_export.errors import BadInputError
from lunet_export.layers import LU, Chain
from lunet_export.torch_layers import Bijection, Flow, standard_normal_log_prob
from lunet_export.torch_layers.leaky_softplus import LeakySoftplusBijection
from lunet_export.torch_layers.lu_linear import LULinear

Floats = NDArray[np.floating]

SPLINE_POINTS = 2_000_001


class ChainRunner:
    """NumPy rows in and out of a float32 chain, like `EagerFlow`."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow.eval()

    @torch.no_grad()
    def decode(self, z: Floats) -> Floats:
        """z (N, D) -> x (N, D), images clamped."""
        return self._flow.clamp(self._flow.chain.inverse(torch.from_numpy(z))[0]).numpy()

    @torch.no_grad()
    def density(self, x: Floats) -> tuple[Floats, Floats]:
        """x (N, D) -> z (N, D), log_prob (N,) in nats."""
        z, log_det = self._flow.chain(torch.from_numpy(x))
        return z.numpy(), (standard_normal_log_prob(z) + log_det).numpy()


def nflows(weights: Chain, *, cached: bool) -> ChainRunner:
    """Return a stack of nflows' `LULinear`; `cached` keeps (L U)^-1 from the first call on."""
    return ChainRunner(with_layers(weights, lambda block: NflowsLULinear(block, cached=cached)))


def zuko(weights: Chain) -> ChainRunner:
    """Return a stack of zuko's `LULinearTransform`, with its triangular factors made once."""
    return ChainRunner(with_layers(weights, ZukoLULinear))


def authors(weights: Chain, *, points: int = SPLINE_POINTS) -> ChainRunner:
    """Return the released code's inverse, restated: general solves, and a spline fitted at every call.

    The spline is fitted in float64, so its answers stay within the tolerances of rounding in float32. Beyond
    [-100, 1000] it would extrapolate a cubic without a word, as theirs does. The fit costs the same whatever the batch;
    its evaluation walks from the knot of one number to that of the next. On seeded weights, whose numbers lie close to
    each other, that is little; with trained weights it grows with the batch (`benchmarks.authors_inverse`).
    """
    return ChainRunner(with_layers(weights, GeneralLinear, lambda alpha: SplineActivation(alpha, points)))


def with_layers(
    weights: Chain,
    linear: Callable[[LU], Bijection],
    activation: Callable[[float], Bijection] = LeakySoftplusBijection,
) -> Flow:
    """Return the flow of an LU-Net with leaky softplus, in float32, whose layers are replaced by these."""
    flow, blocks = Flow.of(weights), iter(weights.of(LU))
    for number, layer in enumerate(flow.chain.bijections):
        if isinstance(layer, LULinear):
            flow.chain.bijections[number] = linear(next(blocks))
        elif isinstance(layer, LeakySoftplusBijection):
            flow.chain.bijections[number] = activation(layer.alpha)
    return flow


class NflowsLULinear(Bijection):
    """nflows' LU layer, parametrized like ours, except that diag U = softplus(.) + eps is always above eps.

    Raises:
        BadInputError: if diag U holds a number that nflows cannot represent.
    """

    def __init__(self, block: LU, *, cached: bool) -> None:
        super().__init__()
        from nflows.transforms.lu import LULinear as Layer

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its triangular_solve is deprecated, and PyTorch says so once per process
            torch.triangular_solve(torch.eye(1), torch.eye(1))
        layer, diagonal = Layer(len(block.bias), using_cache=cached), np.diag(block.upper)
        if (diagonal <= layer.eps).any():
            raise BadInputError(
                f"Expected diagonals of U above {layer.eps}, all that nflows has; got {diagonal.min()}."
            )
        values = {
            layer.lower_entries: block.lower[layer.lower_indices],
            layer.upper_entries: block.upper[layer.upper_indices],
            layer.unconstrained_upper_diag: np.log(np.expm1(diagonal - layer.eps)),
            layer.bias: block.bias,
        }
        with torch.no_grad():
            for parameter, value in values.items():
                parameter.copy_(torch.from_numpy(value))
        self.theirs = layer

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.theirs(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.theirs.inverse(z)


class ZukoLULinear(Bijection):
    """zuko's LU layer, which keeps the diagonal on L and 1 on U, and has no bias.

    (L diag d) (diag(1/d) U) is the same matrix.
    """

    bias: Tensor

    def __init__(self, block: LU) -> None:
        super().__init__()
        from zuko.transforms import LULinearTransform

        diagonal = np.diag(block.upper)
        packed = block.lower * diagonal + np.triu(block.upper, 1) / diagonal[:, None]
        self.transform = LULinearTransform(torch.from_numpy(packed).float())
        self.register_buffer("bias", torch.from_numpy(block.bias).float())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.transform(x)
        return y + self.bias, self.transform.log_abs_det_jacobian(x, y)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y = z - self.bias
        x = self.transform.inv(y)
        return x, -self.transform.log_abs_det_jacobian(x, y)


class TrainedZukoLULinear(Bijection):
    """zuko's LU layer as it is trained: its triangular factors are made of a parameter in every pass."""

    def __init__(self, block: LU) -> None:
        super().__init__()
        diagonal = np.diag(block.upper)
        packed = block.lower * diagonal + np.triu(block.upper, 1) / diagonal[:, None]
        self.packed, self.bias = (nn.Parameter(torch.from_numpy(each).float()) for each in (packed, block.bias))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        from zuko.transforms import LULinearTransform

        transform = LULinearTransform(self.packed)
        y = transform(x)
        return y + self.bias, transform.log_abs_det_jacobian(x, y)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class GeneralLinear(Bijection):
    """L and U as dense matrices, each inverted by a general solve that factorizes it again at every call."""

    lower: Tensor
    upper: Tensor
    bias: Tensor

    def __init__(self, block: LU) -> None:
        super().__init__()
        for name in ("lower", "upper", "bias"):
            self.register_buffer(name, torch.from_numpy(getattr(block, name)).float())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = self.upper.diagonal().abs().log().sum().expand(len(x))
        return x @ self.upper.T @ self.lower.T + self.bias, log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.linalg.solve(self.lower, (z - self.bias).T)
        return torch.linalg.solve(self.upper, y).T, z.new_zeros(len(z))  # their inverse has no log_det


class SplineActivation(Bijection):
    """Leaky softplus, inverted by a cubic spline through `points` values on [-1000, 1000], made at every call."""

    def __init__(self, alpha: float, points: int) -> None:
        super().__init__()
        self.exact, self.points = LeakySoftplusBijection(alpha), points

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.exact(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        knots = np.linspace(-1000.0, 1000.0, self.points)
        spline = interpolate.splrep(self.exact.layer().value(knots), knots)
        x = interpolate.splev(z.double().numpy().ravel(), spline).reshape(z.shape)
        return torch.from_numpy(x.astype(np.float32)), z.new_zeros(len(z))
