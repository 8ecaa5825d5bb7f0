"""An LU-Net of one's own code becomes an exported folder: its layers by the keys of its state_dict, then checked."""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

import lunet_export
from lunet_export.layers import LU, Layer, LeakySoftplus


class OwnLUNet(nn.Module):
    """x -> L_1 U_1 x + b_1 -> f -> L_2 U_2 ... with f(a) = alpha a + (1 - alpha) log(1 + e^a) and |u_ii| = e^s_i."""

    def __init__(self, dim: int, blocks: int, alpha: float = 0.1) -> None:
        super().__init__()
        self.alpha = alpha
        self.lower, self.upper, self.log_diagonal, self.bias = (
            nn.ParameterList(0.3 * torch.randn(*shape) for _ in range(blocks))
            for shape in ((dim, dim), (dim, dim), (dim,), (dim,))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (N, D) and log|det dz/dx| (N,)."""
        log_det = x.new_zeros(len(x))
        for number, bias in enumerate(self.bias):
            if number:
                slope = self.alpha + (1 - self.alpha) * torch.sigmoid(x)
                x, log_det = self.alpha * x + (1 - self.alpha) * softplus(x), log_det + slope.log().sum(1)
            upper = self.upper[number].triu(1) + self.log_diagonal[number].exp().diag()
            lower = self.lower[number].tril(-1) + torch.eye(len(bias)).to(x)
            x, log_det = x @ upper.T @ lower.T + bias, log_det + self.log_diagonal[number].sum()
        return x, log_det


def layers_of(state: dict[str, Tensor], alpha: float) -> list[Layer]:
    """Return the layers of a state_dict, from data to latent, as float64 arrays."""
    state = {key: value.double() for key, value in state.items()}
    layers: list[Layer] = []
    for number in range(sum(key.startswith("bias.") for key in state)):
        lower = state[f"lower.{number}"].tril(-1)
        lower = lower + torch.eye(len(lower)).double()
        upper = state[f"upper.{number}"].triu(1) + state[f"log_diagonal.{number}"].exp().diag()
        layers += [LeakySoftplus(alpha)] if number else []
        layers += [LU(lower.numpy(), upper.numpy(), state[f"bias.{number}"].numpy())]
    return layers


if __name__ == "__main__":
    module = OwnLUNet(dim=5, blocks=3)  # train it, or load_state_dict of yours
    flow = lunet_export.convert(layers_of(module.state_dict(), module.alpha), reference=module)
    print(lunet_export.export(flow, "runs/own-lunet"))
