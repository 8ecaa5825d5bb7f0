"""A RealNVP of one's own code becomes an exported folder: each coupling is an affine autoregressive layer."""

import numpy as np
import torch
from torch import Tensor, nn

import lunet_export
from lunet_export.importers import network_of
from lunet_export.layers import Affine, AffineAutoregressive, Layer, Permutation, ScaleMap


class OwnRealNVP(nn.Module):
    """(x - mean) / scale, then couplings y_b = x_b e^(s(x_a)) + t(x_a), each of which reverses the columns."""

    def __init__(self, dim: int, couplings: int, hidden: int = 16) -> None:
        super().__init__()
        self.half = dim // 2
        self.register_buffer("mean", torch.randn(dim))
        self.register_buffer("scale", 0.5 + torch.rand(dim))
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(self.half, hidden), nn.SiLU(), nn.Linear(hidden, 2 * (dim - self.half)))
            for _ in range(couplings)
        )

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) in nats, (N, D) -> (N,)."""
        x, log_det = (x - self.mean) / self.scale, -self.scale.log().sum()
        for network in self.networks:
            kept, changed = x[:, : self.half], x[:, self.half :]
            shift, log_scale = network(kept).chunk(2, dim=1)
            x = torch.cat([kept, changed * log_scale.exp() + shift], dim=1).flip(1)
            log_det = log_det + log_scale.sum(1)
        return torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1) + log_det


def layers_of(module: OwnRealNVP) -> list[Layer]:
    """Return the layers, from data to latent, as float64 arrays."""
    mean, scale = module.mean.double().numpy(), module.scale.double().numpy()
    columns = np.arange(len(mean))
    layers: list[Layer] = [Affine(1 / scale, -mean / scale)]
    for network in module.networks:
        inputs, changed = columns[: module.half], columns[module.half :]
        layers.append(AffineAutoregressive(len(columns), inputs, changed, network_of(network), ScaleMap("exp")))
        layers.append(Permutation(columns[::-1].copy()))
    return layers


if __name__ == "__main__":
    module = OwnRealNVP(dim=6, couplings=4)  # train it, or load_state_dict of yours
    flow = lunet_export.convert(layers_of(module), reference=module.log_prob)
    print(lunet_export.export(flow, "runs/own-realnvp"))
