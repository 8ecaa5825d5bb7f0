"""Bijections in a row."""

from collections.abc import Iterable

from torch import Tensor, nn

from lunet_export.flows.bijection import Bijection


class Chain(Bijection):
    """x -> f_k(... f_1(x)); log_dets add up. Shapes: (N, D) -> (N, D), (N,)."""

    def __init__(self, bijections: Iterable[Bijection]) -> None:
        super().__init__()
        self.bijections = nn.ModuleList(bijections)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = x.new_zeros(len(x))
        for bijection in self.bijections:
            x, term = bijection(x)
            log_det = log_det + term
        return x, log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        log_det = z.new_zeros(len(z))
        for bijection in reversed(self.bijections):
            z, term = bijection.inverse(z)  # type: ignore[operator]
            log_det = log_det + term
        return z, log_det
