"""JKO-iFlow in PyTorch."""

from collections.abc import Callable, Iterable, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.linalg import solve_triangular

from lunet_export.families.jko.velocity import Trace, Velocity
from lunet_export.families.jko.weights import JKOWeights
from lunet_export.flows import Bijection, Chain, Flow, LogitPreprocessing, standard_normal_log_prob
from lunet_export.preprocessing import Logit


class Whitening(Bijection):
    """x -> R (x - m) with R upper triangular, both constants of the data. Shapes: (N, D) -> (N, D), (N,)."""

    centre: Tensor
    root: Tensor

    def __init__(self, centre: Tensor, root: Tensor) -> None:
        super().__init__()
        self.register_buffer("centre", centre)
        self.register_buffer("root", root)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x - self.centre) @ self.root.T, self.root.diagonal().log().sum().expand(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = solve_triangular(self.root, z.T, upper=True).T + self.centre
        return x, -self.root.diagonal().log().sum().expand(len(z))


class FlowBlock(Bijection):
    """The flow of dx/dt = v(x, t) over [0, 1], by equal steps of Kutta's 3/8 rule (1901), of order 4.

    log_det is the integral of div v by the same steps, so neither it nor the inverse, which takes t from 1 to 0, is
    that of the steps themselves: both are those of the flow, up to an error of order steps^-4.
    Shapes: (N, D) -> (N, D), (N,).
    """

    def __init__(self, velocity: Velocity, steps: int) -> None:
        super().__init__()
        self.velocity, self.steps = velocity, steps

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._integrated(x, self.velocity.exact_trace(), 1.0)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._integrated(z, self.velocity.exact_trace(), -1.0)

    def with_probe(self, x: Tensor, probe: Tensor) -> tuple[Tensor, Tensor]:
        """`forward` with div v estimated along the probes e, (N, D): e^T (dv/dx) e."""
        return self._integrated(x, self.velocity.trace_along(probe), 1.0)

    def decode(self, z: Tensor) -> Tensor:
        """The value of `inverse` alone, for a third of the work less."""
        return self._integrated(z, None, -1.0)[0]

    def decaying(self) -> Iterable[tuple[nn.Parameter, Tensor]]:
        """As `lunet_export.flows.Flow.decaying`: the matrices of the field."""
        for parameter in self.velocity.parameters():
            if parameter.ndim > 1:
                yield parameter, parameter.detach()

    def extra_repr(self) -> str:
        return f"steps={self.steps}"

    def _integrated(self, x: Tensor, trace: Trace | None, sign: float) -> tuple[Tensor, Tensor]:
        h, t = sign / self.steps, 0.0 if sign > 0 else 1.0
        total = x.new_zeros(len(x))
        f = self._evaluation(trace)
        for _ in range(self.steps):
            k1, q1 = f(x, t)
            k2, q2 = f(x + k1 * (h / 3), t + h / 3)
            k3, q3 = f(x + (k2 - k1 / 3) * h, t + 2 * h / 3)
            k4, q4 = f(x + (k1 - k2 + k3) * h, t + h)
            x = x + (k1 + 3 * (k2 + k3) + k4) * (h / 8)
            total = total + (q1 + 3 * (q2 + q3) + q4) * (h / 8)
            t += h
        return x, total

    def _evaluation(self, trace: Trace | None) -> Callable[[Tensor, float], tuple[Tensor, Tensor]]:
        def evaluate(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
            v, slopes = self.velocity.with_slopes(x, t)
            return v, trace(slopes) if trace else v.new_zeros(())

        return evaluate


class JKOFlow(Flow):
    """The flow of arXiv 2212.14424: logit (for images), the data's own whitening, then blocks of a velocity field each.

    Args:
        whitening: In front; of the identity where there is none.
        blocks: At least one.
        preprocessing: Settings of the logit for grey levels, None for vectors.
    """

    family = "jko"

    def __init__(
        self, whitening: Whitening, blocks: Sequence[FlowBlock], *, preprocessing: Logit | None = None
    ) -> None:
        super().__init__()
        self.dim, self.preprocessing = len(whitening.centre), preprocessing
        self.steps, self.beta = blocks[0].steps, blocks[0].velocity.beta
        before: list[Bijection] = [LogitPreprocessing(preprocessing)] if preprocessing else []
        self.chain = Chain([*before, whitening, *blocks])

    def blocks(self) -> list[FlowBlock]:
        """The blocks in the order of `forward`."""
        return [layer for layer in self.chain.bijections if isinstance(layer, FlowBlock)]

    def before_blocks(self) -> list[Bijection]:
        """What is in front of the blocks, in the order of `forward`."""
        layers = self.chain.bijections
        return [layer for layer in layers if isinstance(layer, Bijection) and not isinstance(layer, FlowBlock)]

    def with_velocities(self, velocities: Sequence[Velocity]) -> "JKOFlow":
        """A flow with the same pre-processing, whitening and steps, of these fields."""
        (whitening,) = (layer for layer in self.chain.bijections if isinstance(layer, Whitening))
        blocks = [FlowBlock(velocity, self.steps) for velocity in velocities]
        return JKOFlow(whitening, blocks, preprocessing=self.preprocessing)

    def log_prob_estimate(self, x: Tensor, probe: Tensor) -> Tensor:
        """log p(x) with every divergence estimated along the probes, x and probe (N, D) -> (N,) nats.

        Unbiased where E[e e^T] = I, as of normal numbers or signs.
        """
        log_det = x.new_zeros(len(x))
        for layer in self.chain.bijections:
            x, term = layer.with_probe(x, probe) if isinstance(layer, FlowBlock) else layer(x)
            log_det = log_det + term
        return standard_normal_log_prob(x) + log_det

    def decode(self, z: Tensor) -> Tensor:
        """As `Flow.decode`, without the divergences."""
        for layer in reversed(self.chain.bijections):
            z = layer.decode(z) if isinstance(layer, FlowBlock) else layer.inverse(z)[0]  # type: ignore[operator]
        return self.clamp(z)

    @classmethod
    def from_weights(cls, weights: JKOWeights, *, dtype: torch.dtype = torch.float32) -> Self:
        """The flow of these weights, rounded to `dtype`."""
        whitening = Whitening(torch.from_numpy(weights.centre.copy()), torch.from_numpy(weights.root.copy()))
        blocks = [FlowBlock(Velocity.of(field, beta=weights.beta), weights.steps) for field in weights.fields]
        return cls(whitening, blocks, preprocessing=weights.preprocessing).to(dtype)

    def to_weights(self) -> JKOWeights:
        """The flow as plain float64 arrays, checked."""
        (whitening,) = (layer for layer in self.chain.bijections if isinstance(layer, Whitening))
        fields = tuple(block.velocity.arrays() for block in self.blocks())
        centre, root = (tensor.cpu().double().numpy().copy() for tensor in (whitening.centre, whitening.root))
        return JKOWeights(centre, root, fields, self.steps, self.beta, self.preprocessing)

    def decaying(self) -> Iterable[tuple[nn.Parameter, Tensor]]:
        """The matrices of the fields."""
        for block in self.blocks():
            yield from block.decaying()


Network = JKOFlow  # what a family's flow is called by those who do not know the family
